"""The forward pass: pure functions of weights and tensors, no hooks, no state.

`forward` walks the blocks once.  At each named activation it calls the `Tape`, which may change the value and keep it.
One function serves every family; the fields of `Decoder` decide what is computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from explorer.engine.edits import SenderKind, Tape
from explorer.models.decoder import Activation, Decoder, Linear, Mlp, Norm, Rotary

Stream = Float[Tensor, "batch pos d_model"]
Behind = Float[Tensor, "batch dest d_model"]
"""A stream behind attention: of all positions, or of the last alone."""
Heads = Float[Tensor, "batch head pos d_head"]
Rotation = tuple[Tensor, Tensor] | None
"""Cosine and sine, [pos, rotated]; None where positions are embedded otherwise."""


@runtime_checkable
class Past(Protocol):
    """Keys and values of positions before those that are run."""

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of the layer so far, [batch, kv_head, source, d_head]."""


class KeyValues:
    """Keys and values of the positions already run, a layer at a time; grows while a text is generated."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
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
    past: Past | None = None,
) -> Stream:
    """The last block's residual stream; `tape` sees every activation on the way."""
    if start is not None:
        return run_blocks(decoder, start, tape, past)
    resid = embed(decoder, tokens, tape.offset)
    send(decoder, tape, "embed", 0, resid)
    return run_blocks(decoder, Start(0, resid), tape, past)


def run_blocks(
    decoder: Decoder, start: Start, tape: Tape, past: Past | None = None, until: int | None = None
) -> Stream:
    """All blocks from `start` on, or those up to layer `until`."""
    resid = start.resid_pre
    turn = rotation(decoder.rotary, tape.offset, resid.shape[1], resid.dtype)
    for layer in range(start.layer, decoder.n_layers if until is None else until + 1):
        resid = run_block(decoder, layer, resid, tape, past, turn)
    return received(resid, tape.arriving.get(("logits", 0)))


def embed(decoder: Decoder, tokens: Int[Tensor, "batch pos"], offset: int = 0) -> Stream:
    resid = F.embedding(tokens, decoder.embed)
    if decoder.embed_scale != 1:
        resid = resid * torch.tensor(decoder.embed_scale, dtype=resid.dtype, device=resid.device)
    if decoder.embed_positions is not None:
        resid = resid + decoder.embed_positions[offset : offset + tokens.shape[1]]
    return resid


def run_block(
    decoder: Decoder, layer: int, resid: Stream, tape: Tape, past: Past | None, turn: Rotation, last: bool = False
) -> Behind:
    """One block.  With `last`, only the last position is computed beyond keys and values: [batch, 1, d_model]."""
    read, middle = start_block(decoder, layer, resid, tape, past, turn, last)
    return finish_block(decoder, layer, read, middle, tape.at_last(resid.shape[1]) if last else tape)


def start_block(
    decoder: Decoder, layer: int, resid: Stream, tape: Tape, past: Past | None, turn: Rotation, last: bool = False
) -> tuple[Behind, Behind]:
    """The attention half of a block: the stream that the MLP reads, and the one that it writes on."""
    resid = tape("resid_pre", layer, resid)
    z = attend(decoder, layer, resid, tape, past, turn, last)
    if last:
        tape, resid = tape.at_last(resid.shape[1]), resid[:, -1:]
    attn_out = tape("attn_out", layer, write_attention(decoder, layer, z))
    send(decoder, tape, "z", layer, z)
    send(decoder, tape, "attn_out", layer, attn_out)
    middle = resid + attn_out
    if not decoder.parallel:
        middle = tape("resid_mid", layer, middle)
    return resid if decoder.parallel else middle, middle


