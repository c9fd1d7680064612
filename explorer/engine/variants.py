"""Many variants of one run in one forward pass: each row of a batch differs from a cached run in one activation.

1. A variant joins the batch at the layer that it changes, from the cached stream: below that layer nothing differs.
   Rows already in the batch and rows that join go on together, so the batch grows from layer to layer.
2. Positions before the first changed one cannot differ (causality): their cached keys and values are reused.
3. A change of what is *written* (heads, attn_out, neurons, mlp_out) joins as a difference of the stream behind the
   writer, so that layer's attention is not run again.
4. In the last block only the last position is computed; only the tokens asked for are unembedded.

Each step is exact: tests hold every cell against a run of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from explorer.core.sites import Kind
from explorer.engine.edits import AnyEdit, Tape, part
from explorer.engine.forward import (
    KeyValues,
    embed,
    finish_block,
    forward,
    head_weight,
    linear,
    norm,
    rotation,
    run_block,
    soft_cap,
    start_block,
    unembed,
    write_attention,
    write_mlp,
)
from explorer.models.decoder import Decoder

Stage = Literal["start", "middle", "end"]
"""Where in its layer a variant joins: before the block, between attention and MLP, or behind the block."""


@dataclass(frozen=True)
class Cell:
    """One activation to change."""

    layer: int
    index: int | None = None
    """Head, key-value head or neuron."""
    position: int | None = None
    """None: all positions."""


@dataclass(frozen=True, eq=False)
class Cached:
    """Prompts of one length, run once under one stack of edits: what variants start from."""

    decoder: Decoder
    edits: tuple[AnyEdit, ...]
    embedded: Float[Tensor, "prompt pos d_model"]
    kept: dict[Kind, dict[int, Tensor]]
    past: KeyValues
    final: Float[Tensor, "prompt pos d_model"]

    def entering(self, layer: int) -> Float[Tensor, "prompt pos d_model"]:
        """The stream that arrives at a layer, before the stack's edits of its resid_pre."""
        return self.embedded if layer == 0 else self.kept["resid_post"][layer - 1]


def stage_of(kind: Kind, layer: int, decoder: Decoder, edits: Sequence[AnyEdit]) -> Stage:
    """In a layer that the stack edits too, the block is run as a whole, so that edits apply in their order."""
    if kind in ("resid_pre", "q", "k", "v", "pattern") or any(edit.layer == layer for edit in edits):
        return "start"
    if kind in ("z", "attn_out", "resid_mid"):
        return "end" if decoder.parallel else "middle"
    return "end"


def kinds_needed(kind: Kind, decoder: Decoder, edits: Sequence[AnyEdit], layers: set[int]) -> set[Kind]:
    """Activations of the cached run that variants of `kind` in these layers start from."""
    stages = {stage_of(kind, layer, decoder, edits) for layer in layers}
    needed: set[Kind] = set()
    if "start" in stages or "end" in stages:
        needed.add("resid_post")
    if "middle" in stages:
        needed.add("resid_mid")
    return needed | {kind} if stages != {"start"} else needed


@torch.no_grad()
def cache_run(decoder: Decoder, ids: Int[Tensor, "prompt pos"], edits: tuple[AnyEdit, ...], kinds: set[Kind]) -> Cached:
    tape, past = Tape(edits, kinds), KeyValues()
    final = forward(decoder, ids, tape, past=past)
    return Cached(decoder, edits, embed(decoder, ids), tape.kept, past, final)


