"""What a dictionary reads and writes, of many rows of tokens at once; and runs in which a dictionary stands for its place."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from explorer.core.sites import FeatureKind, Kind
from explorer.engine.backends import Engine
from explorer.engine.edits import Tape
from explorer.engine.forward import Start, embed, run_blocks
from explorer.engine.model import Model
from explorer.models.dictionary import reads_and_writes

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


def places_of(layer: int, kind: FeatureKind) -> list[tuple[Kind, int]]:
    """What a dictionary of a place reads and writes, as places of the forward pass: one, two for a transcoder."""
    return [(each, layer) for each in reads_and_writes(kind)]


@dataclass(frozen=True)
class Stretch:
    """Some rows, and the activations at their usable tokens: what is read, and what is written (the same, but for transcoders)."""

    rows: Rows
    keep: Bool[Tensor, "row pos"]
    source: Float[Tensor, "token d_in"]
    target: Float[Tensor, "token d_out"]


def stretches(
    model: Model,
    places: Sequence[tuple[Kind, int]],
    flat: Callable[[Tensor], Tensor],
    rows: Rows,
    at_once: int,
    engine: Engine | None = None,
) -> Iterator[Stretch]:
    """A text, so many rows at a time; `flat` makes an activation what a dictionary reads, [..., d_in]."""
    for first in range(0, len(rows), at_once):
        chunk = rows[first : first + at_once]
        found = read_places(model, chunk, places, engine)
        keep = usable(chunk, model.tokenizer.bos_token_id)
        source = flat(found[0])[keep]
        yield Stretch(chunk, keep, source, found[1][keep] if len(found) > 1 else source)


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
