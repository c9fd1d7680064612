"""Edits: what interventions become once they are fitted to a model and a prompt.

An edit sets the value of one activation, at all or chosen positions, when the forward pass computes it.
Edits of one activation apply in the order of the stack, so the last one stands.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Kind = Literal["resid_pre", "pattern", "z", "attn_out", "resid_mid", "mlp_out", "resid_post"]
"""Activations that a forward pass shows, in the order in which a block computes them.

`z` is [batch, pos, head, d_head]; `pattern` [batch, head, dest, source]; all others [batch, pos, d_model].
"""


@dataclass(frozen=True, eq=False)
class Edit:
    """Set `kind` at `layer` to `value` (None: zero)."""

    kind: Kind
    layer: int
    head: int | None = None
    positions: tuple[int, ...] | None = None
    """None: all positions, also those generated later."""
    value: Tensor | None = None
    """[width], or [len(positions), width]."""

    def apply(self, activation: Tensor, offset: int = 0) -> Tensor:
        """A changed copy of the activation, whose first position is number `offset` of the text."""
        changed = activation.clone()
        target = changed if self.head is None else changed[:, :, self.head]
        if self.positions is None:
            target[:] = 0 if self.value is None else self.value.to(target)
            return changed
        length = activation.shape[1]
        inside = [(row, p - offset) for row, p in enumerate(self.positions) if 0 <= p - offset < length]
        if not inside:
            return activation
        rows, places = [row for row, _ in inside], [place for _, place in inside]
        value = self.value
        if value is None:
            target[:, places] = 0
        else:
            target[:, places] = (value if value.ndim == 1 else value[rows]).to(target)
        return changed


class Tape:
    """The visitor of one forward pass: applies edits, then keeps the activations that were asked for."""

    def __init__(self, edits: Iterable[Edit], wanted: Iterable[Kind], offset: int = 0) -> None:
        self.offset = offset
        self.kept: dict[Kind, dict[int, Tensor]] = {kind: {} for kind in wanted}
        self.visited: set[tuple[Kind, int]] = set()
        self.edits: dict[tuple[Kind, int], list[Edit]] = defaultdict(list)
        for edit in edits:
            self.edits[edit.kind, edit.layer].append(edit)

    def needs(self, kind: Kind, layer: int) -> bool:
        return kind in self.kept or (kind, layer) in self.edits

    def missed(self) -> list[Edit]:
        """Edits whose activation never came by: the model has none."""
        return [edit for place, edits in self.edits.items() if place not in self.visited for edit in edits]

    def __call__(self, kind: Kind, layer: int, value: Tensor) -> Tensor:
        self.visited.add((kind, layer))
        for edit in self.edits.get((kind, layer), ()):
            value = edit.apply(value, self.offset)
        if kind in self.kept:
            self.kept[kind][layer] = value
        return value


def first_layer(edits: Iterable[Edit], n_layers: int) -> int:
    """The first layer that an edit touches: everything below it equals the run without edits."""
    return min((edit.layer for edit in edits), default=n_layers)
