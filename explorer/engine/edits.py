"""Edits: what interventions become once they are fitted to a model and a prompt.

An `Edit` changes one activation (sets, scales or adds), at all or chosen positions, when the forward pass computes it.
Edits of one activation apply in the order of the stack: a later `set` stands, a later `scale` or `add` acts on what
came before.  An `EdgeEdit` changes what one reader of the residual stream gets from one writer, and nothing else.
"""

import copy
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.sites import Kind
from explorer.models.dictionary import Dictionary

BY_HEAD: tuple[Kind, ...] = ("q", "k", "v", "z")
Op = Literal["set", "scale", "add"]
SenderKind = Literal["embed", "z", "attn_out", "mlp_out"]
ReceiverKind = Literal["q", "k", "v", "mlp_in", "logits"]


def part(activation: Tensor, kind: Kind, index: int | None) -> Tensor:
    """View of one head or neuron, [batch, pos, width] ([batch, pos] for a neuron); the whole if `index` is None."""
    if index is None:
        return activation
    if kind == "pattern":
        return activation[:, index]
    return activation[..., index] if kind == "neurons" else activation[:, :, index]


@dataclass(frozen=True, eq=False)
class Edit:
    """Change `kind` at `layer`."""

    kind: Kind
    layer: int
    index: int | None = None
    """Head, key-value head or neuron; None for the whole activation."""
    positions: tuple[int, ...] | None = None
    """None: all positions, also those generated later."""
    op: Op = "set"
    value: Tensor | float = 0.0
    """A number, or rows [1 or len(positions), width] (no width for a neuron)."""

    def apply(self, activation: Tensor, offset: int = 0, read: Tensor | None = None) -> Tensor:
        """A changed copy of the activation, whose first position is number `offset` of the text.

        `read` is what a feature's dictionary reads, where that is another activation.
        """
        changed = activation.clone()
        target = part(changed, self.kind, self.index)
        length = target.shape[1]
        if self.positions is None:
            target[:] = self.result(target, self.value)
            return changed
        inside = [(row, p - offset) for row, p in enumerate(self.positions) if 0 <= p - offset < length]
        if not inside:
            return activation
        places, value = [place for _, place in inside], self.value
        if isinstance(value, Tensor) and len(value) > 1:
            value = value[[row for row, _ in inside]]
        target[:, places] = self.result(target[:, places], value)
        return changed

    def result(self, old: Tensor, value: Tensor | float) -> Tensor:
        new = value.to(old) if isinstance(value, Tensor) else torch.tensor(value, dtype=old.dtype, device=old.device)
        if (
            self.kind == "pattern" and new.ndim and new.shape[-1] < old.shape[-1]
        ):  # a row of the prompt, in a longer text
            new = torch.nn.functional.pad(new, (0, old.shape[-1] - new.shape[-1]))
        match self.op:
            case "set":
                return new.expand_as(old)
            case "scale":
                return old * new
            case "add":
                return old + new

    def same_as(self, other: "Edit | EdgeEdit") -> bool:
        """Whether two edits do the same thing, values included."""
        if not isinstance(other, Edit) or self.address != other.address:
            return False
        mine, theirs = self.value, other.value
        if isinstance(mine, Tensor) and isinstance(theirs, Tensor):
            return mine.shape == theirs.shape and bool(torch.equal(mine, theirs))
        return isinstance(mine, float) and isinstance(theirs, float) and mine == theirs

    @property
    def address(self) -> tuple[Kind, int, int | None, tuple[int, ...] | None, Op]:
        return self.kind, self.layer, self.index, self.positions, self.op


@dataclass(frozen=True, eq=False)
class FeatureEdit(Edit):
    """Change how strongly one feature of a dictionary fires: x' = x + (a' − a) · its decoder row.

    What the dictionary does not explain stays as it is.  `kind` is what it writes; a value has no width.
    """

    dictionary: Dictionary | None = None
    feature: int = 0

    @property
    def reads(self) -> tuple[Kind, int]:
        assert self.dictionary is not None
        return self.dictionary.reads, self.dictionary.layer

    def apply(self, activation: Tensor, offset: int = 0, read: Tensor | None = None) -> Tensor:
        dictionary = self.dictionary
        assert dictionary is not None
        source = dictionary.flat(activation if read is None else read)
        before = dictionary.encode(source)[..., self.feature]
        change = (self.acts(before, offset) - before)[..., None] * dictionary.scale(source)
        return activation + (change * dictionary.decoder[self.feature].to(activation)).view_as(activation)

    def acts(self, before: Float[Tensor, "batch pos"], offset: int = 0) -> Float[Tensor, "batch pos"]:
        """The feature's activations under the edit."""
        return Edit("neurons", self.layer, None, self.positions, self.op, self.value).apply(before, offset)

    @property
    def address(self) -> tuple[Kind, int, int | None, tuple[int, ...] | None, Op]:
        assert self.dictionary is not None
        return self.kind, hash((self.dictionary.identity, self.feature)), self.layer, self.positions, self.op


