"""How the logits read the residual stream: the final norm, held at a run's own scale, is linear.

    logits = Σ_c  (γ ∘ (c − c̄) / σ) W_Uᵀ  +  constants          (c̄ = 0 for RMSNorm; Elhage et al. 2021)

for every summand c of the stream.  Everything is in float64.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from explorer.engine.forward import per_query_head
from explorer.models.decoder import Decoder, Norm


@dataclass(frozen=True, eq=False)
class FrozenNorm:
    """A norm whose statistics are held at those of one stream: a linear map of its summands."""

    weight: Float[Tensor, "*pos d_model"]
    """γ / σ."""
    centred: bool
    bias: Float[Tensor, " d_model"] | None

    def __call__(self, summand: Float[Tensor, "*any d_model"]) -> Float[Tensor, "*any d_model"]:
        """What a summand of the stream adds behind the norm (its bias is nobody's)."""
        wide = summand.double()
        return self.weight * (wide - wide.mean(-1, keepdim=True) if self.centred else wide)

    def back(self, row: Float[Tensor, " d_model"]) -> Float[Tensor, "*pos d_model"]:
        """u with  norm(c) · row = c · u."""
        weighted = self.weight * row.double()
        return weighted - weighted.mean(-1, keepdim=True) if self.centred else weighted


def freeze_norm(norm: Norm | None, stream: Float[Tensor, "*pos width"]) -> FrozenNorm:
    """The norm at the scale that `stream` has; no norm is the identity."""
    wide = stream.double()
    if norm is None:
        return FrozenNorm(torch.ones_like(wide), False, None)
    centred = norm.kind == "layer"
    spread = wide - wide.mean(-1, keepdim=True) if centred else wide
    scale = torch.rsqrt(spread.square().mean(-1, keepdim=True) + norm.eps)
    return FrozenNorm(norm.weight.double() * scale, centred, None if norm.bias is None else norm.bias.double())


def token_row(decoder: Decoder, answer: int, distractor: int | None) -> Float[Tensor, " d_model"]:
    """W_U[answer] − W_U[distractor]; W_U[answer] alone without a distractor."""
    W = decoder.unembed.weight
    row = W[answer].double()
    return row if distractor is None else row - W[distractor].double()


def value_writes(
    decoder: Decoder, layer: int, values: Float[Tensor, "pos kv_head d_head"]
) -> Float[Tensor, "pos head d_model"]:
    """v W_O: what each head would write if it looked at one source alone, for every source."""
    return head_writes(decoder, layer, per_query_head(values, decoder.n_heads))


def head_writes(decoder: Decoder, layer: int, z: Float[Tensor, "pos head d_head"]) -> Float[Tensor, "pos head d_model"]:
    """z W_O: what each head writes (`head_out`)."""
    W = decoder.blocks[layer].o.weight.double().view(-1, decoder.n_heads, decoder.d_head)
    return torch.einsum("phe,dhe->phd", z.double(), W)


def mixed(
    decoder: Decoder, pattern: Float[Tensor, "head dest source"], values: Float[Tensor, "source kv_head d_head"]
) -> Float[Tensor, "dest head d_head"]:
    """What every head's pattern and values give: its z, unless an intervention set that."""
    return torch.einsum("his,she->ihe", pattern, per_query_head(values, decoder.n_heads))


def from_sources(
    decoder: Decoder,
    z: Float[Tensor, "dest head d_head"],
    pattern: Float[Tensor, "head dest source"],
    values: Float[Tensor, "source kv_head d_head"],
) -> Float[Tensor, "head dest"]:
    """1 where a head's z is what its pattern and values give, 0 where an intervention set it: that comes from no source."""
    off = (z - mixed(decoder, pattern, values)).abs().amax(-1)
    size = z.abs().amax() + values.abs().amax()
    return (off <= 1e-4 * size).T.double()
