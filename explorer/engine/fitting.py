"""The one interpreter of interventions: fits a stack to a model and a prompt, and gives the edits of the forward pass."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from explorer.core.errors import InterventionError, SiteError
from explorer.core.sites import (
    AttnOut,
    Edge,
    Embed,
    Feature,
    Head,
    HeadPart,
    KeyValue,
    Kind,
    Logits,
    MlpIn,
    MlpOut,
    Neuron,
    Receiver,
    Resid,
    Sender,
    Site,
)
from explorer.engine.edits import BY_HEAD, AnyEdit, EdgeEdit, Edit, FeatureEdit, Op, ReceiverKind, SenderKind, part
from explorer.engine.interventions import (
    Ablate,
    Clamp,
    EdgeAblate,
    EdgeIntervention,
    EdgePatch,
    Freeze,
    Intervention,
    Noise,
    OnlyEdges,
    Patch,
    Scale,
    SiteIntervention,
    Steer,
    replaces,
)
from explorer.models.dictionary import Dictionary
from explorer.models.info import ModelInfo
from explorer.prompts.tokens import Tokens

Reference = Callable[[str, Kind, int], Tensor]
"""Activation [pos, ...] of `kind` at `layer` when a text is run without interventions."""
Address = tuple[Kind, int, int | None]
Where = Address | Feature


@dataclass(frozen=True)
class Fitting:
    """What an intervention is fitted to."""

    info: ModelInfo
    tokens: Tokens
    reference: Reference
    embedding_sd: Callable[[], float]
    """Of all entries of the token embeddings, as the stream gets them."""
    dictionary: Callable[[Feature], Dictionary]

    def where(self, site: Site) -> Where:
        return site if isinstance(site, Feature) else address(site, self.info)

    def values(self, text: str, where: Where) -> Tensor:
        """A site's values [pos, width] on a reference prompt; [pos] of a neuron or feature."""
        if isinstance(where, Feature):
            found = self.dictionary(where)
            read = self.reference(text, found.reads, where.layer)
            return found.encode(found.flat(read))[:, where.index]
        kind, layer, index = where
        return part(self.reference(text, kind, layer)[None], kind, index)[0]

    def edit(
        self, where: Where, positions: tuple[int, ...] | None, op: Op = "set", value: Tensor | float = 0.0
    ) -> Edit:
        if not isinstance(where, Feature):
            return Edit(*where, positions, op, value)
        found = self.dictionary(where)
        found.feature(where.index)
        kind = found.writes
        return FeatureEdit(kind, where.layer, None, positions, op, value, found, where.index)


def compile_edits(
    stack: Sequence[Intervention],
    info: ModelInfo,
    tokens: Tokens,
    reference: Reference,
    embedding_sd: Callable[[], float],
    dictionary: Callable[[Feature], Dictionary],
) -> tuple[AnyEdit, ...]:
    """Edits of a stack on one prompt; raises `SiteError` or `InterventionError` for what does not fit."""
    fitting = Fitting(info, tokens, reference, embedding_sd, dictionary)
    edits: list[AnyEdit] = []
    for item in stack:
        if isinstance(item, OnlyEdges):
            raise InterventionError(
                f"{item}: this is computed on the whole model under interventions, and not on a circuit that runs alone. "
                "Run the model again (on the Circuits page) to see it."
            )
        if isinstance(item, EdgeIntervention):
            check_not_cut(item, stack, info)
            edits.append(compile_edge(item, fitting))
        else:
            edits.append(compile_edit(item, fitting))
    return tuple(edits)


