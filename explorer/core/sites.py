"""Sites: the addresses of activations, and the edges between them.

A site is a frozen value; `str(site)` is its name on screen (`L23H3`, `L5.mlp_out`, `L5.resid_pre`).

    resid_pre ─► q, k, v ─► pattern ─► z ─► attn_out ─┐
        └────────────────────────────────────────────(+)─► resid_mid ─► neurons ─► mlp_out ─┐
                                                              └────────────────────────────(+)─► resid_post

An edge goes from a writer of the residual stream (`embed`, a head, an MLP) to a reader of it (a head's query, a
key-value head's key or value, an MLP's input, the logits).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from explorer.core.errors import StateError

ResidKind = Literal["resid_pre", "resid_mid", "resid_post"]
HeadKind = Literal["q", "z", "pattern"]
KeyValueKind = Literal["k", "v"]
Kind = Literal[
    "resid_pre", "q", "k", "v", "pattern", "z", "attn_out", "resid_mid", "mlp_read", "neurons", "mlp_out", "resid_post"
]  # fmt: skip
"""Activations that a forward pass shows, in the order in which a block computes them.

`q`, `z` are [batch, pos, head, d_head], `k`, `v` the same by key-value head (`q` and `k` before head norms and rotation);
`pattern` [batch, head, dest, source]; `neurons` [batch, pos, d_mlp]; all others [batch, pos, d_model].  `mlp_read` is what
the MLP's first matrix gets, behind the norm.
"""
FeatureKind = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z", "transcoder"]


@dataclass(frozen=True, order=True)
class Head:
    """One attention head's write to the residual stream (`head_out`): its mixed values times its part of W_O."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"L{self.layer}H{self.head}"


@dataclass(frozen=True, order=True)
class HeadPart:
    """Inside a head: its queries `q` (before norm and rotation), its attention `pattern`, or its mixed values `z`."""

    layer: int
    head: int
    kind: HeadKind

    def __str__(self) -> str:
        return f"L{self.layer}H{self.head}.{self.kind}"


@dataclass(frozen=True, order=True)
class KeyValue:
    """Keys `k` (before norm and rotation) or values `v` of one key-value head.

    In grouped-query attention one key-value head serves several query heads; elsewhere the two have one number.
    """

    layer: int
    kv_head: int
    kind: KeyValueKind

    def __str__(self) -> str:
        return f"L{self.layer}KV{self.kv_head}.{self.kind}"


@dataclass(frozen=True, order=True)
class Neuron:
    """One MLP neuron's activation: what the MLP's last matrix reads (after the gate, where there is one)."""

    layer: int
    neuron: int

    def __str__(self) -> str:
        return f"L{self.layer}N{self.neuron}"


@dataclass(frozen=True, order=True)
class AttnOut:
    """What a whole attention block writes: the sum over its heads and the output bias."""

    layer: int

    def __str__(self) -> str:
        return f"L{self.layer}.attn_out"


@dataclass(frozen=True, order=True)
class MlpOut:
    """What an MLP writes to the residual stream, bias included."""

    layer: int

    def __str__(self) -> str:
        return f"L{self.layer}.mlp_out"


@dataclass(frozen=True, order=True)
class Resid:
    """The residual stream before a block, between attention and MLP, or after the block."""

    layer: int
    kind: ResidKind

    def __str__(self) -> str:
        return f"L{self.layer}.{self.kind}"


@dataclass(frozen=True, order=True)
class Feature:
    """One feature of a sparse dictionary: how strongly it fires, as far as it is written to the dictionary's place.

    `kind` is the activation that the dictionary takes apart; a transcoder reads the MLP's input and writes its output.
    """

    layer: int
    kind: FeatureKind
    index: int
    dictionary: str = ""
    """Which of several dictionaries at this place; empty for the one that is found there first."""

    @property
    def place(self) -> str:
        """The dictionary's name on screen: `L14.resid_post`."""
        return place_name(self.layer, self.kind, self.dictionary)

    def __str__(self) -> str:
        return f"{self.place}/{self.index}"


def place_name(layer: int, kind: str, dictionary: str = "") -> str:
    return f"L{layer}.{kind}" + (f"~{dictionary}" if dictionary else "")


@dataclass(frozen=True, order=True)
class Embed:
    """Token embedding plus position embedding: the first writer of the residual stream."""

    def __str__(self) -> str:
        return "embed"


@dataclass(frozen=True, order=True)
class MlpIn:
    """The residual stream as an MLP reads it, before its norm."""

    layer: int

    def __str__(self) -> str:
        return f"L{self.layer}.mlp_in"