def finish_block(decoder: Decoder, layer: int, read: Stream, middle: Stream, tape: Tape) -> Stream:
    """The MLP half, which reads `read` and writes on `middle` (one and the same but in parallel blocks)."""
    block = decoder.blocks[layer]
    if block.mlp is not None:
        x = received(read, tape.arriving.get(("mlp_in", layer)))
        x = tape("mlp_read", layer, norm(x, block.norm_mlp, tape.held.get(("mlp", layer))))
        hidden = tape("neurons", layer, neurons(block.mlp, x, decoder.activation))
        mlp_out = tape("mlp_out", layer, write_mlp(decoder, layer, hidden))
        send(decoder, tape, "mlp_out", layer, mlp_out)
        middle = middle + mlp_out
    return tape("resid_post", layer, middle)


def write_attention(decoder: Decoder, layer: int, z: Float[Tensor, "batch pos head d_head"]) -> Stream:
    """attn_out of mixed values: W_O, its bias, and the norm that Gemma-2 puts behind it."""
    block = decoder.blocks[layer]
    return norm(linear(z.flatten(2), block.o), block.norm_attn_out)


def write_mlp(decoder: Decoder, layer: int, hidden: Float[Tensor, "batch pos d_mlp"]) -> Stream:
    block = decoder.blocks[layer]
    assert block.mlp is not None
    return norm(linear(hidden, block.mlp.down), block.norm_mlp_out)


def head_weight(decoder: Decoder, layer: int, head: int) -> Float[Tensor, "d_model d_head"]:
    """A head's part of W_O: `head_out = z W_Oᵀ`."""
    width = decoder.d_head
    return decoder.blocks[layer].o.weight[:, head * width : (head + 1) * width]


def send(decoder: Decoder, tape: Tape, sender: SenderKind, layer: int, value: Tensor) -> None:
    """Hand the tape the change of every patched edge that leaves this writer."""
    for edge in tape.outgoing.get((sender, layer), ()):
        current = value if edge.head is None else value[:, :, edge.head]
        change = edge.change(current, tape.offset)
        tape.send(edge, change if edge.head is None else change @ head_weight(decoder, layer, edge.head).T)


def received(stream: Stream, arriving: Mapping[int | None, Tensor] | None) -> Stream:
    """The stream as one reader gets it, patched edges included."""
    return stream if not arriving else stream + arriving[None][:, -stream.shape[1] :]


def attend(
    decoder: Decoder, layer: int, resid: Stream, tape: Tape, past: Past | None, turn: Rotation, last: bool
) -> Float[Tensor, "batch dest head d_head"]:
    """Mixed values `z` of every head."""
    block = decoder.blocks[layer]
    x = norm(resid, block.norm_attention, tape.held.get(("attention", layer)))
    k = norm(head_input(decoder, layer, "k", resid, x, tape), block.norm_k).transpose(1, 2)
    v = head_input(decoder, layer, "v", resid, x, tape).transpose(1, 2)
    if turn is not None:
        k = rotate(k, *turn)
    if last:
        tape, resid, x = tape.at_last(x.shape[1]), resid[:, -1:], x[:, -1:]
        turn = None if turn is None else (turn[0][-1:], turn[1][-1:])
    q = norm(head_input(decoder, layer, "q", resid, x, tape), block.norm_q).transpose(1, 2)
    if turn is not None:
        q = rotate(q, *turn)
    if past is not None:
        k, v = past.extend(layer, k, v)
    return tape("z", layer, mix(decoder, layer, q, k, v, tape))


def mix(decoder: Decoder, layer: int, q: Heads, k: Tensor, v: Tensor, tape: Tape) -> Tensor:
    """Softmax attention (Vaswani et al. 2017, eq. 1): [batch, dest, head, d_head]."""
    allowed = causal_mask(q.shape[2], k.shape[2], q.device, decoder.blocks[layer].window)
    if tape.needs("pattern", layer) or decoder.attention_softcap is not None:
        scores = attention_scores(q, k, decoder.attention_scale, decoder.attention_softcap)
        pattern = tape("pattern", layer, scores.masked_fill(~allowed, -torch.inf).softmax(-1))
        mixed = pattern @ per_query_head(v, decoder.n_heads)
    else:
        grouped = decoder.n_heads != decoder.n_kv_heads
        mixed = F.scaled_dot_product_attention(
            q, k, v, attn_mask=allowed, scale=decoder.attention_scale, enable_gqa=grouped
        )
    return mixed.transpose(1, 2)