def compile_edit(item: SiteIntervention, fitting: Fitting) -> Edit:
    where = fitting.where(item.site)
    positions = resolve_positions(item, len(fitting.tokens))
    match item:
        case Ablate(how="zero"):
            return fitting.edit(where, positions)
        case Ablate(how="mean"):
            return fitting.edit(where, positions, "set", mean_value(item, fitting, where))
        case Ablate(how="resample"):
            return copied(item, fitting, where, positions, one_reference(item))
        case Patch(source=source):
            return copied(item, fitting, where, positions, source)
        case Freeze():
            return copied(item, fitting, where, positions, fitting.tokens.text)
        case Scale(factor=factor):
            check_finite(item, [factor])
            return fitting.edit(where, positions, "scale", float(factor))
        case Clamp(value=value):
            check_finite(item, [value])
            return fitting.edit(where, positions, "set", float(value))
        case Noise():
            return fitting.edit(where, *noise(item, fitting, positions))
        case Steer():
            return fitting.edit(where, positions, "add", steering(item, fitting.info, where))
    raise InterventionError(f"Unknown ablation {item.how!r}: choose zero, mean or resample.")


def copied(
    item: SiteIntervention, fitting: Fitting, where: Where, positions: tuple[int, ...] | None, text: str
) -> Edit:
    """Set the site to its values on another prompt, position by position."""
    other = fitting.values(text, where)
    places = tuple(range(len(fitting.tokens))) if positions is None else positions
    whole = positions is None or is_pattern(where)
    check_lengths(item, len(fitting.tokens), len(other), places, whole)
    return fitting.edit(where, places, "set", other[list(places)])


def is_pattern(where: Where) -> bool:
    return not isinstance(where, Feature) and where[0] == "pattern"


def one_reference(item: Ablate | EdgeAblate) -> str:
    if len(item.reference) != 1:
        raise InterventionError(f"{item}: resampling needs exactly one reference prompt, got {len(item.reference)}.")
    return item.reference[0]


def mean_value(item: Ablate | EdgeAblate, fitting: Fitting, where: Where) -> Tensor:
    """[1, width] mean over all positions of the reference prompts."""
    if is_pattern(where):
        raise InterventionError(
            f"{item}: rows of a pattern look at different numbers of sources, so they have no mean. "
            "Zero it, resample it from a prompt of equal length, or freeze it."
        )
    texts = item.reference or (fitting.tokens.text,)
    return torch.cat([fitting.values(text, where) for text in texts]).mean(0, keepdim=True)


def steering(item: Steer, info: ModelInfo, where: Where) -> Tensor:
    """[1, width] of coefficient · vector."""
    kind, _, index = ("neurons", where.layer, where.index) if isinstance(where, Feature) else where
    if isinstance(item.site, Head):
        raise InterventionError(
            f"{item}: a head's write is steered in the d_model space of L{item.site.layer}.attn_out, or in its own "
            f"d_head space as {item.site}.z. Choose one of these sites."
        )
    if kind == "pattern":
        raise InterventionError(f"{item}: a pattern's rows are probabilities; nothing can be added to them.")
    check_finite(item, [*item.vector, item.coefficient])
    width = 1 if kind == "neurons" and index is not None else info.d_head if kind in BY_HEAD else info.d_model
    if len(item.vector) != width:
        raise InterventionError(f"{item}: {item.site} is {width} wide, the vector has {len(item.vector)} numbers.")
    vector = torch.tensor(item.vector, dtype=torch.float64) * item.coefficient
    return vector if kind == "neurons" else vector[None]


def noise(
    item: Noise, fitting: Fitting, positions: tuple[int, ...] | None
) -> tuple[tuple[int, ...], Literal["add"], Tensor]:
    """Positions, and what is added there: [position, d_model], drawn from the seed."""
    check_finite(item, [item.scale])
    places = tuple(range(len(fitting.tokens))) if positions is None else positions
    generator = torch.Generator().manual_seed(item.seed)
    drawn = torch.randn(len(places), fitting.info.d_model, generator=generator, dtype=torch.float64)
    return places, "add", item.scale * fitting.embedding_sd() * drawn


