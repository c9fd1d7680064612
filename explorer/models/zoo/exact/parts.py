"""What an exact model is made of: weights set by hand in named spaces of the residual stream, and its true circuit.

No LayerNorm: it makes every write depend on every other, so edges that were not planted get effects too (up to 14 logits
in random planted models with LayerNorm, exactly 0 without).
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from explorer.core.pairs import ContrastPair
from explorer.core.sites import Edge, Receiver, Sender
from explorer.models.native import NativeShape

SPECIAL = ("<bos>", "<unk>")
BOS, UNKNOWN = range(2)
SHARP = 60.0
"""Attention score of a match; whatever does not match gets e⁻⁶⁰ of the attention, or less."""


@dataclass(frozen=True)
class TrueCircuit:
    """What a model is known to do, because it was set so."""

    nodes: tuple[Sender, ...]
    """Every head, MLP and embedding that matters."""
    edges: tuple[Edge, ...]
    """Every connection that matters."""
    text: str
    """The algorithm in words."""


@dataclass(frozen=True, eq=False)
class ExactModel:
    """A model whose circuit is known exactly."""

    shape: NativeShape
    weights: dict[str, Tensor]
    """float64, by the names of `NativeModel`."""
    words: tuple[str, ...]
    """The vocabulary behind BOS and the unknown word; token n+2 is word n."""
    circuit: TrueCircuit
    examples: tuple[ContrastPair, ...]
    vectors: dict[str, Tensor] = field(default_factory=dict)
    """Known directions of the model, by name."""


class Parts:
    """Weights of a model without norms, all zero to begin with, in the order of the papers' formulas (x W)."""

    def __init__(self, shape: NativeShape) -> None:
        def zeros(*size: int) -> Tensor:
            return torch.zeros(*size, dtype=torch.float64)

        layers, heads, d, width = shape.n_layers, shape.n_heads, shape.d_model, shape.d_head
        self.shape = shape
        self.embed, self.positions = zeros(shape.d_vocab, d), zeros(shape.n_ctx, d)
        self.q, self.k, self.v = (zeros(layers, heads, d, width) for _ in range(3))
        self.q_bias = zeros(layers, heads, width)
        self.o = zeros(layers, heads, width, d)
        self.mlp_in, self.mlp_bias = zeros(layers, d, shape.d_mlp), zeros(layers, shape.d_mlp)
        self.mlp_out = zeros(layers, shape.d_mlp, d)
        self.unembed = zeros(d, shape.d_vocab)

    def attend_position(self, layer: int, head: int, positions: slice, offset: int) -> None:
        """Every position attends to the one `offset` before it, by the one-hot positions in a space of the stream."""
        strength = match_strength(self.shape)
        for position in range(self.shape.n_ctx):
            self.k[layer, head, positions.start + position, position] = strength
            if position >= offset:
                self.q[layer, head, positions.start + position, position - offset] = strength

    def rotated(self, seed: int) -> "Parts":
        """The same function in another basis of the residual stream (exact, as there is no norm)."""
        turn = random_rotation(self.shape.d_model, seed)
        made = Parts(self.shape)
        made.embed, made.positions = self.embed @ turn, self.positions @ turn
        made.q, made.k, made.v = (turn.T @ weight for weight in (self.q, self.k, self.v))
        made.q_bias, made.o = self.q_bias, self.o @ turn
        made.mlp_in, made.mlp_bias, made.mlp_out = turn.T @ self.mlp_in, self.mlp_bias, self.mlp_out @ turn
        made.unembed = turn.T @ self.unembed
        return made

    def state(self) -> dict[str, Tensor]:
        """By the names and in the layout of `NativeModel` ([out, in])."""
        shape = self.shape
        found = {
            "tok_embed.weight": self.embed,
            "pos.weight": self.positions,
            "head.weight": self.unembed.T.contiguous(),
        }
        for layer in range(shape.n_layers):
            block = f"layers.{layer}"
            for name, weight in (("q", self.q), ("k", self.k), ("v", self.v)):
                flat = weight[layer].permute(0, 2, 1).reshape(-1, shape.d_model)
                found[f"{block}.attn.{name}.weight"] = flat.contiguous()
                found[f"{block}.attn.{name}.bias"] = torch.zeros(len(flat), dtype=torch.float64)
            found[f"{block}.attn.q.bias"] = self.q_bias[layer].flatten()
            found[f"{block}.attn.o.weight"] = self.o[layer].reshape(-1, shape.d_model).T.contiguous()
            found[f"{block}.attn.o.bias"] = torch.zeros(shape.d_model, dtype=torch.float64)
            if shape.d_mlp:
                found[f"{block}.mlp.fc_in.weight"] = self.mlp_in[layer].T.contiguous()
                found[f"{block}.mlp.fc_in.bias"] = self.mlp_bias[layer]
                found[f"{block}.mlp.fc_out.weight"] = self.mlp_out[layer].T.contiguous()
                found[f"{block}.mlp.fc_out.bias"] = torch.zeros(shape.d_model, dtype=torch.float64)
        return found


def match_strength(shape: NativeShape) -> float:
    """Length of equal queries and keys whose score is `SHARP`: q·k/√d_head."""
    return float((SHARP * shape.d_head**0.5) ** 0.5)


def spaces(**widths: int) -> dict[str, slice]:
    """The residual stream cut into named parts, one behind the other."""
    found, start = {}, 0
    for name, width in widths.items():
        found[name] = slice(start, start + width)
        start += width
    return found


def eye(size: int) -> Tensor:
    return torch.eye(size, dtype=torch.float64)


def normal(generator: torch.Generator, *size: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*size, generator=generator, dtype=torch.float64)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_rotation(size: int, seed: int) -> Tensor:
    turn, _ = torch.linalg.qr(normal(seeded(seed), size, size))
    return torch.as_tensor(turn)


def edges(*pairs: tuple[Sender, Receiver]) -> tuple[Edge, ...]:
    return tuple(Edge(sender, receiver) for sender, receiver in pairs)