def head_input(
    decoder: Decoder, layer: int, kind: Literal["q", "k", "v"], resid: Stream, x: Stream, tape: Tape
) -> Float[Tensor, "batch pos head d_head"]:
    """Queries, keys or values before norm and rotation; a head with patched edges reads a stream of its own."""
    block = decoder.blocks[layer]
    weights: Linear = getattr(block, kind)
    heads = project(x, weights, decoder.d_head)
    for index, change in tape.arriving.get((kind, layer), {}).items():
        if index is not None:
            other = norm(resid + change[:, -resid.shape[1] :], block.norm_attention)
            heads = heads.index_copy(
                2,
                torch.tensor([index], device=heads.device),
                project(other, weights, decoder.d_head)[:, :, index, None],
            )
    return tape(kind, layer, heads)


def project(x: Stream, weights: Linear, d_head: int) -> Float[Tensor, "batch pos head d_head"]:
    """Queries, keys or values, a head at a time."""
    if weights.weight.ndim == 2:
        return linear(x, weights).view(*x.shape[:2], -1, d_head)
    heads = torch.einsum("bpd,hed->bphe", x, weights.weight)
    return heads if weights.bias is None else heads + weights.bias


def per_query_head(x: Float[Tensor, "first kv_head *rest"], n_heads: int) -> Float[Tensor, "first head *rest"]:
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


def rotation(rotary: Rotary | None, offset: int, length: int, dtype: torch.dtype) -> Rotation:
    """Cosine and sine, [pos, rotated], computed in float32 as the models were trained."""
    if rotary is None:
        return None
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


def norm(x: Tensor, weights: Norm | None, held: Tensor | None = None) -> Tensor:
    """LayerNorm (Ba et al. 2016) or RMSNorm (Zhang & Sennrich 2019; statistics in float32 or better); None: as it is.

    With `held`, the scale is that stream's: a frozen norm.
    """
    if weights is None:
        return x
    if held is not None:
        return norm_at(x, weights, held)
    if weights.kind == "layer":
        return F.layer_norm(x, weights.weight.shape, weights.weight, weights.bias, weights.eps)
    wide = x if x.dtype == torch.float64 else x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + weights.eps)).to(x.dtype) * weights.weight


def norm_at(x: Tensor, weights: Norm, held: Tensor) -> Tensor:
    """A norm with the scale of another stream; LayerNorm still takes off the mean of its own."""
    wide, other = (stream if x.dtype == torch.float64 else stream.float() for stream in (x, held))
    if weights.kind == "layer":
        wide, other = (stream - stream.mean(-1, keepdim=True) for stream in (wide, other))
    scaled = (wide * torch.rsqrt(other.pow(2).mean(-1, keepdim=True) + weights.eps)).to(x.dtype) * weights.weight
    return scaled if weights.bias is None else scaled + weights.bias


def neurons(mlp: Mlp, x: Stream, activation: Activation) -> Float[Tensor, "batch pos d_mlp"]:
    """What an MLP's last matrix reads: act(up x), or act(gate x) · up x where there is a gate."""
    hidden = linear(x, mlp.up)
    if mlp.gate is None:
        return activate(hidden, activation)
    return activate(linear(x, mlp.gate), activation) * hidden


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


def unembed(decoder: Decoder, resid: Tensor, held: Tensor | None = None) -> Tensor:
    """Logits of any residual stream: final norm (at the scale of `held`), then W_U.  [..., d_model] to [..., vocab]."""
    logits = linear(norm(resid, decoder.norm_final, held), decoder.unembed)
    return logits if decoder.logit_softcap is None else soft_cap(logits, decoder.logit_softcap)
