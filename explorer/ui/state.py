"""The workbench: everything that a page shows is a function of this one value, and it lives in the address (URL)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from explorer.analyses.lens import LensKind
from explorer.analyses.path_patching import Between
from explorer.analyses.token_attribution import TokenBaseline
from explorer.analyses.weighted_attention import Weighting
from explorer.circuits.circuit import Group
from explorer.circuits.edge_scores import Method
from explorer.core.errors import InterventionError
from explorer.core.pairs import ContrastPair
from explorer.core.places import ARROW
from explorer.core.sites import Edge, Feature, Head, Site
from explorer.engine.contrasts import Stacks
from explorer.engine.interventions import (
    Ablate,
    AblationKind,
    Clamp,
    EdgeAblate,
    EdgePatch,
    Freeze,
    Intervention,
    Patch,
    Scale,
    Steer,
    in_words,
    references_of,
)
from explorer.engine.sweep_plan import SweepSite
from explorer.models.catalog import DEFAULT_MODEL
from explorer.plots.attention_figures import GridColor
from explorer.plots.lens_figures import LensMode
from explorer.plots.patching_figures import EffectScale
from explorer.prompts.examples import EXAMPLES, OPENING
from explorer.prompts.tokens import Bos

Show = Literal["changed", "baseline", "difference"]
LensScale = Literal["probability", "logit", "log rank"]
Side = Literal["clean", "corrupt"]
ActsOn = Literal["both", "clean", "corrupt"]
How = Literal["zero", "mean", "resample", "patch", "freeze", "scale", "clamp", "steer"]
LensOf = Literal["stream", "heads and MLPs"]

PatchView = Literal["Sweep", "Paths", "Mediation", "Dataset"]
PatchDirection = Literal["denoising", "noising", "both", "gates"]
Corruption = Literal["other prompt", "noise"]

CircuitView = Literal["Graph", "Size", "Stability", "Files"]
CircuitMethod = Method | Literal["by hand"]
CircuitPairs = Literal["this pair", "a task", "a file"]
KeepBy = Literal["influence", "edges"]
CircuitMode = Literal["the model", "only the circuit"]

FeatureView = Literal["On this prompt", "Find", "Feature", "Circuit", "Graph", "Dictionaries"]
FindBy = Literal["token", "label", "density"]

PAIR_COUNTS = (20, 60, 100, 200, 500)
"""How many pairs of a task can be drawn at once."""
INPUTS = (
    "model",
    "pair",
    "bos",
    "entries",
    "circuit_edits",
    "circuit_groups",
    "circuit_labels",
    "circuit_mode",
    "graph_groups",
)
"""The fields that decide what is run, and how a circuit was changed by hand; undo, redo and the history follow these."""
EDGE_HOWS: tuple[How, ...] = ("zero", "mean", "resample", "patch")
"""What can be done to an edge."""
SITE_HOWS: tuple[How, ...] = (*EDGE_HOWS, "freeze", "scale")
FEATURE_HOWS: tuple[How, ...] = (*SITE_HOWS, "clamp", "steer")
WITH_NUMBER: tuple[How, ...] = ("scale", "clamp", "steer")
"""What needs a number beside it."""


def hows_of(site: Site | Edge) -> tuple[How, ...]:
    """What can be done to a site or edge."""
    if isinstance(site, Edge):
        return EDGE_HOWS
    return FEATURE_HOWS if isinstance(site, Feature) else SITE_HOWS


@dataclass(frozen=True)
class Entry:
    """One line of the intervention strip."""

    site: Site | Edge
    how: How
    positions: tuple[int, ...] | None = None
    enabled: bool = True
    on: ActsOn = "both"
    """The prompts of the pair whose runs it changes."""
    factor: float = 0.5
    """What `scale` multiplies by, `clamp` sets a feature to, `steer` adds to it."""

    def __str__(self) -> str:
        signs = {"scale": "× ", "clamp": "= ", "steer": "+ "}
        how = f"{signs[self.how]}{self.factor:g}" if self.how in WITH_NUMBER else self.how
        return f"{self.name} · {how}{in_words(self.positions)}" + ("" if self.on == "both" else f" · {self.on} only")

    @property
    def name(self) -> str:
        """Of its site, or of its edge as circuits write it."""
        return f"{self.site.sender}{ARROW}{self.site.receiver}" if isinstance(self.site, Edge) else str(self.site)

    def acts_on(self, side: Side) -> bool:
        return self.on in ("both", side)

    def intervention(self, pair: ContrastPair, side: Side = "clean") -> Intervention:
        """The entry on one prompt of a pair: means over both prompts, resampled values from the corrupt one, patched
        values from the other one."""
        if isinstance(self.site, Edge):
            return self.on_edge(self.site, pair, side)
        match self.how:
            case "freeze":
                return Freeze(self.site, self.positions)
            case "scale":
                return Scale(self.site, self.factor, self.positions)
            case "clamp" | "steer":
                return self.on_feature(self.site)
            case "patch":
                return Patch(self.site, needed(pair, other_side(side), "Patching"), self.positions)
            case "resample":
                needed(pair, "corrupt", "Resampling")
        return Ablate(self.site, self.how, self.positions, references_of(pair, self.how))

    def on_feature(self, site: Site) -> Intervention:
        if not isinstance(site, Feature):
            raise InterventionError(f"Only features of dictionaries are clamped or steered; {site} is none.")
        if self.how == "clamp":
            return Clamp(site, self.factor, self.positions)
        return Steer(site, (1.0,), self.factor, self.positions)

    def on_edge(self, edge: Edge, pair: ContrastPair, side: Side) -> Intervention:
        if self.how == "patch":
            return EdgePatch(edge, needed(pair, other_side(side), "Patching"), self.positions)
        if self.how == "resample":
            needed(pair, "corrupt", "Resampling")
        if self.how not in EDGE_HOWS:
            raise InterventionError(f"An edge cannot be {self.how}d; choose {', '.join(EDGE_HOWS)}.")
        how: AblationKind = self.how  # type: ignore[assignment]
        return EdgeAblate(edge, how, self.positions, references_of(pair, how))


def stack_of(entries: Sequence[Entry], pair: ContrastPair, side: Side) -> list[Intervention]:
    """The stack of one prompt of a pair."""
    return [entry.intervention(pair, side) for entry in entries if entry.enabled and entry.acts_on(side)]


def other_side(side: Side) -> Side:
    return "corrupt" if side == "clean" else "clean"


def needed(pair: ContrastPair, side: Side, what: str) -> str:
    """A prompt of the pair that values are taken from."""
    text: str = getattr(pair, side)
    if not text.strip():
        raise InterventionError(
            f"{what} takes its values from the {side} prompt, which is empty. Write one on the Prompt page."
        )
    return text


@dataclass(frozen=True)
class Workbench:
    """Model, contrast pair, interventions and the choices made on each page."""

    model: str = DEFAULT_MODEL
    pair: ContrastPair = EXAMPLES[OPENING].pair
    bos: Bos = "default"
    entries: tuple[Entry, ...] = ()
    side: Side = "clean"
    """The prompt that the pages show."""
    position: int | None = None
    """Position whose next token is read; None for the last."""
    show: Show = "changed"
    head: Head = field(default=Head(0, 0))
    """The head shown large."""
    pinned: tuple[Head, ...] = ()
    """Heads shown beside it."""
    color: GridColor = "patterns"
    """What the grid of heads shows."""
    weighting: Weighting = "attention"
    source: int | None = None
    """Source position of the attention score that is taken apart; None for the one looked at most."""
    lens: LensKind = "logit"
    lens_of: LensOf = "stream"
    lens_mode: LensMode = "probability"
    lens_layer: int | None = None
    """Layer selected on the lens page; None for the last."""
    lens_from: int = 0
    lens_to: int | None = None
    """Layers shown; None for the last."""
    lens_find: str = ""
    """Only positions whose token holds this text are shown."""
    follow: str = ""
    """Further tokens whose way through the layers is drawn, parted by line breaks."""
    scale: LensScale = "logit"
    component: str = ""
    """The component opened on the attribution page, such as L23H3; empty for none."""
    token_baseline: TokenBaseline = "mean"
    patch_view: PatchView = "Sweep"
    patch_site: SweepSite = "head_out"
    by_position: bool = False
    patch_layer: int | None = None
    """The layer whose neurons are patched; None for the last."""
    direction: PatchDirection = "denoising"
    effect_scale: EffectScale = "normalised"
    corruption: Corruption = "other prompt"
    noise_at: tuple[int, ...] = ()
    """Positions that noise corrupts; empty for all."""
    noise_scale: float = 3.0
    draws: int = 3
    """Draws of noise."""
    place: str = ""
    """The patched place opened on the patching page, such as L23H3 or L5.mlp_out@13."""
    collected: tuple[str, ...] = ()
    """Places that are patched together, or mediate together."""
    circuit: tuple[str, ...] = ()
    """Places kept for a circuit."""
    circuit_view: CircuitView = "Graph"
    circuit_method: CircuitMethod = "eap-ig"
    circuit_pairs: CircuitPairs = "this pair"
    """What the circuit is found and scored on."""
    circuit_positions: bool = False
    """Whether every position is an edge of its own."""
    circuit_by: KeepBy = "edges"
    circuit_keep: int = 80
    """Percent of the influence that is kept."""
    circuit_top: int = 75
    """Edges that are kept, where their number is chosen."""
    circuit_threshold: float = 0.01
    circuit_target: int = 100
    circuit_edits: tuple[str, ...] = ()
    """Changes by hand, as `circuits.editing` reads them."""
    circuit_groups: tuple[Group, ...] = ()
    circuit_labels: tuple[tuple[str, str], ...] = ()
    """What nodes are called."""
    circuit_notes: str = ""
    circuit_item: str = ""
    """The node, edge or group that is open."""
    circuit_mode: CircuitMode = "the model"
    circuit_rest: AblationKind = "resample"
    """What edges outside the circuit carry, where only it is run."""
    circuit_other: Method = "eap"
    """The method that the circuit is compared with."""
    feature_view: FeatureView = "On this prompt"
    dictionary: str = ""
    """The place of the dictionary that the Features page shows, such as L14.resid_post; empty for the first there is."""
    feature: str = ""
    """The feature that is open, such as L14.resid_post/17."""
    find_by: FindBy = "token"
    feature_find: str = ""
    """The token or label that is searched for."""
    graph_share: int = 80
    """Percent of the influence that an attribution graph shows."""
    graph_node: str = ""
    """The node of an attribution graph that is open."""
    graph_groups: tuple[Group, ...] = ()
    """Nodes of an attribution graph that are drawn as one."""
    sender: str = ""
    receivers: tuple[str, ...] = ("logits",)
    path_mlps: Between = "recomputed"
    path_norms: Between = "recomputed"
    job: str = ""
    """The dataset run that is open."""
    finding: str = ""
    """The finding that is open."""
    steps: tuple[str, ...] = ()
    """Findings of a report or presentation, in order; empty for all."""
    lesson: str = ""
    """The lesson that is open."""
    learner: str = "me"
    """Whose progress in lessons is kept."""
    task: str = "ioi"
    n_pairs: int = 20
    task_seed: int = 0
    held_out: bool = False
    """Whether pairs come from templates that the small-world models never saw."""
    only_right: bool = False
    n_new: int = 20
    temperature: float = 0.0
    seed: int = 0

    @property
    def prompt(self) -> str:
        """The prompt that the pages show."""
        text: str = getattr(self.pair, self.side)
        return text

    def with_entries(self, entries: tuple[Entry, ...]) -> "Workbench":
        return replace(self, entries=entries)

    def changed_heads(self) -> list[Head]:
        """Heads that an entry acts on."""
        return [
            entry.site
            for entry in self.entries
            if entry.enabled and entry.acts_on(self.side) and isinstance(entry.site, Head)
        ]

    def inputs(self) -> tuple[object, ...]:
        """What decides the runs."""
        return tuple(getattr(self, name) for name in INPUTS)


def stacks_of(bench: Workbench) -> Stacks:
    """The stacks of both prompts, as a value that can be written down."""
    return Stacks(*(tuple(stack_of(bench.entries, bench.pair, side)) for side in get_args(Side)))