@dataclass(frozen=True, order=True)
class Logits:
    """The residual stream as the unembedding reads it, before the final norm."""

    def __str__(self) -> str:
        return "logits"


Site = Head | HeadPart | KeyValue | Neuron | AttnOut | MlpOut | Resid | Feature
Sender = Embed | Head | AttnOut | MlpOut
Receiver = HeadPart | KeyValue | MlpIn | Logits


@dataclass(frozen=True)
class Edge:
    """What `sender` adds to the residual stream, as far as `receiver` reads it there."""

    sender: Sender
    receiver: Receiver

    def __str__(self) -> str:
        return f"{self.sender} → {self.receiver}"


SITE_TYPES: dict[str, type] = {
    type_.__name__: type_
    for type_ in (Head, HeadPart, KeyValue, Neuron, AttnOut, MlpOut, Resid, Feature, Embed, MlpIn, Logits, Edge)
}
"""For `core.records.from_record`."""

_NAME = re.compile(r"L(?P<layer>\d{1,4})(?:(?P<type>H|KV|N)(?P<index>\d{1,6}))?(?:\.(?P<kind>[a-z_]+))?")
_FEATURE = re.compile(r"L(?P<layer>\d{1,4})\.(?P<kind>[a-z_]+)(?:~(?P<name>[\w.-]{1,64}))?/(?P<index>\d{1,7})")
_EXAMPLES = "L9H6, L9H6.q, L9KV1.k, L5N17, L5.mlp_out, L0.resid_pre or L5.resid_post/17 (a feature)"


def parse_site(name: str) -> Site:
    """The site of a name such as `L23H3`, `L23H3.q`, `L23KV1.k`, `L5N17` or `L5.mlp_out`; `StateError` for other text."""
    if feature := _FEATURE.fullmatch(name):
        return _feature(feature)
    match = _NAME.fullmatch(name)
    if match is None:
        raise StateError(f"{name[:40]!r} names no site. Expected names like {_EXAMPLES}.")
    layer, kind = int(match["layer"]), match["kind"]
    kinds, make = _family(match["type"], layer, int(match["index"] or 0))
    if kind in kinds:
        return make(kind)
    known = ", ".join(item or "nothing after it" for item in kinds)
    raise StateError(f"{name[:40]!r}: unknown activation {kind!r}. Known: {known}.")


def _feature(match: re.Match[str]) -> Feature:
    known = get_args(FeatureKind)
    if match["kind"] not in known:
        raise StateError(f"{match[0][:40]!r}: no dictionary reads {match['kind']}. Known: {', '.join(known)}.")
    return Feature(int(match["layer"]), cast(FeatureKind, match["kind"]), int(match["index"]), match["name"] or "")


def parse_sender(name: str) -> Sender:
    """The sender of a name such as `embed`, `L9H6`, `L5.attn_out` or `L5.mlp_out`; `StateError` for other text."""
    if name == "embed":
        return Embed()
    site = parse_site(name)
    if not isinstance(site, Head | AttnOut | MlpOut):
        raise StateError(
            f"{name[:40]!r} is no writer to the residual stream. Expected embed, L9H6, L5.attn_out or L5.mlp_out."
        )
    return site


def parse_receiver(name: str) -> Receiver:
    """The receiver of a name such as `L9H6.q`, `L9KV1.k`, `L5.mlp_in` or `logits`; `StateError` for other text."""
    if name == "logits":
        return Logits()
    layer, _, rest = name.partition(".")
    if rest == "mlp_in" and layer[:1] == "L" and layer[1:].isascii() and layer[1:].isdigit() and len(layer) <= 5:
        return MlpIn(int(layer[1:]))
    site = parse_site(name)
    if isinstance(site, KeyValue) or (isinstance(site, HeadPart) and site.kind == "q"):
        return site
    raise StateError(f"{name[:40]!r} reads no stream. Expected names like L9H6.q, L9KV1.k, L5.mlp_in or logits.")


def _family(letter: str | None, layer: int, index: int) -> tuple[tuple[str | None, ...], Callable[[Any], Site]]:
    """Kinds that may follow a name's first part, and what makes the site of one."""
    match letter:
        case "H":
            return (
                None,
                *get_args(HeadKind),
            ), lambda kind: Head(layer, index) if kind is None else HeadPart(layer, index, kind)
        case "KV":
            return get_args(KeyValueKind), lambda kind: KeyValue(layer, index, kind)
        case "N":
            return (None,), lambda kind: Neuron(layer, index)
    plain: dict[str, type] = {"attn_out": AttnOut, "mlp_out": MlpOut}
    return (
        *plain,
        *get_args(ResidKind),
    ), lambda kind: plain[kind](layer) if kind in plain else Resid(layer, cast(ResidKind, kind))
