"""Edge mode: a forward pass in which every reader's input is a sum over the writers that it sees, under a mask.

    input of reader r = its input on the corrupt prompt + Σ_w mask[r, w] · (what w writes now − what it wrote there)

A mask of ones is the clean run, of zeros the corrupt run; a circuit is a mask that keeps its edges.  Path patching,
circuits with their complement corrupted, and (as the mask's gradient) edge attribution are all this one function
(Goldowsky-Dill et al. 2023; Syed et al. 2023; Miller et al. 2024).  Biases are in the corrupt run's inputs and drop out.

1. The corrupt run is cached: what every writer writes, and the stream at every reading point.
2. Layer by layer, readers' inputs give queries, keys, values and MLP inputs of their own, norms recomputed.
3. Positions before the first token that differs cannot change: they are left out, their keys and values reused.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from explorer.core.errors import InterventionError, NotFiniteError
from explorer.engine.edge_graph import EdgeGraph
from explorer.engine.edits import Edit, Kind, Tape
from explorer.engine.forward import (
    KeyValues,
    Rotation,
    embed,
    forward,
    mix,
    neurons,
    norm,
    rotate,
    rotation,
    write_attention,
    write_mlp,
)
from explorer.engine.interventions import Intervention, uses_own_values
from explorer.engine.model import Model
from explorer.engine.variants import Prefix, read_logits
from explorer.models.decoder import Block, Linear, Norm
from explorer.prompts.pairs import check_aligned
from explorer.prompts.tokens import Tokens

Mask = Float[Tensor, "mask reader writer"] | Float[Tensor, "mask reader writer pos"]
"""1 keeps an edge, 0 corrupts it; anything between is allowed.  With a last axis, position by position of the reader."""
NODE_KINDS: tuple[Kind, ...] = ("q", "k", "v", "pattern", "z", "neurons", "mlp_out")


@dataclass(frozen=True, eq=False)
class Written:
    """One run as edge mode sees it, from position `start` on."""

    writes: Float[Tensor, "pair writer pos d_model"]
    before: list[Float[Tensor, "pair pos d_model"]]
    """The stream that attention reads, by layer."""
    between: list[Float[Tensor, "pair pos d_model"]]
    """The stream that the MLP reads, by layer."""
    final: Float[Tensor, "pair pos d_model"]
    past: KeyValues


class EdgeMode:
    """Contrast pairs of one length, ready to run under any mask of edges."""

    def __init__(
        self,
        model: Model,
        clean: Sequence[Tokens],
        corrupt: Sequence[Tokens],
        interventions: tuple[Intervention, ...] = (),
    ) -> None:
        """Runs the corrupt prompts once.  `BridgeError` on the bridge, `InterventionError` for a stack that edge mode cannot hold."""
        self.model, self.decoder = model, model.decoder("A graph of edges")
        for one, other in zip(clean, corrupt, strict=True):
            check_aligned(one, other)
            check_aligned(clean[0], one)
        self.graph = EdgeGraph(model.info, all(block.mlp is not None for block in self.decoder.blocks))
        self.edits = self.edits_of(clean, corrupt, interventions)
        self.clean, self.corrupt = (
            torch.tensor([tokens.ids for tokens in texts], device=model.info.device) for texts in (clean, corrupt)
        )
        differ = (self.clean != self.corrupt).any(0)
        own = any(uses_own_values(item) for item in interventions)
        self.start = 0 if own or not differ.any() else int(differ.nonzero()[0])
        """First position that any mask can change."""
        with torch.no_grad():
            self.base = self.written(self.corrupt)

    def edits_of(
        self, clean: Sequence[Tokens], corrupt: Sequence[Tokens], interventions: tuple[Intervention, ...]
    ) -> tuple[Edit, ...]:
        """Edits of nodes that all prompts share; the stream itself is no node, and edges have their mask."""
        first, *others = (self.model.edits(tokens, interventions) for tokens in (*clean, *corrupt))
        found = []
        for number, edit in enumerate(first):
            if not isinstance(edit, Edit) or edit.kind not in NODE_KINDS:
                raise InterventionError(
                    f"{interventions[number]}: in a graph of edges, interventions act on its nodes ({', '.join(NODE_KINDS)})."
                )
            if not all(edit.same_as(other[number]) for other in others):
                raise InterventionError(
                    f"{interventions[number]} puts other values into each prompt; in a graph of edges that would hide "
                    "what the edges carry. Use zero, or a mean or patch from named prompts."
                )
            found.append(edit)
        return tuple(found)

    def written(self, ids: Int[Tensor, "pair pos"]) -> Written:
        """Run prompts in the ordinary way and keep what edge mode needs."""
        decoder, past = self.decoder, KeyValues()
        wanted: list[Kind] = (
            ["resid_pre", "z", "mlp_out"] if decoder.parallel else ["resid_pre", "z", "mlp_out", "resid_mid"]
        )
        tape = Tape(self.edits, wanted)
        final = forward(decoder, ids, tape, past=past)
        kept = {
            kind: [layers[layer][:, self.start :] for layer in sorted(layers)] for kind, layers in tape.kept.items()
        }
        between = kept["resid_pre"] if decoder.parallel else kept["resid_mid"]
        writes = self.writes(embed(decoder, ids)[:, self.start :], kept["z"], kept["mlp_out"])
        return Written(writes, kept["resid_pre"], between, final[:, self.start :], past)

    def writes(
        self, embedded: Float[Tensor, "pair pos d_model"], z: list[Tensor], mlp_out: list[Tensor]
    ) -> Float[Tensor, "pair writer pos d_model"]:
        """What every writer writes, from the activations of an ordinary run."""
        blocks = [embedded[:, None]]
        for layer in range(self.decoder.n_layers):
            blocks.append(self.attention_writes(layer, z[layer]))
            if self.graph.has_mlp:
                blocks.append(mlp_out[layer][:, None])
        return torch.cat(blocks, 1)

    def attention_writes(
        self, layer: int, z: Float[Tensor, "row pos head d_head"]
    ) -> Float[Tensor, "row writer pos d_model"]:
        """What each head writes; where a norm follows their sum, what all write together."""
        if not self.graph.info.heads_add_up:
            return write_attention(self.decoder, layer, z)[:, None]
        weight = self.decoder.blocks[layer].o.weight
        return torch.einsum("bthe,dhe->bhtd", z, weight.view(weight.shape[0], z.shape[2], -1))

    def logits(self, mask: Mask, read: Int[Tensor, "pair token"] | None = None) -> Float[Tensor, "mask pair token"]:
        """Logits after the last position under each mask, of the tokens asked for (None: the whole vocabulary)."""
        final = self.run(mask)
        return read_logits(self.decoder, final, read)

    def run(self, mask: Mask) -> Float[Tensor, "mask pair d_model"]:
        """The stream that the logits read at the last position."""
        decoder, base, n_pairs = self.decoder, self.base, len(self.clean)
        rows = Rows(self, mask)
        rows.add(embed(decoder, self.clean)[:, self.start :][:, None].repeat(len(mask), 1, 1, 1))
        turn = rotation(decoder.rotary, self.start, base.final.shape[1], base.final.dtype)
        tape, past = Tape(self.edits, (), self.start), Prefix(base.past, self.start)
        for layer, block in enumerate(decoder.blocks):
            counts = [decoder.n_heads, decoder.n_kv_heads, decoder.n_kv_heads]
            streams = rows.read(base.before[layer], sum(counts))
            if decoder.parallel and block.mlp is not None:
                mlp_in = rows.read(base.between[layer], 1)[:, 0]
            z = self.attend(layer, block, torch.split(streams, counts, 1), tape, past, turn)
            rows.add(self.attention_writes(layer, z))
            if block.mlp is not None:
                if not decoder.parallel:
                    mlp_in = rows.read(base.between[layer], 1)[:, 0]
                hidden = neurons(block.mlp, norm(mlp_in, block.norm_mlp), decoder.activation)
                hidden = tape("neurons", layer, hidden)
                rows.add(tape("mlp_out", layer, write_mlp(decoder, layer, hidden))[:, None])
        last = rows.read(base.final, 1)[:, 0, -1]
        if not torch.isfinite(last).all():
            raise NotFiniteError(
                f"{rows.first_not_finite(self.graph)} is not finite (NaN or infinite) under this mask."
            )
        return last.view(len(mask), n_pairs, -1)

    def attend(
        self, layer: int, block: Block, streams: Sequence[Tensor], tape: Tape, past: Prefix, turn: Rotation
    ) -> Float[Tensor, "row pos head d_head"]:
        """Attention whose heads read streams of their own: [row, head, pos, d_model] for q, k and v."""

        def heads(kind: Kind, stream: Tensor, weights: Linear, head_norm: Norm | None) -> Tensor:
            read = tape(kind, layer, project_each(norm(stream, block.norm_attention), weights))
            return norm(read, head_norm).transpose(1, 2)

        q = heads("q", streams[0], block.q, block.norm_q)
        k = heads("k", streams[1], block.k, block.norm_k)
        v = heads("v", streams[2], block.v, None)
        if turn is not None:
            q, k = rotate(q, *turn), rotate(k, *turn)
        return tape("z", layer, mix(self.decoder, layer, q, *past.extend(layer, k, v), tape))


class Rows:
    """One row for each mask and pair: collects what writers write, and gives readers their inputs."""

    def __init__(self, mode: EdgeMode, mask: Mask) -> None:
        mask = mask.to(mode.base.final)
        self.base, self.mask = mode.base, mask * mode.graph.exists.to(mask)[..., *(None,) * (mask.ndim - 3)]
        self.n_pairs = len(mode.clean)
        self.written, self.readers_done = 0, 0
        _, n_writers, length, width = self.base.writes.shape
        self.blocks: list[Tensor] = []
        self.buffer = None
        if not torch.is_grad_enabled():
            self.buffer = self.base.final.new_empty(len(mask) * self.n_pairs, n_writers, length, width)

    def add(self, writes: Float[Tensor, "row writer pos d_model"]) -> None:
        """The next writers' writes, as their difference to the corrupt run."""
        end = self.written + writes.shape[1]
        before = self.base.writes[:, self.written : end]
        change = writes - before.repeat(len(self.mask), 1, 1, 1)
        if self.buffer is None:
            self.blocks.append(change)
        else:
            self.buffer[:, self.written : end] = change
        self.written = end

    def changes(self) -> Float[Tensor, "row writer pos d_model"]:
        """What every writer so far writes, less what it wrote on the corrupt run."""
        return torch.cat(self.blocks, 1) if self.buffer is None else self.buffer[:, : self.written]

    def first_not_finite(self, graph: EdgeGraph) -> str:
        """What the first writer writes that writes no finite number, in words."""
        finite = torch.isfinite(self.changes()).all(dim=3).all(dim=2).all(dim=0).tolist()
        return "The final stream" if all(finite) else f"What {graph.writers[finite.index(False)]} writes"

    def read(
        self, stream: Float[Tensor, "pair pos d_model"], n_readers: int
    ) -> Float[Tensor, "row reader pos d_model"]:
        """The next readers' inputs: the corrupt run's stream, and what their kept edges change."""
        mask = self.mask[:, self.readers_done : self.readers_done + n_readers, : self.written]
        self.readers_done += n_readers
        mask = mask.repeat_interleave(self.n_pairs, 0)
        changes = self.changes()
        if mask.ndim == 4:
            added = torch.einsum("brwt,bwtd->brtd", mask[..., -changes.shape[2] :], changes)
        else:
            added = (mask @ changes.flatten(2)).view(*mask.shape[:2], *changes.shape[2:])
        return stream.repeat(len(self.mask), 1, 1)[:, None] + added


def project_each(x: Float[Tensor, "row head pos d_model"], weights: Linear) -> Float[Tensor, "row pos head d_head"]:
    """Queries, keys or values of heads that read streams of their own."""
    n_heads = x.shape[1]
    heads = torch.einsum("bhtd,hed->bthe", x, by_head(weights, n_heads))
    return heads if weights.bias is None else heads + weights.bias.view(n_heads, -1)


def by_head(weights: Linear, n_heads: int) -> Float[Tensor, "head d_head d_model"]:
    """A projection's weight, heads apart: a view."""
    weight = weights.weight
    return weight if weight.ndim == 3 else weight.view(n_heads, -1, weight.shape[-1])
