"""The evidence ladder: which rung a finding stands on follows from the numbers of its checks, never from what somebody says.

    0  observed      a view shows it
    1  decodable     a probe reads it on held-out pairs, better than with labels drawn anew
    2  approximated  a first-order estimate or a discovery method says that it matters
    3  intervened    taking it away changes the objective: the interval over pairs excludes 0, and matched random controls do less
    4  generalises   so does putting it back, on pairs held out, and under a second way of ablating, all with one sign
    5  validated     as a circuit it is faithful under the worst ablation, complete, and stable

A rung counts with the checks of that rung alone, except that 4 stands on 3 and 5 on 4: a probe is no step towards an intervention.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from explorer.circuits.stability import GUIDELINE
from explorer.findings.finding import Finding, Measured

CheckName = Literal[
    "decodable", "approximated", "intervened", "both directions", "held out", "second ablation", "faithful", "complete", "stable"
]  # fmt: skip
RUNGS = ("observed", "decodable", "approximated", "intervened", "generalises", "validated")
RUNG_OF: dict[CheckName, int] = {
    "decodable": 1, "approximated": 2, "intervened": 3, "both directions": 4, "held out": 4, "second ablation": 4,
    "faithful": 5, "complete": 5, "stable": 5,
}  # fmt: skip
OF_COMPONENTS: tuple[CheckName, ...] = ("decodable", "approximated", "intervened", "both directions", "held out", "second ablation")  # fmt: skip
OF_CIRCUITS: tuple[CheckName, ...] = ("approximated", "intervened", "both directions", "held out", "second ablation", "faithful", "complete", "stable")  # fmt: skip
MEANING: dict[CheckName, str] = {
    "decodable": "a linear probe tells clean from corrupt prompts by its activation, on pairs it never saw",
    "approximated": "a first-order estimate, or a discovery method, says that it matters",
    "intervened": "taking it away changes the objective, more than matched random controls do",
    "both directions": "putting it back into the other run changes the objective too, with the same sign",
    "held out": "the same on pairs that were not used before",
    "second ablation": "the same when it is set to its mean",
    "faithful": "alone, the circuit does what the model does, under the worst of six ways of ablating the rest",
    "complete": "without the circuit, little of the behaviour is left",
    "stable": "other pairs give nearly the same circuit",
}
BY_CHANCE = 0.05
FEW_CONTROLS = 19
"""With fewer, no p of 0.05 is possible: then the claim's effect must exceed every one of at least `FEWEST_CONTROLS`."""
FEWEST_CONTROLS = 5
FAITHFUL_WITHIN, COMPLETE_FROM = 0.2, 0.8


@dataclass(frozen=True)
class Verdict:
    passed: bool
    sentence: str
    """What was measured, with its interval, control and counts, and what was missing where it failed."""


Numbers = Mapping[str, float | None]


def verdict(check: Measured, finding: Finding) -> Verdict:
    """Whether a check passed, by its numbers."""
    name: CheckName = check.measure.check  # type: ignore[assignment]
    numbers = check.numbers
    if any(
        numbers.get(key) is None for key in check.measure.reads if key not in ("low", "high", "largest_control", "p")
    ):
        return Verdict(
            False, "Not defined on these pairs: the objective hardly differs between clean and corrupt prompts."
        )
    match name:
        case "decodable":
            return of_probe(numbers)
        case "faithful":
            value = need(numbers, "faithfulness")
            return Verdict(
                abs(value - 1) <= FAITHFUL_WITHIN,
                f"Faithfulness {value:.3f} under the worst of six ablations; within {FAITHFUL_WITHIN} of 1 is asked for. n = {count(numbers)}.",
            )
        case "stable":
            mean = need(numbers, "mean")
            return Verdict(mean >= GUIDELINE, f"Mean Jaccard index {mean:.3f} over resampled datasets; {GUIDELINE} is asked for. n = {count(numbers)}.")  # fmt: skip
        case "approximated":
            return of_estimate(numbers)
        case "complete":
            value = need(numbers, "value")
            return Verdict(value >= COMPLETE_FROM, f"Completeness {value:.3f}{interval_words(numbers)}; {COMPLETE_FROM} is asked for. n = {count(numbers)}.")  # fmt: skip
    return of_effect(name, numbers, finding)


def need(numbers: Numbers, name: str) -> float:
    value = numbers.get(name)
    return float("nan") if value is None else value


def count(numbers: Numbers) -> str:
    return f"{need(numbers, 'n'):.0f} pairs"


def interval_words(numbers: Numbers) -> str:
    low, high = numbers.get("low"), numbers.get("high")
    return "" if low is None or high is None else f" [{low:+.3f}, {high:+.3f}]"


def excludes_zero(numbers: Numbers) -> bool:
    low, high = numbers.get("low"), numbers.get("high")
    return low is not None and high is not None and (low > 0 or high < 0)


def of_probe(numbers: Numbers) -> Verdict:
    accuracy, selectivity, p = (need(numbers, name) for name in ("accuracy", "selectivity", "p"))
    words = f"Held-out accuracy {accuracy:.3f}, selectivity {selectivity:+.3f}, p {p:.3f} against labels drawn anew. n = {count(numbers)}."
    return Verdict(p <= BY_CHANCE and selectivity > 0, words)