@dataclass(frozen=True, eq=False)
class EdgeEdit:
    """Let one reader get from one writer what that writes in another run."""

    layer: int
    """The sender's layer (0 for the embedding): the first that has to be run."""
    sender: SenderKind
    head: int | None
    receiver: ReceiverKind
    receiver_layer: int
    receiver_index: int | None
    source: Float[Tensor, "pos width"]
    """The sender's activation in the other run: `z` of the head, else what is written."""
    positions: tuple[int, ...] | None = None
    """Positions at which the receiver reads; None for all of the prompt."""

    def change(self, current: Tensor, offset: int) -> Tensor:
        """source − current [batch, pos, width] where the edge is patched; 0 elsewhere."""
        change = torch.zeros_like(current)
        length = current.shape[1]
        wanted = range(len(self.source)) if self.positions is None else self.positions
        places = [p for p in wanted if 0 <= p - offset < length]
        local = [p - offset for p in places]
        change[:, local] = self.source[places].to(current) - current[:, local]
        return change

    def same_as(self, other: "Edit | EdgeEdit") -> bool:
        return (
            isinstance(other, EdgeEdit) and self.place == other.place and bool(torch.equal(self.source, other.source))
        )

    @property
    def place(self) -> tuple[object, ...]:
        return (
            self.layer, self.sender, self.head, self.receiver, self.receiver_layer, self.receiver_index, self.positions,
        )  # fmt: skip


AnyEdit = Edit | EdgeEdit


class Tape:
    """The visitor of one forward pass: applies edits, then keeps the activations that were asked for."""

    def __init__(self, edits: Iterable[AnyEdit], wanted: Iterable[Kind], offset: int = 0) -> None:
        self.offset = offset
        self.kept: dict[Kind, dict[int, Tensor]] = {kind: {} for kind in wanted}
        self.visited: set[tuple[Kind, int]] = set()
        self.read: dict[tuple[Kind, int], Tensor | None] = {}
        """What dictionaries read whose features are changed where another activation is written."""
        self.edits: dict[tuple[Kind, int], list[Edit]] = defaultdict(list)
        self.outgoing: dict[tuple[SenderKind, int], list[EdgeEdit]] = defaultdict(list)
        self.arriving: dict[tuple[ReceiverKind, int], dict[int | None, Tensor]] = defaultdict(dict)
        self.held: dict[tuple[Literal["attention", "mlp"], int], Tensor] = {}
        """Streams whose scale a layer's norms keep, for frozen norms; what such a norm reads is all positions."""
        for edit in edits:
            if isinstance(edit, Edit):
                self.edits[edit.kind, edit.layer].append(edit)
                if isinstance(edit, FeatureEdit) and edit.reads != (edit.kind, edit.layer):
                    self.read[edit.reads] = None
            else:
                self.outgoing[edit.sender, edit.layer].append(edit)

    def at_last(self, length: int) -> "Tape":
        """The same tape for the last of `length` positions."""
        shifted = copy.copy(self)
        shifted.offset = self.offset + length - 1
        return shifted

    def needs(self, kind: Kind, layer: int) -> bool:
        return kind in self.kept or (kind, layer) in self.edits or (kind, layer) in self.read

    def missed(self) -> list[Edit]:
        """Edits whose activation never came by: the model has none."""
        return [edit for place, edits in self.edits.items() if place not in self.visited for edit in edits]

    def send(self, edge: EdgeEdit, change: Tensor) -> None:
        """Add a change of the residual stream [batch, pos, d_model] that one reader alone will get."""
        arriving = self.arriving[edge.receiver, edge.receiver_layer]
        arriving[edge.receiver_index] = arriving.get(edge.receiver_index, 0) + change

    def __call__(self, kind: Kind, layer: int, value: Tensor) -> Tensor:
        self.visited.add((kind, layer))
        for edit in self.edits.get((kind, layer), ()):
            read = self.read.get(edit.reads) if isinstance(edit, FeatureEdit) else None
            value = edit.apply(value, self.offset, read)
        if (kind, layer) in self.read:
            self.read[kind, layer] = value
        if kind in self.kept:
            self.kept[kind][layer] = value
        return value


def first_layer(edits: Iterable[AnyEdit], n_layers: int) -> int:
    """The first layer that an edit touches: everything below it equals the run without edits."""
    return min((edit.layer for edit in edits), default=n_layers)
