"""The plan of a sweep: which cells, which prompts together, what cannot change, what it will cost.  Nothing runs here.

A sweep is one run for each of many cells, in which one activation takes its value from another run (or zero).
Prompts are grouped by length, so nothing is padded; each forward pass takes as many cells as the memory budget allows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, cast, get_args

import psutil
import torch
from jaxtyping import Float, Int
from torch import Tensor

from explorer.core.errors import InterventionError, PairError, SiteError
from explorer.core.sites import Kind
from explorer.engine.backends import Engine
from explorer.engine.edits import AnyEdit, EdgeEdit
from explorer.engine.interventions import Stack, uses_own_values
from explorer.engine.model import Model
from explorer.engine.timing import seconds_of_a_run
from explorer.engine.variants import Cell
from explorer.models.decoder import Decoder
from explorer.prompts.pairs import check_aligned
from explorer.prompts.tokens import Tokens

SweepSite = Literal[
    "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "head_out", "z", "q", "k", "v", "pattern", "neurons"
]  # fmt: skip
"""`head_out` and `z` are one patch: what a head writes is z times its part of W_O."""
Values = dict[int, Float[Tensor, "prompt pos *rest"]]
"""New values of the swept activation, by layer."""
CHUNK_POSITIONS = 4096
"""Positions (rows times length) that one forward pass takes at most; larger batches gain nothing."""
PROMPTS_AT_ONCE = 8
BATCH_GAIN = 0.4
"""Time of a position in a large batch over its time in a single run; measured on two cores, for the cost shown before."""


@dataclass(frozen=True)
class Cost:
    """What a sweep will take; told before it runs."""

    forwards: float
    """Work in forward passes of a whole prompt, after the savings of `engine.variants`."""
    seconds: float
    """By one timed forward pass."""
    bytes: int
    """Peak memory beside the weights."""
    runs: int
    """Patched runs of the model that the result stands for."""

    def __str__(self) -> str:
        size = f"{self.bytes / 1e6:,.0f} MB"
        return f"{self.runs:,} patched runs as {self.forwards:,.1f} forward passes, about {self.seconds:.1f} s, {size}"


@dataclass(frozen=True, eq=False)
class Group:
    """Prompts that run as one batch: equally long, under equal edits."""

    prompts: list[int]
    length: int
    edits: tuple[AnyEdit, ...]
    source_edits: tuple[AnyEdit, ...]
    shared: int
    """Positions at the start that cannot differ between base and source run."""


@dataclass(eq=False)
class SweepPlan:
    """A planned sweep; made by `plan_sweep`, run by `engine.sweep.run_sweep`."""

    model: Model
    kind: Kind
    cells: list[Cell]
    shape: tuple[int, ...]
    """Shape of `cells`: layer; then head or neuron, where the site has them; then position, where asked for."""
    base: list[Tokens]
    source: list[Tokens] | Values | None
    """Prompts that give the new values, or the values themselves; None for zero."""
    base_stacks: list[Stack]
    source_stacks: list[Stack]
    read: Int[Tensor, "prompt token"] | None
    budget: int
    chunk_positions: int

    @cached_property
    def groups(self) -> list[Group]:
        single = [self.alone(number) for number in range(len(self.base))]
        found: list[Group] = []
        for group in sorted(single, key=lambda item: (item.length, item.shared)):
            joint = replace(found[-1], prompts=[*found[-1].prompts, *group.prompts]) if found else group
            fits = 2 * self.cached_bytes(joint) <= self.budget
            if found and fits and can_join(found[-1], group):
                found[-1] = joint
            else:
                found.append(group)
        return found

    def alone(self, number: int) -> Group:
        tokens = self.base[number]
        edits = self.model.edits(tokens, self.base_stacks[number])
        if not isinstance(self.source, list):
            return Group([number], len(tokens), edits, edits, 0)
        other = self.source[number]
        source_edits = self.model.edits(other, self.source_stacks[number])
        differ = (place for place, (a, b) in enumerate(zip(tokens.ids, other.ids, strict=True)) if a != b)
        own = any(uses_own_values(item) for item in (*self.base_stacks[number], *self.source_stacks[number]))
        shared = next(differ, len(tokens)) if same_edits(edits, source_edits) and not own else 0
        return Group([number], len(tokens), edits, source_edits, shared)

    @cached_property
    def decoder(self) -> Decoder | None:
        """What runs many cells at once; None where each cell is a run of its own."""
        edges = any(isinstance(edit, EdgeEdit) for group in self.groups for edit in (*group.edits, *group.source_edits))
        return self.model.runtime.decoder if isinstance(self.model.runtime, Engine) and not edges else None

    @cached_property
    def cost(self) -> Cost:
        """Forward passes, seconds and bytes; times one forward pass."""
        forwards = sum(self.work(group) for group in self.groups)
        seconds = (
            forwards * seconds_of_a_run(self.model, self.base[0].ids) * (BATCH_GAIN if self.decoder is not None else 1)
        )
        peak = max(self.cached_bytes(group) + self.chunk_bytes(group) for group in self.groups)
        return Cost(forwards, seconds, peak, len(self.cells) * len(self.base))

    def work(self, group: Group, cells: Sequence[Cell] | None = None) -> float:
        """Forward passes of a whole prompt that some cells (None: all, with the two cached runs) take."""
        total = 2.0 if cells is None else 0.0
        n_layers = self.model.info.n_layers
        for cell in self.cells if cells is None else cells:
            if not self.is_inert(cell, group):
                share = (1 - self.start_of(cell, group) / group.length) * (1 - cell.layer / n_layers)
                total += share if self.decoder is not None else 1
        return total * len(group.prompts)

    def start_of(self, cell: Cell, group: Group) -> int:
        return group.shared if cell.position is None else cell.position

    def is_inert(self, cell: Cell, group: Group) -> bool:
        """Whether a cell cannot change the last position: nothing differs there, or nothing reads it any more."""
        start = self.start_of(cell, group)
        unread = cell.layer == self.model.info.n_layers - 1 and self.kind not in ("resid_pre", "k", "v")
        return (
            start < group.shared
            or start >= group.length
            or (unread and cell.position is not None and start < group.length - 1)
        )

    def row_bytes(self, length: int, whole: int) -> int:
        """Memory of one row of `length` positions that looks at `whole` positions, at its largest."""
        info = self.model.info
        heads = (info.n_heads + 4 * info.n_kv_heads) * info.d_head
        scores = 3 * info.n_heads * length * whole if self.kind == "pattern" else 0
        numbers = length * (6 * info.d_model + 3 * info.d_mlp + 3 * heads) + 2 * info.n_kv_heads * info.d_head * whole
        return (numbers + scores) * self.model.unit_bytes

    def cached_bytes(self, group: Group) -> int:
        """Memory of base and source run: streams, keys and values, and the swept activation twice."""
        info = self.model.info
        widths = {"neurons": info.d_mlp, "pattern": info.n_heads * group.length, "z": info.n_heads * info.d_head}
        width = 2 * info.d_model + 4 * info.n_kv_heads * info.d_head + 2 * widths.get(self.kind, info.d_model)
        return len(group.prompts) * info.n_layers * group.length * width * self.model.unit_bytes

    def cells_at_once(self, group: Group, start: int) -> int:
        """How many cells one forward pass takes."""
        length, n_prompts = group.length - start, len(group.prompts)
        room = max(0, self.budget - self.cached_bytes(group)) // self.row_bytes(length, group.length)
        return max(1, min(room, self.chunk_positions // length) // n_prompts)

    def chunk_bytes(self, group: Group) -> int:
        starts = {self.start_of(cell, group) for cell in self.cells if not self.is_inert(cell, group)}
        return max(
            (
                self.cells_at_once(group, start)
                * len(group.prompts)
                * self.row_bytes(group.length - start, group.length)
                for start in starts
            ),
            default=0,
        )

    def by_start(self, group: Group, numbers: Sequence[int]) -> dict[int, list[int]]:
        """Those cells that change something, by the first position that they change, in order of layers."""
        found: dict[int, list[int]] = {}
        for number in numbers:
            if not self.is_inert(cell := self.cells[number], group):
                found.setdefault(self.start_of(cell, group), []).append(number)
        return {start: sorted(numbers, key=lambda number: self.cells[number].layer) for start, numbers in found.items()}


def can_join(group: Group, other: Group) -> bool:
    same = same_edits(group.edits, other.edits) and same_edits(group.source_edits, other.source_edits)
    return same and group.length == other.length and len(group.prompts) < PROMPTS_AT_ONCE


def same_edits(one: Sequence[AnyEdit], other: Sequence[AnyEdit]) -> bool:
    return len(one) == len(other) and all(mine.same_as(theirs) for mine, theirs in zip(one, other, strict=True))


def one_each(stacks: Stack | Sequence[Stack], count: int) -> list[Stack]:
    """A stack for each prompt: the same one for all, or a list of them."""
    if isinstance(stacks, tuple):
        return [stacks] * count
    if len(stacks) != count:
        raise InterventionError(f"{count} prompts need a stack each, or one for all; got {len(stacks)}.")
    return list(stacks)


def plan_sweep(
    model: Model,
    site: SweepSite | str,
    base: Sequence[Tokens],
    source: Sequence[Tokens] | Values | None = None,
    *,
    by_position: bool = False,
    positions: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
    interventions: Stack | Sequence[Stack] = (),
    source_interventions: Stack | Sequence[Stack] | None = None,
    read: Int[Tensor, "prompt token"] | None = None,
    budget: int | None = None,
    chunk_positions: int = CHUNK_POSITIONS,
) -> SweepPlan:
    """A sweep over every layer, head (or neuron) and, if wanted, position; `run_sweep` runs it.

    Args:
        base: prompts that are run.
        source: for each, the prompt (as long) that gives the new values; or the values; None puts in zero.
        by_position: each position apart; `positions` names them (None for all).
        layers: None for all.
        interventions: the stack under which base *and* source run, or a list with one for each prompt.
        source_interventions: the stack of the source runs, where it differs.
        chunk_positions: positions of one forward pass at most; fewer for work that others wait behind.
        read: ids of the tokens whose logits are wanted, [prompt, token]; None for the whole vocabulary.
        budget: bytes; None for a quarter of the free memory.

    Raises `SiteError`, `PairError` (unequal lengths), `InterventionError`.
    """
    if site not in get_args(SweepSite):
        raise SiteError(f"There is no sweep over {site!r}; choose one of {', '.join(get_args(SweepSite))}.")
    kind = cast("Kind", "z" if site == "head_out" else site)
    if kind == "resid_mid" and model.info.parallel:
        raise SiteError(f"resid_mid: {model.info.title} has none, its attention and MLP read the same stream.")
    chosen = list(range(model.info.n_layers) if layers is None else layers)
    if not chosen or not all(0 <= layer < model.info.n_layers for layer in chosen):
        raise SiteError(f"Layers {chosen}: {model.info.title} has layers 0 to {model.info.n_layers - 1}.")
    lengths = sorted({len(tokens) for tokens in base})
    if not lengths:
        raise PairError("A sweep needs at least one prompt.")
    if by_position and len(lengths) > 1:
        raise PairError(f"By position, all prompts must be equally long; these have {lengths} tokens.")
    given = source if source is None or isinstance(source, dict) else list(source)
    if isinstance(given, list):
        for one, other in zip(base, given, strict=True):
            check_aligned(one, other)
    places: list[int | None] = [None]
    if by_position:
        places = [base[0].place(position) for position in (range(lengths[0]) if positions is None else positions)]
    indices, stacks = indices_of(model, kind), one_each(interventions, len(base))
    shape = [len(chosen)] + [len(indices)] * (indices != [None]) + [len(places)] * by_position
    cells = [Cell(layer, index, position) for layer in chosen for index in indices for position in places]
    return SweepPlan(
        model, kind, cells, tuple(shape), list(base), given, stacks,
        stacks if source_interventions is None else one_each(source_interventions, len(base)), read,
        free_memory(model) // 4 if budget is None else budget, chunk_positions,
    )  # fmt: skip


def indices_of(model: Model, kind: Kind) -> list[int | None]:
    """Heads, key-value heads or neurons of a kind; [None] for an activation without parts."""
    info = model.info
    counts: dict[str, int] = {"neurons": info.d_mlp, "k": info.n_kv_heads, "v": info.n_kv_heads}
    counts |= dict.fromkeys(("q", "z", "pattern"), info.n_heads)
    return list(range(counts[kind])) if kind in counts else [None]


def free_memory(model: Model) -> int:
    """Bytes of memory that are free on the model's device."""
    if model.info.device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(model.info.device)[0])
    return int(psutil.virtual_memory().available)
