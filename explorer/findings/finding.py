"""What is kept: a finding is a claim in the user's words, what it was seen in, and the checks that it passed and failed.

Numbers are never kept without the call that makes them (`Measure`), so that every one of them can be computed again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np

from explorer.core.errors import FindingError, StateError
from explorer.core.pairs import ContrastPair
from explorer.core.places import Place
from explorer.core.records import from_record, to_record
from explorer.engine.contrasts import Stacks
from explorer.engine.interventions import TYPES
from explorer.jobs.patching import PatchingSpec

Goal = Literal["accountability", "mitigation", "auditability", "compliance", "certification"]
GOALS: dict[Goal, str] = {
    "accountability": "who or what in the model is responsible for a behaviour",
    "mitigation": "what can be changed so that a behaviour goes away, and what else that changes",
    "auditability": "what another party can check again, from the same inputs",
    "compliance": "whether the model keeps to a stated rule, on which inputs",
    "certification": "what is guaranteed, and for which inputs",
}
ARGUMENT_TYPES: dict[str, type] = TYPES | {
    "ContrastPair": ContrastPair,
    "PatchingSpec": PatchingSpec,
    "Place": Place,
    "Stacks": Stacks,
}
LONGEST_CLAIM, LONGEST_NOTES, LONGEST_TAG, MOST_TAGS = 400, 20_000, 40, 20


@dataclass(frozen=True)
class Measure:
    """One call of the Python face, and what is read of its result."""

    title: str
    function: str
    """A name in `findings.functions.FUNCTIONS`."""
    arguments: dict[str, Any]
    reads: tuple[str, ...]
    """Paths of numbers in the result, such as `baseline.objective` or `patterns[3, 1, 5]`."""
    arrays: tuple[str, ...] = ()
    """Paths of arrays that are kept whole."""
    draw: dict[str, Any] = field(default_factory=dict)
    """Arguments of its figure, such as the head that is drawn."""
    check: str = ""
    """The check of the evidence ladder that it is; empty for what a page showed."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A measure with what it gave when it was kept."""

    measure: Measure
    numbers: dict[str, float | None]
    """By path; None for what is not a finite number."""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    figure: str = ""
    """A plotly figure as JSON; empty where there is none."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Of the result: model, weight hash, backend, prompts, interventions, seed, versions."""
    made: str = ""
    """Time, UTC."""
    seconds: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """How a circuit that a claim is about was found, so that it can be found again on other pairs."""

    method: str
    top: int
    """Edges that were kept."""
    by_position: bool = False
    threshold: float = 0.01
    target: int = 100


@dataclass(frozen=True, eq=False)
class Finding:
    claim: str
    model: str
    """Catalog key, hub id or directory."""
    weight_hash: str
    dtype: str
    id: str = ""
    question: str = ""
    notes: str = ""
    view: str = ""
    """Title of the page that it was kept on."""
    address: str = ""
    """Of the workbench, without a host."""
    places: tuple[str, ...] = ()
    """Components that the claim is about, such as L23H3."""
    circuit: str = ""
    """Or a circuit, as `circuits.packing` writes it."""
    recipe: Recipe | None = None
    task: str = ""
    """The task whose pairs the checks take."""
    tags: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = ()
    views: tuple[Measured, ...] = ()
    """What the page showed."""
    checks: tuple[Measured, ...] = ()
    made: str = ""
    changed: str = ""
    revision: int = 0
    """Counts saved changes, so that two people who edit one finding do not overwrite each other."""

    def check(self, name: str) -> Measured | None:
        return next((each for each in self.checks if each.measure.check == name), None)

    def with_check(self, found: Measured) -> "Finding":
        """With a check, in place of an earlier one of that name."""
        others = tuple(each for each in self.checks if each.measure.check != found.measure.check)
        return replace(self, checks=(*others, found))

    @property
    def measured(self) -> tuple[Measured, ...]:
        return (*self.views, *self.checks)

    def nbytes(self) -> int:
        """Of arrays and figures."""
        return sum(len(each.figure) + sum(array.nbytes for array in each.arrays.values()) for each in self.measured)


