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
    """`y = x Wᵀ + b`.  A weight [head, d_head, in] writes heads apart: a strided view where a family fuses q, k and v."""

    weight: Float[Tensor, "*out in"]
    bias: Float[Tensor, "*out"] | None = None


@dataclass(frozen=True)
class Norm:
    kind: NormKind
    eps: float
    weight: Float[Tensor, " width"]
    bias: Float[Tensor, " width"] | None = None


@dataclass(frozen=True)
class Rotary:
    """Rotary position embedding (Su et al. 2021, RoFormer): half-split pairs, as Hugging Face arranges them.

    Twice as many dimensions of each head as there are frequencies are rotated; the rest passes (partial rotary).
    """

    inverse_frequencies: Float[Tensor, " half"]
    scaling: float = 1.0
    """Factor on cosine and sine (YaRN's attention factor; 1 elsewhere)."""


@dataclass(frozen=True)
class Mlp:
    up: Linear
    down: Linear
    gate: Linear | None = None
    """Gated MLP: `down(act(gate x) * up x)`; None for the plain `down(act(up x))`."""


@dataclass(frozen=True)
class Block:
    norm_attention: Norm | None
    """None: attention reads the stream as it is."""
    q: Linear
    k: Linear
    v: Linear
    o: Linear
    norm_mlp: Norm | None
    mlp: Mlp | None
    """None in attention-only models."""
    norm_q: Norm | None = None
    norm_k: Norm | None = None
    """Norms of each head's queries and keys, before the rotation (Qwen3)."""
    norm_attn_out: Norm | None = None
    norm_mlp_out: Norm | None = None
    """Norms of what attention and MLP write to the residual stream (Gemma-2)."""
    window: int | None = None
    """Sliding-window attention: a destination looks at this many positions, itself included; None for all."""


@dataclass(frozen=True)
class Decoder:
    n_heads: int
    n_kv_heads: int
    d_head: int
    activation: Activation
    attention_scale: float
    """Factor on q·k; 1/√d_head but for Gemma-2."""
    embed: Float[Tensor, "vocab d_model"]
    embed_positions: Float[Tensor, "n_ctx d_model"] | None
    rotary: Rotary | None
    blocks: tuple[Block, ...]
    norm_final: Norm | None
    unembed: Linear
    parallel: bool = False
    """Attention and MLP read the same stream (GPT-NeoX); such a block has no resid_mid."""
    embed_scale: float = 1.0
    attention_softcap: float | None = None
    """Scores s become c·tanh(s/c) before the softmax (Gemma-2)."""
    logit_softcap: float | None = None

    @property
    def n_layers(self) -> int:
        return len(self.blocks)
