"""A decoder as data: its configuration and views of its weights, in one shape for every family.

Weights are views of the loaded model's parameters, never copies.  `Linear` follows torch: `y = x Wᵀ + b`.
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

NormKind = Literal["layer", "rms"]
Activation = Literal["gelu", "gelu_tanh", "silu", "relu"]


@dataclass(frozen=True)
class Linear:
    weight: Float[Tensor, "out in"]
    bias: Float[Tensor, " out"] | None = None


@dataclass(frozen=True)
class Norm:
    kind: NormKind
    eps: float
    weight: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"] | None = None


@dataclass(frozen=True)
class Rotary:
    """Rotary position embedding (Su et al. 2021, RoFormer): half-split pairs, as Hugging Face arranges them."""

    inverse_frequencies: Float[Tensor, " half"]
    scaling: float = 1.0
    """Factor on cosine and sine (YaRN's attention factor; 1 elsewhere)."""


@dataclass(frozen=True)
class Block:
    norm_attention: Norm
    q: Linear
    k: Linear
    v: Linear
    o: Linear
    norm_mlp: Norm
    up: Linear
    gate: Linear | None
    """Gated MLP: `down(act(gate x) * up x)`; None for the plain `down(act(up x))`."""
    down: Linear


@dataclass(frozen=True)
class Decoder:
    n_heads: int
    n_kv_heads: int
    d_head: int
    activation: Activation
    embed: Float[Tensor, "vocab d_model"]
    embed_positions: Float[Tensor, "n_ctx d_model"] | None
    rotary: Rotary | None
    blocks: tuple[Block, ...]
    norm_final: Norm
    unembed: Linear

    @property
    def n_layers(self) -> int:
        return len(self.blocks)
