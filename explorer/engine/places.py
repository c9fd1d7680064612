"""What a dictionary reads and writes, of many rows of tokens at once; and runs in which a dictionary stands for its place."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from explorer.engine.backends import Engine
from explorer.engine.edits import Kind, Tape
from explorer.engine.forward import Start, embed, run_blocks
from explorer.engine.model import Model
from explorer.models.dictionary import Dictionary

Rows = Int[Tensor, "row pos"]


@torch.no_grad()
def read_places(
    model: Model, rows: Rows, places: Sequence[tuple[Kind, int]], engine: Engine | None = None
) -> list[Tensor]:
    """Activations [row, pos, ...] at the places; layers above them are not run.  `engine` stands for the model's own code."""
    tape = Tape((), {kind for kind, _ in places})
    runtime = engine or model.runtime
    rows = rows.to(model.info.device)
    if isinstance(runtime, Engine):
        start = Start(0, embed(runtime.decoder, rows))
        run_blocks(runtime.decoder, start, tape, until=max(layer for _, layer in places))
    else:
        runtime.run(rows, tape)
    return [tape.kept[kind][layer] for kind, layer in places]


def source_and_target(
    model: Model, dictionary: Dictionary, rows: Rows, engine: Engine | None = None
) -> tuple[Tensor, Tensor]:
    """What a dictionary reads [row, pos, d_in], and what it stands for [row, pos, d_out]: the same, but for transcoders."""
    return pair_at(model, places_of(dictionary), dictionary.flat, rows, engine)


def places_of(dictionary: Dictionary) -> list[tuple[Kind, int]]:
    """What it reads and writes, as places of the forward pass: one, two for a transcoder."""
    reads, writes = cast(Kind, dictionary.reads), cast(Kind, dictionary.writes)
    return [(reads, dictionary.layer)] + ([(writes, dictionary.layer)] if writes != reads else [])


def pair_at(
    model: Model,
    places: Sequence[tuple[Kind, int]],
    flat: Callable[[Tensor], Tensor],
    rows: Rows,
    engine: Engine | None = None,
) -> tuple[Tensor, Tensor]:
    found = read_places(model, rows, places, engine)
    source = flat(found[0])
    return source, found[1] if len(found) > 1 else source


def usable(rows: Rows, bos: int | None) -> Bool[Tensor, "row pos"]:
    """Where dictionaries are trained, measured and indexed: all but each row's first token and every BOS."""
    mask = torch.ones_like(rows, dtype=torch.bool)
    mask[:, 0] = False
    return mask if bos is None else mask & (rows != bos)


class Replaced(Tape):
    """A run in which a place's activation is `change(what is read there, the activation)`."""

    def __init__(self, places: Sequence[tuple[Kind, int]], change: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__((), ())
        self.reads, self.writes = places[0], places[-1]
        self.change = change
        self.source: Tensor | None = None

    def needs(self, kind: Kind, layer: int) -> bool:
        return (kind, layer) in (self.reads, self.writes)

    def __call__(self, kind: Kind, layer: int, value: Tensor) -> Tensor:
        if (kind, layer) == self.reads:
            self.source = value
        if (kind, layer) != self.writes:
            return value
        assert self.source is not None
        return self.change(self.source, value)
