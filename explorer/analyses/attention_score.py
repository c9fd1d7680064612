"""Why a head looks there: one attention score as a sum over pairs of components, and what the head writes from there.

    score(i, j) = q_i · k_j · scale = Σ_c Σ_d  q_i[c] · k_j[d] · scale

where c and d run over everything that wrote to the stream before this layer (embeddings, heads, MLPs, biases), with the
norms before the head (and of q and k, where there are such) held at the run's own scale; the rotation is linear
(Elhage et al. 2021, QK circuit; Kamath et al. 2025, QK attributions).  Softmax sees differences between sources alone, so
`relative` compares with the mean over all sources the head may look at.  Everything adds up, which is checked.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.errors import PromptError
from explorer.core.provenance import Provenance
from explorer.core.sites import AttnOut, Head, MlpOut
from explorer.engine.fitting import address
from explorer.engine.forward import attention_scores, norm, rotate, rotation
from explorer.engine.interventions import as_stack
from explorer.engine.model import Activations, Model
from explorer.engine.readout import FrozenNorm, freeze_norm, head_writes, value_writes
from explorer.models.decoder import Decoder, Linear
from explorer.prompts.tokens import Bos, Tokens

BIAS = "biases"
"""Of q or k, and of the norm before them."""
REST = "set by interventions"


@dataclass(frozen=True, eq=False)
class AttentionScore:
    head: Head
    dest: int
    source: int
    components: tuple[str, ...]
    """Writers to the stream before the head's layer, then biases, then what interventions set."""
    values: Float[np.ndarray, "dest_component source_component"]
    """Parts of the score (scaled, before softmax and any soft cap)."""
    relative: Float[np.ndarray, "dest_component source_component"]
    """Parts of score(i, j) − mean of score(i, ·) over the sources that i may look at: why j rather than elsewhere."""
    score: float
    """The score as the model computes it."""
    mean_score: float
    attention: float
    """The probability that the softmax makes of it."""
    promoted: pd.DataFrame
    """What the head writes when it looks at the source alone: the tokens it promotes and suppresses most, columns token,
    token_id, logit (over the mean of the vocabulary, through the final norm's scale at the destination)."""
    tokens: Tokens
    provenance: Provenance

    @property
    def check(self) -> float:
        """|Σ parts − score|."""
        return abs(float(self.values.sum()) - self.score)

    @property
    def frame(self) -> pd.DataFrame:
        """One row a pair: at_destination, at_source, part, relative; largest |relative| first."""
        n = len(self.components)
        dest, source = np.divmod(np.arange(n * n), n)
        table = pd.DataFrame(
            {
                "at_destination": [self.components[index] for index in dest],
                "at_source": [self.components[index] for index in source],
                "part": self.values.ravel(),
                "relative": self.relative.ravel(),
            }
        )
        return table.sort_values("relative", key=np.abs, ascending=False, ignore_index=True)


def attention_score(
    model: Model,
    prompt: str,
    interventions: Any = (),
    *,
    head: Head,
    source: int,
    dest: int = -1,
    top: int = 8,
    bos: Bos = "default",
) -> AttentionScore:
    """Take apart how much `head` looks from position `dest` at `source`, under interventions.

    Raises `PromptError` (no such positions, or a source the head cannot see), `SiteError`, `InterventionError`, `BridgeError`.
    """
    decoder = model.decoder("Taking an attention score apart")
    stack, tokens = as_stack(interventions), model.tokenize(prompt, bos)
    address(head, model.info)
    place = dest % len(tokens) if -len(tokens) <= dest < len(tokens) else -1
    window = decoder.blocks[head.layer].window or len(tokens)
    first = max(0, place - window + 1)
    if place < 0 or not first <= source <= place:
        raise PromptError(
            f"{head} cannot look from position {dest} at {source}: destinations run from 0 to {len(tokens) - 1}, and a head sees "
            f"itself and earlier positions{f', at most {window} of them' if window < len(tokens) else ''}."
        )
    run = model.activations(
        tokens, stack, ("resid_pre", "q", "k", "v", "pattern", "z", "attn_out", "mlp_out", "resid_post")
    )
    names, writes = writers(decoder, model, tokens, run, head.layer)
    visible = slice(first, place + 1)
    key_head = head.head * decoder.n_kv_heads // decoder.n_heads
    q = Side(decoder, head.layer, "q", head.head, run).parts(writes[:, place : place + 1], place)[:, 0]
    k = Side(decoder, head.layer, "k", key_head, run).parts(writes[:, visible], first)
    parts = torch.einsum("ce,dje->cdj", q, k) * decoder.attention_scale
    here = parts[..., source - first]
    scores = true_scores(decoder, head, key_head, run)[place, visible]
    return AttentionScore(
        head, place, source, (*names, BIAS, REST),
        here.numpy(), (here - parts.mean(-1)).numpy(),
        float(scores[source - first]), float(scores.mean()),
        float(run.kept["pattern"][head.layer][head.head, place, source]),
        promoted(model, decoder, head, run, (place, source), top), tokens, model.provenance([tokens], stack),
    )  # fmt: skip


