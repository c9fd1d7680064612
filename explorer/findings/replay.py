"""Replay: run every number of a report again, and say which agree."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from explorer.core.errors import ExplorerError
from explorer.engine.model import Model
from explorer.findings.finding import Finding, Measured
from explorer.findings.functions import measured
from explorer.findings.notebook import TOLERANCES

Load = Callable[[str, str], Model]
"""Source and precision -> the model."""


@dataclass(frozen=True)
class Row:
    claim: str
    measure: str
    path: str
    then: float | None
    now: float | None
    tolerance: float
    problem: str = ""
    """Why it could not be run; empty where it could."""

    @property
    def agrees(self) -> bool:
        if self.problem:
            return False
        if self.then is None or self.now is None:
            return self.then is None and self.now is None
        return abs(self.now - self.then) <= self.tolerance

    @property
    def off(self) -> float:
        """|now − then|; infinite where one of them is missing."""
        return float("inf") if self.then is None or self.now is None else abs(self.now - self.then)


def replay(findings: Sequence[Finding], load: Load) -> Iterator[Row]:
    """A row a number, as they are computed; a model or measure that is not to be had gives a row with the reason."""
    models: dict[tuple[str, str], Model | str] = {}
    for finding in findings:
        key = finding.model, finding.dtype
        if key not in models:
            try:
                models[key] = load(*key)
            except (ExplorerError, OSError) as error:
                models[key] = f"The model {finding.model} is not here: {error}"
        model = models[key]
        if isinstance(model, Model) and model.info.weight_hash != finding.weight_hash:
            model = f"{finding.model} has other weights here ({model.info.weight_hash[:12]}…, then {finding.weight_hash[:12]}…)."
        if isinstance(model, str):
            yield Row(finding.claim, "model", "weights", None, None, 0.0, model)
            continue
        for then in finding.measured:
            yield from rows_of(finding, then, model)


def rows_of(finding: Finding, then: Measured, model: Model) -> Iterator[Row]:
    try:
        again = measured(model, then.measure, figure=False)
    except ExplorerError as error:
        yield Row(finding.claim, then.measure.title, then.measure.function, None, None, 0.0, str(error))
        return
    limit = TOLERANCES.get(finding.dtype, 1e-5)
    for path, value in then.numbers.items():
        yield Row(
            finding.claim, then.measure.title, path, value, again.numbers.get(path), limit * max(1.0, abs(value or 0.0))
        )
