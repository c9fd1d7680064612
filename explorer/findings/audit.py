"""A standard set of checks of a model, without a browser: behaviour, head types, patching, and a circuit with its scores."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from explorer.analyses.activation_patching import activation_patching
from explorer.analyses.attention import NAMED_ABOVE, head_scores
from explorer.analyses.head_check import MEASUREMENTS
from explorer.analyses.task_pairs import TaskPairs, task_pairs
from explorer.circuits.discovery import edge_attribution
from explorer.circuits.edge_scores import Method
from explorer.circuits.evaluation import core_scores
from explorer.circuits.packing import pack
from explorer.circuits.runs import CircuitRuns
from explorer.core.errors import ExplorerError, FindingError
from explorer.core.sites import Head
from explorer.core.times import now
from explorer.engine.model import Model
from explorer.findings.evidence import Sample, each_check, sample_of
from explorer.findings.finding import Finding, Goal, Measure, Measured, Recipe
from explorer.findings.functions import measured
from explorer.findings.ladder import CheckName, checks_of
from explorer.findings.reading import index_of
from explorer.findings.report import Report
from explorer.models.info import Progress
from explorer.models.zoo.world import TASKS
from explorer.prompts.tasks import FOR_ANY_MODEL

Suite = Literal["quick", "full"]
CHECK_READS = (
    *(f"{what}['{name}']" for name in MEASUREMENTS for what in ("effects", "highest_matched", "confirmations")), "log_prob"
)  # fmt: skip
FAITHFUL_ENOUGH, MASTERED = 0.8, 0.9
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
"""Shares of all edges that are tried until the circuit keeps `FAITHFUL_ENOUGH` of the behaviour."""


@dataclass(frozen=True)
class Plan:
    """How much of everything a suite does."""

    n_pairs: int
    checks: tuple[CheckName, ...]
    circuit_checks: tuple[CheckName, ...]
    method: Method
    tasks: tuple[str, ...]


QUICK = Plan(10, ("approximated", "intervened", "both directions"), ("approximated", "intervened", "held out", "complete"), "eap", FOR_ANY_MODEL)  # fmt: skip
FULL = Plan(
    20, ("decodable", "approximated", "intervened", "both directions", "held out", "second ablation"),
    ("approximated", "intervened", "both directions", "held out", "second ablation", "faithful", "complete", "stable"), "eap-ig", tuple(TASKS),
)  # fmt: skip
PLANS: dict[Suite, Plan] = {"quick": QUICK, "full": FULL}


def audit(
    model: Model,
    suite: Suite = "quick",
    *,
    task: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Report:
    """A report on a model.  `task`: whose behaviour is explained; None for the first that the model can do.

    Raises `FindingError` where the model can do none of the tasks, and `TaskError` for a task that is not known.
    """
    plan = PLANS[suite]
    steps = Steps(model, plan, seed, progress)
    behaviour = steps.behaviour()
    findings = [behaviour]
    chosen = task or steps.doable()
    if chosen is None:
        raise FindingError(
            f"{model.info.title} gets too few pairs right of every task ({', '.join(plan.tasks)}), so there is no behaviour to explain. "
            "Name one with --task, or audit another model."
        )
    sample = sample_of(model, chosen, plan.n_pairs, seed)
    for make in (steps.heads, lambda: steps.patching(chosen, sample), lambda: steps.circuit(chosen, sample)):
        if not cancelled():
            findings += make()
    title = f"Audit of {model.info.title}, {suite} suite"
    question = f"What does {model.info.title} do on {chosen}, and which of its components do it?"
    return Report(title, tuple(findings), question, "audit", now())


class Steps:
    """The parts of an audit, one after the other."""

    def __init__(self, model: Model, plan: Plan, seed: int, progress: Progress | None) -> None:
        self.model, self.plan, self.seed, self.progress = model, plan, seed, progress
        self.measured: dict[str, TaskPairs] = {}

    def tell(self, share: float, words: str) -> None:
        if self.progress is not None:
            self.progress(share, words)

    def finding(self, claim: str, question: str, goals: tuple[Goal, ...], **more: Any) -> Finding:
        info, made = self.model.info, now()
        return Finding(
            claim,
            info.key,
            info.weight_hash,
            info.dtype,
            question=question,
            goals=goals,
            view="Audit",
            made=made,
            changed=made,
            **more,
        )

    def behaviour(self) -> Finding:
        """The tasks' pairs, and how many are right; tasks that do not fit the tokenizer are left out, and said."""
        views, refused = [], []
        for number, task in enumerate(self.plan.tasks):
            self.tell(0.25 * number / len(self.plan.tasks), f"behaviour on {task}")
            try:
                arguments: dict[str, Any] = {"task": task, "n": 4 * self.plan.n_pairs, "seed": self.seed}
                self.measured[task] = found = task_pairs(self.model, **arguments)
                measure = Measure(f"Pairs of {task}", "task_pairs", arguments, ("accuracy", "top1"))
                views.append(measured(self.model, measure, result=found))
            except ExplorerError as error:
                refused.append(f"{task}: {str(error).splitlines()[0]}")
        notes = "Not measured: " + "; ".join(refused) if refused else ""
        good = [task for task, found in self.measured.items() if found.accuracy >= MASTERED]
        worst = sorted(self.measured.items(), key=lambda item: item[1].accuracy)[:3]
        least = ", ".join(f"{task} {found.accuracy:.0%}" for task, found in worst)
        claim = f"It gets {MASTERED:.0%} or more of the contrast pairs right on {len(good)} of {len(self.measured)} tasks; least: {least}"
        return self.finding(
            claim,
            "Which of the tasks can it do?",
            ("compliance", "auditability"),
            views=tuple(views),
            notes=notes,
        )

    def doable(self) -> str | None:
        """The first task with enough pairs right for checks and for pairs held out."""
        enough = [task for task, found in self.measured.items() if len(set(found.right)) >= 2 * self.plan.n_pairs]
        return enough[0] if enough else None

    def checked(self, finding: Finding, sample: Sample, names: tuple[CheckName, ...], share: float) -> Finding:
        """With its checks run; those that cannot be are named in its notes."""
        own = [name for name in names if name in checks_of(finding)]

        def tell(_: float, words: str) -> None:
            self.tell(share, f"{finding.claim[:60]}: {words}")

        problems = []
        for name, found in each_check(self.model, finding, sample, own, self.seed, tell):
            if isinstance(found, Measured):
                finding = finding.with_check(found)
            else:
                problems.append(f"{name}: {str(found).splitlines()[0]}")
        if not problems:
            return finding
        return replace(finding, notes=" ".join([finding.notes, f"Not run: {'; '.join(problems)}."]).strip())

    def heads(self) -> Iterator[Finding]:
        """The strongest head of each type, checked by intervention on the tokens it is defined on, and on pairs of induction."""
        try:
            sample = sample_of(self.model, "induction", self.plan.n_pairs, self.seed)
        except ExplorerError:  # the model cannot do it, so there is nothing to check on
            sample = None
        scores = head_scores(self.model)[0]
        for kind, grid in scores.items():
            layer, head = (int(at) for at in np.unravel_index(int(grid.argmax()), grid.shape))
            score = float(grid[layer, head])
            if score < NAMED_ABOVE:
                continue
            self.tell(0.3, f"head types: {kind}")
            typed = tuple(Head(int(one), int(other)) for one, other in np.argwhere(grid > NAMED_ABOVE))
            arguments = {"head": Head(layer, head), "typed": typed}
            view = measured(self.model, Measure(f"Causal check of a {kind} head", "head_check", arguments, CHECK_READS))
            finding = self.finding(
                f"L{layer}H{head} scores highest as {kind} head: {score:.2f}", f"Which head is a {kind} head, and does taking it away matter?",
                ("accountability",), places=(f"L{layer}H{head}",), task="induction", views=(view,), notes=confirmed_words(view),
            )  # fmt: skip
            yield finding if sample is None else self.checked(finding, sample, self.plan.checks, 0.35)

    def patching(self, task: str, sample: Sample) -> Iterator[Finding]:
        """Every head patched on every pair; a claim about the strongest, which the checks then test."""
        self.tell(0.45, f"patching all heads on {len(sample.pairs)} pairs of {task}")
        arguments: dict[str, Any] = {"pairs": sample.pairs, "site": "head_out", "direction": "noising"}
        found = activation_patching(self.model, **arguments)
        cell = int(np.abs(found.raw).argmax())
        place = found.place(cell)
        view = measured(self.model, Measure("Activation patching of head_out, noising", "activation_patching", arguments, (f"patched{index_of(cell, found.raw.shape)}",), ("raw",)), result=found)  # fmt: skip
        finding = self.finding(
            f"{place} has the largest effect of all heads on {task}", f"Which head matters most on {task}?", ("accountability", "mitigation"),
            places=(str(place),), task=task, views=(view,),
        )  # fmt: skip
        yield self.checked(finding, sample, self.plan.checks, 0.6)

    def circuit(self, task: str, sample: Sample) -> Iterator[Finding]:
        """The smallest of a few sizes that keeps enough of the behaviour, with its scores."""
        self.tell(0.75, f"finding a circuit ({self.plan.method})")
        scores = edge_attribution(self.model, sample.pairs, method=self.plan.method, seed=self.seed)
        runs = CircuitRuns(self.model, sample.pairs)
        clean, corrupt = runs.ends()
        for share in SHARES:
            top = max(1, round(share * scores.total))
            circuit = scores.circuit(top)
            if core_scores(runs, circuit.mask()[None], clean, corrupt)[0].faithfulness.value >= FAITHFUL_ENOUGH:
                break
        arguments = {"pairs": sample.pairs, "method": self.plan.method, "top": top}
        view = measured(self.model, Measure("The circuit", "circuit_found", arguments, ("n_edges", "n")))
        finding = self.finding(
            f"{circuit.n_edges:,} of {circuit.graph.n_edges:,} edges do what the model does on {task}", f"Which edges carry {task}?",
            ("accountability", "auditability", "certification"), circuit=pack(circuit), recipe=Recipe(self.plan.method, top), task=task, views=(view,),
        )  # fmt: skip
        yield self.checked(finding, sample, self.plan.circuit_checks, 0.85)


def confirmed_words(view: Measured) -> str:
    """Which measurements of the causal check lie beyond every matched head's."""
    good = [name for name in MEASUREMENTS if view.numbers.get(f"confirmations['{name}']")]
    bad = [name for name in MEASUREMENTS if name not in good]
    return (
        "Causal check on random tokens told twice, beside matched heads without the type: "
        f"confirmed by {', '.join(good) or 'nothing'}; not by {', '.join(bad) or 'nothing'}."
    )
