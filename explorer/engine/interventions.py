"""Interventions: frozen values that can be shown, hashed, stored and compared.

A stack is a tuple.  Order matters only among entries on one activation: they act one after the other, so a later
replacement (ablate, patch, freeze) stands, and a later scale or steer acts on what came before.
Reference activations (means, resampled, patched and frozen values) always come from runs *without* interventions.
`engine.fitting` turns a stack into edits of the forward pass.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from explorer.core.errors import InterventionError
from explorer.core.pairs import ContrastPair
from explorer.core.places import PlacedEdge
from explorer.core.sites import SITE_TYPES, Edge, Feature, Resid, Site

AblationKind = Literal["zero", "mean", "resample"]


def references_of(pair: ContrastPair, how: AblationKind) -> tuple[str, ...]:
    """Reference prompts of an ablation on a contrast pair: both prompts for a mean, the corrupt one for resampling."""
    wanted = {"zero": (), "mean": (pair.clean, pair.corrupt), "resample": (pair.corrupt,)}[how]
    return tuple(text for text in wanted if text.strip())


def in_words(positions: tuple[int, ...] | None) -> str:
    return "" if positions is None else " at " + ", ".join(map(str, positions))


@dataclass(frozen=True)
class Ablate:
    """Replace what a site writes.

    `zero`      by zero;
    `mean`      by its mean over all positions of the `reference` prompts (the prompt itself if there are none);
    `resample`  by its value at the same position of the one `reference` prompt, which must be as long.
    """

    site: Site
    how: AblationKind = "zero"
    positions: tuple[int, ...] | None = None
    """Positions of the prompt (negative: from its end); None for all."""
    reference: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.how}-ablate {self.site}{in_words(self.positions)}"


@dataclass(frozen=True)
class Patch:
    """Replace a site's value by its value at the same positions of another prompt, `source`."""

    site: Site
    source: str
    positions: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return f"patch {self.site}{in_words(self.positions)} from “{self.source[:40]}{'…' if len(self.source) > 40 else ''}”"


@dataclass(frozen=True)
class Scale:
    """Multiply a site's value by `factor`."""

    site: Site
    factor: float
    positions: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return f"scale {self.site} × {self.factor:g}{in_words(self.positions)}"


