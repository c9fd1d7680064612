"""Sites: the addresses of activations.

A site is a frozen value; `str(site)` is its name on screen (`L23H3`, `L5.mlp_out`, `L5.resid_pre`).

    resid_pre ─► attention heads ─► attn_out ─┐
        └────────────────────────────────────(+)─► resid_mid ─► mlp_out ─┐
                                                      └─────────────────(+)─► resid_post
"""

import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

from explorer.core.errors import StateError

ResidKind = Literal["resid_pre", "resid_mid", "resid_post"]


@dataclass(frozen=True, order=True)
class Head:
    """One attention head's write to the residual stream (`head_out`): its mixed values times its part of W_O."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"L{self.layer}H{self.head}"


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


Site = Head | AttnOut | MlpOut | Resid

_NAME = re.compile(r"L(?P<layer>\d{1,4})(?:H(?P<head>\d{1,4})|\.(?P<kind>[a-z_]+))")


def parse_site(name: str) -> Site:
    """The site of a name such as `L23H3` or `L5.mlp_out`; `StateError` for any other text."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise StateError(f"{name[:40]!r} names no site. Expected names like L9H6, L5.mlp_out or L0.resid_pre.")
    layer, kind = int(match["layer"]), match["kind"]
    if match["head"] is not None:
        return Head(layer, int(match["head"]))
    if kind == "attn_out":
        return AttnOut(layer)
    if kind == "mlp_out":
        return MlpOut(layer)
    if kind in get_args(ResidKind):
        return Resid(layer, cast(ResidKind, kind))
    known = ("attn_out", "mlp_out", *get_args(ResidKind))
    raise StateError(f"{name[:40]!r}: unknown activation {kind!r}. Known: {', '.join(known)}.")