def of_estimate(numbers: Numbers) -> Verdict:
    if "n_edges" in numbers:
        refused = bool(numbers["refused"])
        words = f"{need(numbers, 'n_edges'):,.0f} edges chosen on {count(numbers)}"
        return Verdict(not refused, words + ("; these pairs show no behaviour to explain." if refused else "."))
    words = f"Estimated effect {need(numbers, 'mean'):+.3f} logits{interval_words(numbers)}, first order. n = {count(numbers)}."
    return Verdict(
        excludes_zero(numbers), words if excludes_zero(numbers) else f"{words} The interval does not exclude 0."
    )


def of_effect(name: CheckName, numbers: Numbers, finding: Finding) -> Verdict:
    circuit = "value" in numbers
    value, controls = need(numbers, "value" if circuit else "mean"), need(numbers, "n_controls")
    largest, p = numbers.get("largest_control"), need(numbers, "p")
    beats = p <= BY_CHANCE if controls >= FEW_CONTROLS else controls >= FEWEST_CONTROLS and largest is not None and abs(value) > largest  # fmt: skip
    reasons = []
    if not excludes_zero(numbers):
        reasons.append("the interval does not exclude 0")
    if not beats:
        reasons.append(
            "matched random controls do as much"
            if controls >= FEWEST_CONTROLS
            else "there are too few matched controls"
        )
    if circuit and value < 0:
        reasons.append("it does the opposite of the model")
    if not circuit and name != "intervened" and (sign := effect_sign(finding)) and value * sign < 0:
        reasons.append("the sign is the opposite of the first intervention's")
    what = "Score" if circuit else "Effect"
    unit = "" if circuit else " logits"
    few = "" if controls >= FEW_CONTROLS else " (too few for p ≤ 0.05, so it must exceed every one)"
    control = "no control" if largest is None else f"{controls:.0f} matched random controls reach at most {largest:.3f}, p {p:.3f}{few}"  # fmt: skip
    words = f"{what} {value:+.3f}{unit}{interval_words(numbers)}; {control}. n = {count(numbers)}."
    return Verdict(not reasons, words + (f" Failed: {'; '.join(reasons)}." if reasons else ""))


def effect_sign(finding: Finding) -> int:
    """Of the first intervention's effect: 1 where the claim's components help the answer, -1 where they work against it."""
    first = finding.check("intervened")
    mean = None if first is None else first.numbers.get("mean")
    return 0 if not mean else (1 if mean > 0 else -1)


def checks_of(finding: Finding) -> tuple[CheckName, ...]:
    """The checks that a claim of its kind can take; none where it names neither components nor a circuit."""
    return OF_CIRCUITS if finding.circuit else OF_COMPONENTS if finding.places else ()


def passed(finding: Finding) -> set[CheckName]:
    return {name for name in checks_of(finding) if (found := finding.check(name)) and verdict(found, finding).passed}


def failures(finding: Finding) -> dict[str, str]:
    """Checks that failed, and their sentences."""
    judged = {check.measure.check: verdict(check, finding) for check in finding.checks}
    return {name: found.sentence for name, found in judged.items() if not found.passed}


def rung(finding: Finding) -> int:
    """The highest rung whose checks all passed."""
    good, names = passed(finding), checks_of(finding)

    def all_of(number: int) -> bool:
        asked = {name for name in names if RUNG_OF[name] == number}
        return bool(asked) and asked <= good

    if all_of(3):
        if not all_of(4):
            return 3
        return 5 if all_of(5) else 4
    return 2 if all_of(2) else 1 if all_of(1) else 0


def rung_state(finding: Finding, number: int) -> Literal["passed", "failed", "open"]:
    """Of a rung's own checks: all passed, one failed, or neither."""
    names = [name for name in checks_of(finding) if RUNG_OF[name] == number]
    good = passed(finding)
    if number == 0 or (names and good.issuperset(names)):
        return "passed"
    return "failed" if any(finding.check(name) is not None and name not in good for name in names) else "open"


def next_check(finding: Finding) -> CheckName | None:
    """The lowest check that was not run; None after the first intervention failed, or when all were run."""
    first = finding.check("intervened")
    if first is not None and not verdict(first, finding).passed:
        return next((name for name in checks_of(finding) if RUNG_OF[name] < 3 and finding.check(name) is None), None)
    return next((name for name in checks_of(finding) if finding.check(name) is None), None)


def direction_words(finding: Finding) -> str:
    """What the checks say the components do, as far as the rung goes: never a cause below rung 3."""
    if finding.circuit or rung(finding) < 3:
        return ""
    return (
        "It helps the answer."
        if effect_sign(finding) > 0
        else "It works against the answer: without it the answer is more likely."
    )


def limits(finding: Finding) -> list[str]:
    """What the checks that were run do not show."""
    found = []
    names = checks_of(finding)
    if not names:
        return [
            "The claim names no component and no circuit, so nothing was tested by intervention: it is an observation."
        ]
    missing = [name for name in names if finding.check(name) is None]
    if missing:
        found.append(f"Not run: {', '.join(missing)}.")
    if rung(finding) < 3:
        found.append("No cause is shown: no intervention with its control was passed.")
    if not finding.circuit:
        found.append(
            "Rung 5 is a claim about a whole circuit; this one is about components, so other routes may exist."
        )
    elif finding.recipe is None:
        found.append("The circuit was made by hand, so how it depends on the pairs cannot be tested.")
    found.append(
        f"One model, one objective (a logit difference), pairs of {finding.task or 'one prompt'}; other inputs were not tried."
    )
    return found
