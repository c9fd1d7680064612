"""The workbench: everything that a page shows is a function of this one value, and it lives in the address (URL)."""

from dataclasses import dataclass, field, replace
from typing import Literal

from explorer.analyses.attention import HeadType
from explorer.core.errors import InterventionError
from explorer.core.pairs import ContrastPair
from explorer.core.sites import Head, Site
from explorer.engine.interventions import Ablate, AblationKind, references_of
from explorer.models.catalog import DEFAULT_MODEL
from explorer.plots.lens_figures import LensMode
from explorer.prompts.examples import EXAMPLES, OPENING
from explorer.prompts.tokens import Bos

Show = Literal["changed", "baseline", "difference"]
Score = Literal["none", HeadType]
Scale = Literal["probability", "logit"]


PAIR_COUNTS = (20, 60, 200, 500)
"""How many pairs of a task can be drawn at once."""


@dataclass(frozen=True)
class Entry:
    """One line of the intervention strip."""

    site: Site
    how: AblationKind
    positions: tuple[int, ...] | None = None
    enabled: bool = True

    def intervention(self, pair: ContrastPair) -> Ablate:
        """The entry on a pair: means over both prompts, resampled values from the corrupt one."""
        if self.how == "resample" and not pair.corrupt.strip():
            raise InterventionError(
                "Resampling takes its values from the corrupt prompt, which is empty. Write one on the Prompt page."
            )
        return Ablate(self.site, self.how, self.positions, references_of(pair, self.how))


@dataclass(frozen=True)
class Workbench:
    """Model, contrast pair, interventions and the choices made on each page."""

    model: str = DEFAULT_MODEL
    pair: ContrastPair = EXAMPLES[OPENING]
    bos: Bos = "default"
    entries: tuple[Entry, ...] = ()
    position: int | None = None
    """Position whose next token is read; None for the last."""
    head: Head = field(default=Head(0, 0))
    """The head shown large."""
    show: Show = "changed"
    score: Score = "none"
    """Head type that outlines the grid."""
    lens_mode: LensMode = "probability"
    lens_layer: int | None = None
    """Layer selected on the lens page; None for the last."""
    scale: Scale = "logit"
    component: str = ""
    """The component opened on the attribution page, such as L23H3; empty for none."""
    task: str = "ioi"
    n_pairs: int = 20
    task_seed: int = 0
    held_out: bool = False
    """Whether pairs come from templates that the small-world models never saw."""
    only_right: bool = False
    n_new: int = 20
    temperature: float = 0.0
    seed: int = 0

    def with_entries(self, entries: tuple[Entry, ...]) -> "Workbench":
        return replace(self, entries=entries)

    def ablated_heads(self) -> list[Head]:
        return [entry.site for entry in self.entries if entry.enabled and isinstance(entry.site, Head)]