def compile_edge(item: EdgeIntervention, fitting: Fitting) -> EdgeEdit:
    sender_kind, sender_layer, head = sender_place(item.edge.sender, fitting.info)
    receiver_kind, receiver_layer, index = receiver_place(item.edge, fitting.info)
    check_order(item.edge, fitting.info)
    positions = resolve_positions(item, len(fitting.tokens))
    kind: Kind = "resid_pre" if sender_kind == "embed" else sender_kind
    source = edge_value(item, fitting, (kind, sender_layer, head), positions)
    return EdgeEdit(sender_layer, sender_kind, head, receiver_kind, receiver_layer, index, source, positions)


def edge_value(item: EdgeIntervention, fitting: Fitting, where: Address, positions: tuple[int, ...] | None) -> Tensor:
    """What the receiver gets in the sender's place, [pos, width]."""
    length = len(fitting.tokens)
    if isinstance(item, EdgeAblate) and item.how == "zero":
        return torch.zeros_like(fitting.values(fitting.tokens.text, where))
    if isinstance(item, EdgeAblate) and item.how == "mean":
        return mean_value(item, fitting, where).expand(length, -1)
    if isinstance(item, EdgeAblate) and item.how != "resample":
        raise InterventionError(f"Unknown ablation {item.how!r}: choose zero, mean or resample.")
    source = fitting.values(item.source if isinstance(item, EdgePatch) else one_reference(item), where)
    check_lengths(item, length, len(source), range(length) if positions is None else positions, positions is None)
    return source


def sender_place(sender: Sender, info: ModelInfo) -> tuple[SenderKind, int, int | None]:
    match sender:
        case Embed():
            return "embed", 0, None
        case Head(layer, head):
            address(sender, info)
            if not info.heads_add_up:
                raise InterventionError(
                    f"{sender}: in {info.title} a norm follows the sum of the heads, so one head's write is no summand "
                    f"of the stream. Use L{layer}.attn_out as the sender."
                )
            return "z", layer, head
        case AttnOut(layer):
            address(sender, info)
            return "attn_out", layer, None
        case MlpOut(layer):
            address(sender, info)
            return "mlp_out", layer, None
    raise InterventionError(
        f"{sender} writes nothing to the residual stream; senders are embed, heads, attn_out and MLPs."
    )


def receiver_place(edge: Edge, info: ModelInfo) -> tuple[ReceiverKind, int, int | None]:
    match edge.receiver:
        case HeadPart(layer, head, "q"):
            address(edge.receiver, info)
            return "q", layer, head
        case KeyValue(layer, kv_head, kind):
            address(edge.receiver, info)
            return kind, layer, kv_head
        case MlpIn(layer):
            address(MlpOut(layer), info)
            return "mlp_in", layer, None
        case Logits():
            return "logits", 0, None
    raise InterventionError(
        f"{edge}: {edge.receiver} reads nothing from the residual stream. Receivers are a head's q (L9H6.q), a "
        "key-value head's k or v (L9KV1.k), an MLP's input (L5.mlp_in) and the logits."
    )


def sender_of(edit: EdgeEdit) -> Sender:
    """The inverse of `sender_place`."""
    match edit.sender:
        case "embed":
            return Embed()
        case "z":
            return Head(edit.layer, edit.head or 0)
        case "attn_out":
            return AttnOut(edit.layer)
    return MlpOut(edit.layer)


def receiver_of(edit: EdgeEdit) -> Receiver:
    """The inverse of `receiver_place`."""
    layer, index = edit.receiver_layer, edit.receiver_index or 0
    match edit.receiver:
        case "q":
            return HeadPart(layer, index, "q")
        case "k" | "v":
            return KeyValue(layer, index, edit.receiver)
        case "mlp_in":
            return MlpIn(layer)
    return Logits()


Time = tuple[int, int]
"""Layer, and place in it: 0 what attention reads, 1 what attention has written, 2 what the MLP has written."""


def write_time(sender: Sender, info: ModelInfo) -> Time:
    """When a writer has added to the stream."""
    match sender:
        case Embed():
            return -1, 2
        case MlpOut(layer):
            return layer, 2
    return sender.layer, 2 if info.parallel else 1