class Prefix:
    """Cached keys and values of the positions before `start`, for every row of a growing batch."""

    def __init__(self, cached: KeyValues, start: int) -> None:
        self.cached, self.start = cached, start

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        if self.start == 0:
            return keys, values
        before = (part[:, :, : self.start] for part in self.cached.layers[layer])
        past_keys, past_values = (item.repeat(keys.shape[0] // item.shape[0], 1, 1, 1) for item in before)
        return torch.cat([past_keys, keys], 2), torch.cat([past_values, values], 2)


class VariantTape(Tape):
    """Applies the stack's edits to all rows, then to the rows that join at a layer their own change."""

    def __init__(self, edits: Sequence[AnyEdit], offset: int) -> None:
        super().__init__(edits, (), offset)
        self.inserts: dict[tuple[Kind, int], tuple[int, Sequence[Cell], Tensor]] = {}

    def insert(self, kind: Kind, layer: int, first_row: int, cells: Sequence[Cell], source: Tensor) -> None:
        """Rows from `first_row` on, prompts of one cell after another, get `source` [prompt, pos, …] in their cell."""
        self.inserts[kind, layer] = first_row, cells, source

    def needs(self, kind: Kind, layer: int) -> bool:
        return (kind, layer) in self.inserts or super().needs(kind, layer)

    def __call__(self, kind: Kind, layer: int, value: Tensor) -> Tensor:
        value = super().__call__(kind, layer, value)
        if (kind, layer) not in self.inserts:
            return value
        first_row, cells, source = self.inserts[kind, layer]
        value, n_prompts = value.clone(), len(source)
        for number, cell in enumerate(cells):
            row = first_row + number * n_prompts
            target = part(value[row : row + n_prompts], kind, cell.index)
            length = target.shape[1]
            new = part(source, kind, cell.index)[:, self.offset : self.offset + length]
            if cell.position is None:
                target[:] = new
            elif 0 <= (place := cell.position - self.offset) < length:
                target[:, place] = new[:, place]
        return value


@torch.no_grad()
def run_variants(
    cached: Cached,
    kind: Kind,
    cells: Sequence[Cell],
    source: dict[int, Tensor],
    start: int,
) -> Float[Tensor, "cell prompt d_model"]:
    """The final stream at the last position of every variant.

    `cells` are sorted by layer and change nothing before position `start`; `source` holds the new values
    [prompt, pos, …] by layer.
    """
    decoder, length = cached.decoder, cached.final.shape[1]
    tape, prefix = VariantTape(cached.edits, start), Prefix(cached.past, start)
    turn = rotation(decoder.rotary, start, length - start, cached.final.dtype)
    rows: Tensor | None = None
    for layer in range(cells[0].layer, decoder.n_layers):
        here = [cell for cell in cells if cell.layer == layer]
        stage = stage_of(kind, layer, decoder, cached.edits) if here else None
        last = layer == decoder.n_layers - 1
        if stage == "start":
            tape.insert(kind, layer, 0 if rows is None else len(rows), here, source[layer])
            rows = joined(rows, repeated(cached.entering(layer)[:, start:], len(here)))
        if stage == "middle":
            middle = joined(
                None if rows is None else start_block(decoder, layer, rows, tape, prefix, turn, last)[1],
                written(cached, kind, here, source, start, last, "resid_mid"),
            )
            rows = finish_block(decoder, layer, middle, middle, tape.at_last(length - start) if last else tape)
        elif rows is not None:
            rows = run_block(decoder, layer, rows, tape, prefix, turn, last)
        if stage == "end":
            rows = joined(rows, written(cached, kind, here, source, start, last, "resid_post"))
    assert rows is not None
    return rows[:, -1].view(len(cells), -1, rows.shape[-1])


def repeated(stream: Float[Tensor, "prompt pos d_model"], n_cells: int) -> Float[Tensor, "row pos d_model"]:
    return stream.repeat(n_cells, 1, 1)


def joined(rows: Tensor | None, new: Tensor) -> Tensor:
    return new if rows is None else torch.cat([rows, new])


def written(
    cached: Cached,
    kind: Kind,
    cells: Sequence[Cell],
    source: dict[int, Tensor],
    start: int,
    last: bool,
    behind: Literal["resid_mid", "resid_post"],
) -> Float[Tensor, "row pos d_model"]:
    """The cached stream behind a writer, with what each cell's change adds to it."""
    layer, length = cells[0].layer, cached.final.shape[1]
    window = slice(length - 1 if last else start, length)
    stream = cached.kept[behind][layer][:, window]
    rows = stream.expand(len(cells), *stream.shape).clone()
    for position, group in by_position(cells).items():
        places = window if position is None else slice(position, position + 1)
        if places.start < window.start:
            continue  # a change in the last block that the last position never reads
        indices = [cells[number].index for number in group]
        change = difference(cached, kind, layer, indices, source[layer][:, places], places)
        rows[group, :, places.start - window.start : places.stop - window.start] += change
    return rows.flatten(0, 1)


def by_position(cells: Sequence[Cell]) -> dict[int | None, list[int]]:
    """Numbers of the cells at each position."""
    found: dict[int | None, list[int]] = {}
    for number, cell in enumerate(cells):
        found.setdefault(cell.position, []).append(number)
    return found


def difference(
    cached: Cached, kind: Kind, layer: int, indices: list[int | None], new: Tensor, places: slice
) -> Float[Tensor, "cell prompt pos d_model"]:
    """What the stream behind a writer gains when one index after the other takes its new values."""
    decoder = cached.decoder
    block = decoder.blocks[layer]
    old = cached.kept[kind][layer][:, places]
    if None in indices:
        return (new - old).expand(len(indices), *old.shape)
    change = torch.stack([part(new, kind, index) - part(old, kind, index) for index in indices])
    if kind == "z":
        weights = torch.stack([head_weight(decoder, layer, index) for index in indices if index is not None])
        added = torch.einsum("cpte,cde->cptd", change, weights)
        if block.norm_attn_out is None:
            return added
        return norm(linear(old.flatten(2), block.o) + added, block.norm_attn_out) - write_attention(decoder, layer, old)
    assert kind == "neurons" and block.mlp is not None
    added = torch.einsum("cpt,dc->cptd", change, block.mlp.down.weight[:, indices])
    if block.norm_mlp_out is None:
        return added
    return norm(linear(old, block.mlp.down) + added, block.norm_mlp_out) - write_mlp(decoder, layer, old)


def read_logits(
    decoder: Decoder, final: Float[Tensor, "cell prompt d_model"], read: Int[Tensor, "prompt token"] | None
) -> Float[Tensor, "cell prompt token"]:
    """Logits of the tokens asked for (None: of the whole vocabulary)."""
    if read is None:
        return unembed(decoder, final)
    weight, bias = decoder.unembed.weight, decoder.unembed.bias
    logits = torch.einsum("cpd,ptd->cpt", norm(final, decoder.norm_final), weight[read])
    logits = logits if bias is None else logits + bias[read]
    return logits if decoder.logit_softcap is None else soft_cap(logits, decoder.logit_softcap)
