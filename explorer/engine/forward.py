"""The forward pass: pure functions of weights and tensors, no hooks, no state.

`forward` walks the blocks once.  At each named activation it calls the `Tape`, which may change the value and keep it.
One function serves every family; the fields of `Decoder` decide what is computed.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from explorer.engine.edits import Tape
from explorer.models.decoder import Activation, Block, Decoder, Linear, Norm, Rotary

Stream = Float[Tensor, "batch pos d_model"]
Heads = Float[Tensor, "batch head pos d_head"]


class KeyValues:
    """Keys and values of the positions already run, a layer at a time; grows while a text is generated."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of the layer so far, [batch, kv_head, source, d_head]."""
        if layer in self.layers:
            past_keys, past_values = self.layers[layer]
            keys, values = torch.cat([past_keys, keys], 2), torch.cat([past_values, values], 2)
        self.layers[layer] = keys, values
        return keys, values


@dataclass(frozen=True, eq=False)
class Start:
    """Enter the network at a later layer, with the residual stream that arrives there."""

    layer: int
    resid_pre: Stream


def forward(
    decoder: Decoder,
    tokens: Int[Tensor, "batch pos"],
    tape: Tape,
    start: Start | None = None,
    past: KeyValues | None = None,
) -> Stream:
    """The last block's residual stream; `tape` sees every activation on the way."""
    resid = embed(decoder, tokens, tape.offset) if start is None else start.resid_pre
    first = 0 if start is None else start.layer
    for layer in range(first, decoder.n_layers):
        resid = run_block(decoder, layer, resid, tape, past)
    return resid


def embed(decoder: Decoder, tokens: Int[Tensor, "batch pos"], offset: int) -> Stream:
    resid = F.embedding(tokens, decoder.embed)
    if decoder.embed_scale != 1:
        resid = resid * torch.tensor(decoder.embed_scale, dtype=resid.dtype, device=resid.device)
    if decoder.embed_positions is not None:
        resid = resid + decoder.embed_positions[offset : offset + tokens.shape[1]]
    return resid


def run_block(decoder: Decoder, layer: int, resid: Stream, tape: Tape, past: KeyValues | None) -> Stream:
    block = decoder.blocks[layer]
    resid = tape("resid_pre", layer, resid)
    attn_out = attention(decoder, layer, norm(resid, block.norm_attention), tape, past)
    attn_out = tape("attn_out", layer, attn_out if block.norm_attn_out is None else norm(attn_out, block.norm_attn_out))
    middle = resid + attn_out
    read = resid if decoder.parallel else (middle := tape("resid_mid", layer, middle))
    mlp_out = mlp(block, norm(read, block.norm_mlp), decoder.activation)
    mlp_out = tape("mlp_out", layer, mlp_out if block.norm_mlp_out is None else norm(mlp_out, block.norm_mlp_out))
    return tape("resid_post", layer, middle + mlp_out)


def attention(decoder: Decoder, layer: int, x: Stream, tape: Tape, past: KeyValues | None) -> Stream:
    block = decoder.blocks[layer]
    q = project(x, block.q, decoder.n_heads, block.norm_q)
    k = project(x, block.k, decoder.n_kv_heads, block.norm_k)
    v = project(x, block.v, decoder.n_kv_heads)
    if decoder.rotary is not None:
        cosine, sine = rotation(decoder.rotary, tape.offset, x.shape[1], x.dtype)
        q, k = rotate(q, cosine, sine), rotate(k, cosine, sine)
    if past is not None:
        k, v = past.extend(layer, k, v)
    allowed = causal_mask(q.shape[2], k.shape[2], q.device, block.window)
    if tape.needs("pattern", layer) or decoder.attention_softcap is not None:
        scores = attention_scores(q, k, decoder.attention_scale, decoder.attention_softcap)
        pattern = tape("pattern", layer, scores.masked_fill(~allowed, -torch.inf).softmax(-1))
        mixed = pattern @ per_query_head(v, decoder.n_heads)
    else:
        grouped = decoder.n_heads != decoder.n_kv_heads
        mixed = F.scaled_dot_product_attention(
            q, k, v, attn_mask=allowed, scale=decoder.attention_scale, enable_gqa=grouped
        )
    z = tape("z", layer, mixed.transpose(1, 2))
    return linear(z.flatten(2), block.o)