@dataclass(frozen=True)
class Steer:
    """Add `coefficient · vector` to a site's value (activation addition, Turner et al. 2023).

    `vector` is as wide as the site: d_model for the stream, attn_out and mlp_out; d_head for q, k, v and z; 1 for a neuron or a
    feature, whose decoder row is added so many times.
    """

    site: Site
    vector: Sequence[float]
    coefficient: float = 1.0
    positions: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Any sequence of numbers will do as a vector; a tuple of them is kept."""
        object.__setattr__(self, "vector", tuple(float(number) for number in self.vector))

    def __str__(self) -> str:
        return f"steer {self.site} by {self.coefficient:g} × vector{in_words(self.positions)}"


@dataclass(frozen=True)
class Freeze:
    """Hold a site at its value in the run of the same prompt without interventions."""

    site: Site
    positions: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return f"freeze {self.site}{in_words(self.positions)}"


@dataclass(frozen=True)
class Clamp:
    """Set how strongly a feature fires, in units of its activation (Templeton et al. 2024, Scaling Monosemanticity)."""

    site: Feature
    value: float
    positions: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return f"clamp {self.site} to {self.value:g}{in_words(self.positions)}"


@dataclass(frozen=True)
class Noise:
    """Add Gaussian noise to the embeddings: the corruption of causal tracing (Meng et al. 2022, ROME, section 2.1).

    Its standard deviation is `scale` times that of all entries of the token embeddings (ROME: 3), as the stream gets them.
    """

    positions: tuple[int, ...] | None = None
    """Positions whose tokens are corrupted; None for all."""
    scale: float = 3.0
    seed: int = 0

    @property
    def site(self) -> Resid:
        return Resid(0, "resid_pre")

    def __str__(self) -> str:
        return f"noise {self.scale:g} × sd of embeddings{in_words(self.positions)}, seed {self.seed}"


@dataclass(frozen=True)
class EdgePatch:
    """Let the edge's receiver alone get what its sender writes on another prompt, `source` (path patching of one edge).

    All else of what the receiver reads stays (Goldowsky-Dill et al. 2023, Localizing Model Behavior with Path Patching).
    """

    edge: Edge
    source: str
    positions: tuple[int, ...] | None = None
    """Positions at which the receiver reads; None for all."""

    def __str__(self) -> str:
        return f"patch edge {self.edge}{in_words(self.positions)}"


@dataclass(frozen=True)
class EdgeAblate:
    """Replace what one receiver gets from one sender: by zero, by the sender's mean, or by what it writes on another prompt.

    `how` and `reference` as in `Ablate`; all else of what the receiver reads stays.
    """

    edge: Edge
    how: AblationKind = "zero"
    positions: tuple[int, ...] | None = None
    """Positions at which the receiver reads; None for all."""
    reference: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.how}-ablate edge {self.edge}{in_words(self.positions)}"


@dataclass(frozen=True)
class OnlyEdges:
    """Run a circuit alone: every edge that is not among these carries what its sender writes on `source`, zero, or its mean.

    `how`: "resample" (from `source`, which must be as long), "zero", or "mean" (over the prompt and `source`, by position).
    All other interventions of the stack act on the circuit's run.
    """

    edges: tuple[PlacedEdge, ...]
    source: str
    how: AblationKind = "resample"

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.edges, self.source, self.how))

    def __str__(self) -> str:
        return f"only {len(self.edges):,} edges, {self.how} the rest"


SiteIntervention = Ablate | Patch | Scale | Steer | Freeze | Clamp | Noise
EdgeIntervention = EdgePatch | EdgeAblate
Intervention = SiteIntervention | EdgeIntervention | OnlyEdges
Stack = tuple[Intervention, ...]
TYPES: dict[str, type] = SITE_TYPES | {
    type_.__name__: type_
    for type_ in (Ablate, Patch, Scale, Steer, Freeze, Clamp, Noise, EdgePatch, EdgeAblate, OnlyEdges, PlacedEdge)
}
"""For `core.records.from_record`."""


def as_stack(interventions: Any) -> tuple[Intervention, ...]:
    """A tuple of interventions, from one or from any sequence of them; `InterventionError` for anything else."""
    items = (interventions,) if isinstance(interventions, Intervention) else tuple(interventions)
    for item in items:
        if not isinstance(item, Intervention):
            raise InterventionError(
                f"{item!r} is no intervention; expected for example Ablate(Head(9, 6), how='zero')."
            )
    return items


def replaces(item: Intervention) -> bool:
    """Whether an intervention sets its site's value, whatever it was."""
    return isinstance(item, Ablate | Patch | Freeze | Clamp)


def uses_own_values(item: Intervention) -> bool:
    """Whether what an intervention puts in depends on the prompt that is run."""
    if isinstance(item, Ablate | EdgeAblate):
        return item.how == "mean" and not item.reference
    return isinstance(item, Freeze)


def overridden(stack: Sequence[Intervention]) -> dict[int, int]:
    """Entries without effect, because a later entry replaces the same activation at the same positions: index -> by which."""
    found = {}
    for index, item in enumerate(stack):
        for later in range(index + 1, len(stack)):
            if replaces(stack[later]) and covers(stack[later], item):
                found[index] = later
                break
    return found


def covers(later: Intervention, item: Intervention) -> bool:
    edges = EdgeIntervention | OnlyEdges
    if isinstance(later, edges) or isinstance(item, edges) or later.site != item.site:
        return False
    return later.positions is None or (item.positions is not None and set(item.positions) <= set(later.positions))


def features_of(stack: Iterable[Intervention]) -> tuple[Feature, ...]:
    """Every feature that a stack acts on."""
    edges = EdgeIntervention | OnlyEdges
    return tuple(item.site for item in stack if not isinstance(item, edges) and isinstance(item.site, Feature))
