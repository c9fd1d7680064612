"""Edge mode: a forward pass in which every reader's input is a sum over the writers that it sees, under a mask.

    input of reader r = its input on the corrupt prompt + Σ_w mask[r, w] · (what w writes now − what it wrote there)

A mask of ones is the clean run, of zeros the corrupt run; a circuit is a mask that keeps its edges.  Path patching,
circuits with their complement corrupted, and (as the mask's gradient) edge attribution are all this one function
(Goldowsky-Dill et al. 2023; Syed et al. 2023; Miller et al. 2024).  Biases are in the corrupt run's inputs and drop out.
What an edge carries that is not kept can also be zero, or its writer's mean: then those take the corrupt writes' place.

1. The corrupt run is cached: what every writer writes, and the stream at every reading point.
2. Layer by layer, readers' inputs give queries, keys, values and MLP inputs of their own, norms recomputed.
3. Positions before the first token that differs cannot change: they are left out, their keys and values reused.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from explorer.core.errors import InterventionError, NotFiniteError
from explorer.core.sites import Kind
from explorer.engine.edge_graph import EdgeGraph, edge_graph
from explorer.engine.edits import AnyEdit, EdgeEdit, Edit, Tape
from explorer.engine.fitting import receiver_of, sender_of
from explorer.engine.forward import (
    KeyValues,
    Rotation,
    embed,
    forward,
    head_weight,
    mix,
    neurons,
    norm,
    rotate,
    rotation,
    write_attention,
    write_mlp,
)
from explorer.engine.interventions import AblationKind, Intervention, uses_own_values
from explorer.engine.model import Model
from explorer.engine.sweep_plan import PROMPTS_AT_ONCE
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

    @property
    def nbytes(self) -> int:
        past = (tensor for layer in self.past.layers.values() for tensor in layer)
        return sum(tensor.nbytes for tensor in (self.writes, *self.before, *self.between, self.final, *past))


def graph_of(model: Model) -> EdgeGraph:
    """A model's writers, readers and edges; `BridgeError` where the engine does not run it."""
    return edge_graph(model.info, all(block.mlp is not None for block in model.decoder("A graph of edges").blocks))