def project(x: Stream, weights: Linear, n_heads: int, head_norm: Norm | None = None) -> Heads:
    """Queries, keys or values, a head at a time."""
    if weights.weight.ndim == 2:
        heads = linear(x, weights).view(*x.shape[:2], n_heads, -1).transpose(1, 2)
    else:
        heads = torch.einsum("bpd,hed->bhpe", x, weights.weight)
        heads = heads if weights.bias is None else heads + weights.bias[:, None]
    return heads if head_norm is None else norm(heads, head_norm)


def per_query_head(x: Float[Tensor, "batch kv_head pos d_head"], n_heads: int) -> Heads:
    """Grouped-query attention: each key-value head serves `n_heads / n_kv_heads` query heads."""
    return x if x.shape[1] == n_heads else x.repeat_interleave(n_heads // x.shape[1], dim=1)


def attention_scores(
    q: Heads, k: Float[Tensor, "batch kv_head source d_head"], scale: float, softcap: float | None
) -> Float[Tensor, "batch head dest source"]:
    """q kᵀ · scale (Vaswani et al. 2017, eq. 1), soft-capped where the family does."""
    scores = q @ per_query_head(k, q.shape[1]).transpose(-1, -2) * scale
    return scores if softcap is None else soft_cap(scores, softcap)


def soft_cap(x: Tensor, cap: float) -> Tensor:
    """cap · tanh(x / cap) (Riviere et al. 2024, Gemma 2, section 2)."""
    return cap * torch.tanh(x / cap)


def causal_mask(
    n_dest: int, n_source: int, device: torch.device, window: int | None = None
) -> Bool[Tensor, "dest source"]:
    """True where a destination may look; the last `n_dest` of `n_source` positions are the destinations."""
    last = n_source - n_dest
    allowed = torch.ones(n_dest, n_source, dtype=torch.bool, device=device).tril(last)
    return allowed if window is None else allowed.triu(last - window + 1)


def rotation(rotary: Rotary, offset: int, length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine, [pos, rotated], computed in float32 as the models were trained."""
    positions = torch.arange(offset, offset + length, device=rotary.inverse_frequencies.device)
    angles = positions[:, None].float() * rotary.inverse_frequencies.float()
    angles = torch.cat([angles, angles], -1)
    return (angles.cos() * rotary.scaling).to(dtype), (angles.sin() * rotary.scaling).to(dtype)


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary embedding of queries or keys [batch, head, pos, d_head] (RoFormer, eq. 34; half-split pairs)."""
    turned, passed = x[..., : cosine.shape[-1]], x[..., cosine.shape[-1] :]
    first, second = turned.chunk(2, -1)
    turned = turned * cosine + torch.cat([-second, first], -1) * sine
    return turned if passed.shape[-1] == 0 else torch.cat([turned, passed], -1)


def linear(x: Tensor, weights: Linear) -> Tensor:
    return F.linear(x, weights.weight, weights.bias)


def norm(x: Tensor, weights: Norm) -> Tensor:
    """LayerNorm (Ba et al. 2016) or RMSNorm (Zhang & Sennrich 2019; statistics in float32 or better)."""
    if weights.kind == "layer":
        return F.layer_norm(x, weights.weight.shape, weights.weight, weights.bias, weights.eps)
    wide = x if x.dtype == torch.float64 else x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + weights.eps)).to(x.dtype) * weights.weight


def mlp(block: Block, x: Stream, activation: Activation) -> Stream:
    hidden = linear(x, block.up)
    if block.gate is None:
        return linear(activate(hidden, activation), block.down)
    return linear(activate(linear(x, block.gate), activation) * hidden, block.down)


def activate(x: Tensor, activation: Activation) -> Tensor:
    match activation:
        case "gelu":
            return F.gelu(x)
        case "gelu_tanh":
            return F.gelu(x, approximate="tanh")
        case "silu":
            return F.silu(x)
        case "relu":
            return F.relu(x)


def unembed(decoder: Decoder, resid: Tensor) -> Tensor:
    """Logits of any residual stream: final norm, then W_U.  [..., d_model] to [..., vocab]."""
    logits = linear(norm(resid, decoder.norm_final), decoder.unembed)
    return logits if decoder.logit_softcap is None else soft_cap(logits, decoder.logit_softcap)