def writers(
    decoder: Decoder, model: Model, tokens: Tokens, run: Activations, layer: int
) -> tuple[list[str], Float[Tensor, "component pos d_model"]]:
    """Everything that wrote to the stream before a layer."""
    ids = torch.tensor(tokens.ids, device=decoder.embed.device)
    found = {"token embedding": decoder.embed[ids].double() * decoder.embed_scale}
    if decoder.embed_positions is not None:
        found["position embedding"] = decoder.embed_positions[: len(tokens)].double()
    for below in range(layer):
        block = decoder.blocks[below]
        if model.info.heads_add_up:
            heads = head_writes(decoder, below, run.kept["z"][below])
            found |= {str(Head(below, number)): heads[:, number] for number in range(decoder.n_heads)}
            if block.o.bias is not None:
                found[f"L{below} attention bias"] = block.o.bias.double().expand(len(tokens), -1)
        else:
            found[str(AttnOut(below))] = run.kept["attn_out"][below].double()
        if block.mlp is not None:
            found[str(MlpOut(below))] = run.kept["mlp_out"][below].double()
    return list(found), torch.stack(list(found.values())).cpu()


@dataclass(frozen=True, eq=False)
class Side:
    """Queries or keys of one head, as sums over components."""

    decoder: Decoder
    layer: int
    kind: Any
    index: int
    run: Activations

    def parts(self, writes: Float[Tensor, "component pos d_model"], first: int) -> Float[Tensor, "part pos d_head"]:
        """A part a component, then biases, then what is left: behind the head's norm and rotation."""
        decoder, block = self.decoder, self.decoder.blocks[self.layer]
        length = writes.shape[1]
        here = slice(first, first + length)
        stream = self.run.kept["resid_pre"][self.layer][here]
        before = freeze_norm(block.norm_attention, stream)
        weight, bias = self.weights(getattr(block, self.kind))
        parts = [before(write).cpu() @ weight.T for write in writes]
        constant = torch.zeros(length, decoder.d_head, dtype=torch.float64)
        constant += 0 if bias is None else bias
        constant += 0 if before.bias is None else before.bias.cpu() @ weight.T
        actual = self.run.kept[self.kind][self.layer][here, self.index]
        parts += [constant, actual.double().cpu() - sum(parts) - constant]
        behind = freeze_norm(block.norm_q if self.kind == "q" else block.norm_k, actual)
        return torch.stack([self.turned(behind, part, first) for part in parts])

    def weights(self, weights: Linear) -> tuple[Float[Tensor, "d_head d_model"], Float[Tensor, " d_head"] | None]:
        width = self.decoder.d_head
        rows = weights.weight.reshape(-1, weights.weight.shape[-1])[self.index * width : (self.index + 1) * width]
        bias = None if weights.bias is None else weights.bias.reshape(-1)[self.index * width : (self.index + 1) * width]
        return rows.double().cpu(), None if bias is None else bias.double().cpu()

    def turned(self, norm: FrozenNorm, part: Float[Tensor, "pos d_head"], first: int) -> Float[Tensor, "pos d_head"]:
        scaled = part * norm.weight.cpu() - (norm.weight.cpu() * part.mean(-1, keepdim=True) if norm.centred else 0)
        turn = rotation(self.decoder.rotary, first, len(part), torch.float64)
        return scaled if turn is None else rotate(scaled, turn[0].cpu(), turn[1].cpu())


def true_scores(decoder: Decoder, head: Head, key_head: int, run: Activations) -> Float[Tensor, "dest source"]:
    """Scores as the forward pass computes them, before any soft cap."""
    block = decoder.blocks[head.layer]
    q = norm(run.kept["q"][head.layer][:, head.head], block.norm_q)[None, None]
    k = norm(run.kept["k"][head.layer][:, key_head], block.norm_k)[None, None]
    turn = rotation(decoder.rotary, 0, q.shape[2], q.dtype)
    if turn is not None:
        q, k = rotate(q, *turn), rotate(k, *turn)
    return attention_scores(q, k, decoder.attention_scale, None)[0, 0].double().cpu()


def promoted(
    model: Model, decoder: Decoder, head: Head, run: Activations, places: tuple[int, int], top: int
) -> pd.DataFrame:
    """The tokens that v W_O of a source speaks for and against, read as at the destination."""
    dest, source = places
    if not model.info.heads_add_up:
        return pd.DataFrame({"token": [], "token_id": [], "logit": []})
    write = value_writes(decoder, head.layer, run.kept["v"][head.layer][source, None])[0, head.head]
    row = freeze_norm(decoder.norm_final, run.final[dest])(write)
    logits = (row.to(decoder.unembed.weight.dtype) @ decoder.unembed.weight.T).double()
    logits -= logits.mean()
    order = logits.argsort(descending=True)
    top = min(top, len(order) // 2)
    ids = torch.cat([order[:top], order[-top:]]).tolist()
    return pd.DataFrame(
        {"token": [model.token_text(id_) for id_ in ids], "token_id": ids, "logit": logits[ids].tolist()}
    )