class EdgeMode:
    """Contrast pairs of one length, ready to run under any mask of edges."""

    def __init__(
        self,
        model: Model,
        clean: Sequence[Tokens],
        corrupt: Sequence[Tokens],
        interventions: tuple[Intervention, ...] = (),
        ablation: AblationKind = "resample",
        means: Float[Tensor, "writer pos d_model"] | None = None,
        whole: bool = False,
    ) -> None:
        """Runs the corrupt prompts once.  `BridgeError` on the bridge, `InterventionError` for a stack that edge mode cannot hold.

        Args:
            ablation: what edges that are not kept carry: what their writer writes on the corrupt prompt ("resample"), nothing
                ("zero"), or its mean at that position ("mean").
            means: for "mean": see `mean_writes`; None for the mean over these prompts, clean and corrupt.
            whole: compute all positions, also those that no mask can change.
        """
        self.model, self.decoder = model, model.decoder("A graph of edges")
        for one, other in zip(clean, corrupt, strict=True):
            check_aligned(one, other)
            check_aligned(clean[0], one)
        self.graph = graph_of(model)
        self.edits = self.edits_of(clean, corrupt, interventions)
        self.clean, self.corrupt = (
            torch.tensor([tokens.ids for tokens in texts], device=model.info.device) for texts in (clean, corrupt)
        )
        differ = (self.clean != self.corrupt).any(0)
        own = any(uses_own_values(item) for item in interventions)
        everywhere = whole or own or ablation != "resample" or not differ.any()
        self.start = 0 if everywhere else int(differ.nonzero()[0])
        """First position that any mask can change."""
        with torch.no_grad():
            self.base = self.written(self.corrupt)
            if ablation == "zero":
                self.base = self.rewritten(torch.zeros_like(self.base.writes))
            if ablation == "mean":
                means = mean_writes(model, [*clean, *corrupt]) if means is None else means
                self.base = self.rewritten(means.expand_as(self.base.writes))
            self.open, self.added = self.patched_edges()

    def edits_of(
        self, clean: Sequence[Tokens], corrupt: Sequence[Tokens], interventions: tuple[Intervention, ...]
    ) -> tuple[AnyEdit, ...]:
        """Edits of nodes and edges that all prompts share; the stream itself is neither."""
        first, *others = (self.model.edits(tokens, interventions) for tokens in (*clean, *corrupt))
        found = []
        for number, edit in enumerate(first):
            if isinstance(edit, Edit) and edit.kind not in NODE_KINDS:
                raise InterventionError(
                    f"{interventions[number]}: in a graph of edges, interventions act on its nodes ({', '.join(NODE_KINDS)}) "
                    "or edges."
                )
            if isinstance(edit, EdgeEdit) and edit.positions is not None:
                raise InterventionError(
                    f"{interventions[number]}: in a graph of edges, an edge is changed at all positions."
                )
            if not all(edit.same_as(other[number]) for other in others):
                raise InterventionError(
                    f"{interventions[number]} puts other values into each prompt; in a graph of edges that would hide "
                    "what the edges carry. Use zero, or a mean or patch from named prompts."
                )
            found.append(edit)
        return tuple(found)

    def rewritten(self, writes: Float[Tensor, "pair writer pos d_model"]) -> Written:
        """The base as if its writers had written something else: the streams follow, biases stay."""
        change, done = writes - self.base.writes, 1
        total = change[:, 0].clone()
        before, between = [], []
        n_attention = self.decoder.n_heads if self.graph.info.heads_add_up else 1
        for layer in range(self.decoder.n_layers):
            before.append(self.base.before[layer] + total)
            if self.decoder.parallel:
                between.append(self.base.between[layer] + total)
            total += change[:, done : done + n_attention].sum(1)
            done += n_attention
            if not self.decoder.parallel:
                between.append(self.base.between[layer] + total)
            if self.graph.has_mlp:
                total += change[:, done]
                done += 1
        return Written(writes, before, between, self.base.final + total, self.base.past)

    def patched_edges(self) -> tuple[Bool[Tensor, "reader writer"], dict[int, Tensor]]:
        """Edges that a mask decides on, without those that the stack sets; and what these add to a reader's base input."""
        undecided = self.graph.exists.clone()
        added: dict[int, Tensor] = {}
        for edit in self.edits:
            if isinstance(edit, EdgeEdit):
                reader = self.graph.reader_index[receiver_of(edit)]
                writer = self.graph.writer_index.get(sender_of(edit))
                if writer is None:
                    raise InterventionError(
                        f"{sender_of(edit)} is no writer of this graph; use its heads, each edge apart."
                    )
                value = (
                    edit.source
                    if edit.head is None
                    else edit.source @ head_weight(self.decoder, edit.layer, edit.head).T
                )
                change = value[self.start :].to(self.base.final) - self.base.writes[:, writer]
                added[reader] = added[reader] + change if reader in added else change
                undecided[reader, writer] = False
        return undecided, added

    def written(self, ids: Int[Tensor, "pair pos"]) -> Written:
        """Run prompts in the ordinary way and keep what edge mode needs."""
        decoder, past = self.decoder, KeyValues()
        wanted: list[Kind] = (
            ["resid_pre", "z", "mlp_out"] if decoder.parallel else ["resid_pre", "z", "mlp_out", "resid_mid"]
        )
        tape = Tape(self.edits, wanted)
        final = forward(decoder, ids, tape, past=past)
        for change in tape.arriving.get(("logits", 0), {}).values():
            final = final - change  # the stream itself: what the logits alone get of it comes with their mask
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
        return self.run_all(mask)[0][:, :, -1]

    def run_all(
        self, mask: Mask, wanted: Iterable[Kind] = ()
    ) -> tuple[Float[Tensor, "mask pair pos d_model"], "Rows", Tape]:
        """The stream that the logits read; what every writer changed; and a tape with activations of the `NODE_KINDS` wanted."""
        decoder, base, n_pairs = self.decoder, self.base, len(self.clean)
        rows = Rows(self, mask)
        rows.add(embed(decoder, self.clean)[:, self.start :][:, None].repeat(len(mask), 1, 1, 1))
        turn = rotation(decoder.rotary, self.start, base.final.shape[1], base.final.dtype)
        tape, past = Tape(self.edits, wanted, self.start), Prefix(base.past, self.start)
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
                hidden = neurons(block.mlp, tape("mlp_read", layer, norm(mlp_in, block.norm_mlp)), decoder.activation)
                hidden = tape("neurons", layer, hidden)
                rows.add(tape("mlp_out", layer, write_mlp(decoder, layer, hidden))[:, None])
        final = rows.read(base.final, 1)[:, 0]
        if not torch.isfinite(final[:, -1]).all():
            raise NotFiniteError(
                f"{rows.first_not_finite(self.graph)} is not finite (NaN or infinite) under this mask."
            )
        return final.view(len(mask), n_pairs, *final.shape[1:]), rows, tape

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
        self.base, self.mask = mode.base, mask * mode.open.to(mask)[..., *(None,) * (mask.ndim - 3)]
        self.added = mode.added
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
        first = self.readers_done
        mask = self.mask[:, first : first + n_readers, : self.written]
        self.readers_done += n_readers
        mask = mask.repeat_interleave(self.n_pairs, 0)
        changes = self.changes()
        if mask.ndim == 4:
            added = torch.einsum("brwt,bwtd->brtd", mask[..., -changes.shape[2] :], changes)
        else:
            added = (mask @ changes.flatten(2)).view(*mask.shape[:2], *changes.shape[2:])
        for reader, change in self.added.items():
            if first <= reader < self.readers_done:
                added[:, reader - first] += change.repeat(len(self.mask), 1, 1)
        return stream.repeat(len(self.mask), 1, 1)[:, None] + added


@torch.no_grad()
def mean_writes(model: Model, texts: Sequence[Tokens]) -> Float[Tensor, "writer pos d_model"]:
    """What each writer writes at each position, on average over prompts of one length, without interventions."""
    total: Tensor | None = None
    for first in range(0, len(texts), PROMPTS_AT_ONCE):
        part = texts[first : first + PROMPTS_AT_ONCE]
        found = EdgeMode(model, part, part).base.writes.sum(0)
        total = found if total is None else total + found
    assert total is not None
    return total / len(texts)


def project_each(x: Float[Tensor, "row head pos d_model"], weights: Linear) -> Float[Tensor, "row pos head d_head"]:
    """Queries, keys or values of heads that read streams of their own."""
    n_heads = x.shape[1]
    heads = torch.einsum("bhtd,hed->bthe", x, by_head(weights, n_heads))
    return heads if weights.bias is None else heads + weights.bias.view(n_heads, -1)


def by_head(weights: Linear, n_heads: int) -> Float[Tensor, "head d_head d_model"]:
    """A projection's weight, heads apart: a view."""
    weight = weights.weight
    return weight if weight.ndim == 3 else weight.view(n_heads, -1, weight.shape[-1])