def cleaned(finding: Finding) -> Finding:
    """Words within limits, tags parted and sorted; `FindingError` where there is no claim."""
    claim = " ".join(finding.claim.split())
    if not 1 <= len(claim) <= LONGEST_CLAIM:
        raise FindingError(
            f"A claim has 1 to {LONGEST_CLAIM} characters; this one has {len(claim)}. Write what you found in a sentence."
        )
    if len(finding.notes) > LONGEST_NOTES:
        raise FindingError(f"Notes have at most {LONGEST_NOTES:,} characters; these have {len(finding.notes):,}.")
    tags = sorted({" ".join(tag.split()).lower()[:LONGEST_TAG] for tag in finding.tags} - {""})
    if len(tags) > MOST_TAGS:
        raise FindingError(f"A finding has at most {MOST_TAGS} tags; these are {len(tags)}.")
    return replace(finding, claim=claim, question=" ".join(finding.question.split())[:LONGEST_CLAIM], tags=tuple(tags))


def measure_record(measure: Measure) -> dict[str, Any]:
    return {
        "title": measure.title,
        "function": measure.function,
        "arguments": {name: to_record(value) for name, value in measure.arguments.items()},
        "reads": list(measure.reads),
        "arrays": list(measure.arrays),
        "draw": measure.draw,
        "check": measure.check,
    }


def read_measure(record: Mapping[str, Any]) -> Measure:
    """Inverse of `measure_record`; `StateError` for a record that does not fit."""
    try:
        arguments = {str(name): from_record(value, ARGUMENT_TYPES) for name, value in dict(record["arguments"]).items()}
        return Measure(
            str(record["title"]), str(record["function"]), arguments, tuple(map(str, record["reads"])),
            tuple(map(str, record["arrays"])), dict(record["draw"]), str(record["check"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"A measure cannot be read: {error!r}.") from error


PLAIN = tuple(each.name for each in fields(Finding) if each.name not in ("recipe", "views", "checks"))


def finding_record(finding: Finding) -> dict[str, Any]:
    """JSON-ready, with numbers and without arrays and figures, which are kept apart."""
    record = {name: to_record(getattr(finding, name)) for name in PLAIN}
    record["recipe"] = None if finding.recipe is None else to_record(finding.recipe)
    for name in ("views", "checks"):
        record[name] = [measured_record(each) for each in getattr(finding, name)]
    return record


def measured_record(measured: Measured) -> dict[str, Any]:
    return measure_record(measured.measure) | {
        "numbers": measured.numbers,
        "provenance": measured.provenance,
        "made": measured.made,
        "seconds": measured.seconds,
    }


def read_finding(
    record: Mapping[str, Any], arrays: Mapping[str, Mapping[str, np.ndarray]], figures: Mapping[str, str]
) -> Finding:
    """Inverse of `finding_record`; arrays and figures by `views.0`, `checks.2` and so on.  `StateError` for other records."""
    try:
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in record.items() if name in PLAIN
        }
        recipe = None if record.get("recipe") is None else from_record(record["recipe"], {"Recipe": Recipe})
        parts: dict[str, Any] = {
            name: tuple(
                read_measured(each, arrays.get(f"{name}.{number}", {}), figures.get(f"{name}.{number}", ""))
                for number, each in enumerate(record.get(name, ()))
            )
            for name in ("views", "checks")
        }
        return Finding(**plain, recipe=recipe, **parts)
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"A finding cannot be read: {error!r}.") from error


def read_measured(record: Mapping[str, Any], arrays: Mapping[str, np.ndarray], figure: str) -> Measured:
    numbers = {str(name): None if value is None else float(value) for name, value in dict(record["numbers"]).items()}
    return Measured(
        read_measure(record), numbers, dict(arrays), figure, dict(record["provenance"]), str(record["made"]),
        float(record["seconds"]),
    )  # fmt: skip