def read_time(receiver: Receiver, info: ModelInfo) -> Time:
    if isinstance(receiver, Logits):
        return info.n_layers, 0
    return receiver.layer, 1 if isinstance(receiver, MlpIn) and not info.parallel else 0


def check_order(edge: Edge, info: ModelInfo) -> None:
    if write_time(edge.sender, info) > read_time(edge.receiver, info):
        raise InterventionError(
            f"{edge}: {edge.sender} writes after {edge.receiver} has read. Choose a later receiver."
        )


def check_not_cut(item: EdgeIntervention, stack: Sequence[Intervention], info: ModelInfo) -> None:
    """A stack that changes an edge and replaces the stream between its ends contradicts itself."""
    for other in stack:
        if isinstance(other, EdgeIntervention | OnlyEdges) or not (replaces(other) and isinstance(other.site, Resid)):
            continue
        time = other.site.layer, ("resid_pre", "resid_mid", "resid_post").index(other.site.kind)
        if write_time(item.edge.sender, info) <= time <= read_time(item.edge.receiver, info):
            raise InterventionError(
                f"{item} and {other} contradict each other: the stream is replaced between sender and receiver, so the "
                "edge carries nothing there. Remove one of them."
            )


def check_lengths(item: Intervention, here: int, there: int, places: Iterable[int], everywhere: bool) -> None:
    if everywhere and here != there:
        raise InterventionError(
            f"{item}: the prompt has {here} tokens, the reference {there}. Each position is taken from the "
            "same position of the other prompt, so make them equally long, or choose single positions."
        )
    if (last := max(places, default=0)) >= there:
        raise InterventionError(f"{item}: the reference prompt has {there} tokens, so it has no position {last}.")


def check_finite(item: Intervention, numbers: Iterable[float]) -> None:
    if not torch.isfinite(torch.tensor(list(numbers), dtype=torch.float64)).all():
        raise InterventionError(f"{item}: its numbers must be finite.")


def resolve_positions(item: SiteIntervention | EdgeIntervention, length: int) -> tuple[int, ...] | None:
    if item.positions is None:
        return None
    for position in item.positions:
        if not -length <= position < length:
            raise InterventionError(f"{item}: the prompt has {length} tokens, so positions run from 0 to {length - 1}.")
    return tuple(sorted({position % length for position in item.positions}))


def address(site: Site, info: ModelInfo) -> Address:
    """Where a site lies in the forward pass; `SiteError` if the model has no such site."""
    if not 0 <= site.layer < info.n_layers:
        raise SiteError(f"{site}: {info.title} has layers 0 to {info.n_layers - 1}.")

    def among(index: int, count: int, name: str) -> int:
        if not 0 <= index < count:
            raise SiteError(f"{site}: {info.title} has {name} 0 to {count - 1} in each layer.")
        return index

    if isinstance(site, MlpOut | Neuron) and not info.d_mlp:
        raise SiteError(f"{site}: {info.title} has none, it is attention alone.")
    match site:
        case Feature(layer):
            raise SiteError(f"{site}: features are changed one by one, here whole activations are.")
        case Head(layer, head):
            return "z", layer, among(head, info.n_heads, "heads")
        case HeadPart(layer, head, part_kind):
            return part_kind, layer, among(head, info.n_heads, "heads")
        case KeyValue(layer, kv_head, kv_kind):
            return kv_kind, layer, among(kv_head, info.n_kv_heads, "key-value heads")
        case Neuron(layer, neuron):
            return "neurons", layer, among(neuron, info.d_mlp, "neurons")
        case AttnOut(layer):
            return "attn_out", layer, None
        case MlpOut(layer):
            return "mlp_out", layer, None
        case Resid(layer, kind):
            if kind == "resid_mid" and info.parallel:
                raise SiteError(f"{site}: {info.title} has none, its attention and MLP read the same stream.")
            return kind, layer, None
