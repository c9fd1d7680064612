"""A circuit that runs alone, as an ordinary run: activations of every kind, so that every view of a run can show it.

Each reader gets a stream of its own there.  `resid_pre`, `resid_mid` and `resid_post` are the sum of all that was written so far,
of which readers get the circuit's part; behind the last block it is the stream as the logits read it.
"""

import torch
from torch import Tensor

from explorer.core.errors import InterventionError
from explorer.core.sites import Kind
from explorer.engine.edges import NODE_KINDS, EdgeMode
from explorer.engine.interventions import Intervention, OnlyEdges
from explorer.engine.model import Activations, Model
from explorer.prompts.tokens import Tokens


@torch.no_grad()
def run_circuit(model: Model, tokens: Tokens, stack: tuple[Intervention, ...], kinds: frozenset[Kind]) -> Activations:
    """The run of a stack with one `OnlyEdges` in it.

    Raises `InterventionError` (two of them, or a stack that edge mode cannot hold), `SiteError` (an edge the model has not),
    `PairError` (a source of another length), `BridgeError`.
    """
    alone = [item for item in stack if isinstance(item, OnlyEdges)]
    if len(alone) != 1:
        raise InterventionError("Two circuits cannot run alone at once. Keep one of them.")
    only = alone[0]
    others = tuple(item for item in stack if item is not only)
    source = model.tokenize(only.source, tokens.bos)
    mode = EdgeMode(model, [tokens], [source], others, only.how, whole=True)
    wanted = {kind for kind in kinds if kind in (*NODE_KINDS, "mlp_read")} | {"mlp_out"}
    final, rows, tape = mode.run_all(mask_of(mode, only), wanted)  # type: ignore[arg-type]
    kept = {
        kind: {layer: value[0] for layer, value in layers.items()}
        for kind, layers in tape.kept.items()
        if kind in kinds
    }
    kept |= {kind: layers for kind, layers in streams(mode, rows.changes()[0], final[0, 0]).items() if kind in kinds}
    return Activations(kept, final[0, 0], 0)


def mask_of(mode: EdgeMode, only: OnlyEdges) -> Tensor:
    by_position = any(edge.position is not None for edge in only.edges)
    length = mode.base.final.shape[1]
    mask = torch.zeros((1, *mode.graph.exists.shape, *(length,) * by_position))
    for placed in only.edges:
        reader, writer = mode.graph.place(placed.edge)
        if by_position and placed.position is not None:
            if placed.position >= length:
                raise InterventionError(f"{placed}: the prompt has {length} tokens.")
            mask[0, reader, writer, placed.position] = 1
        else:
            mask[0, reader, writer] = 1
    return mask


def streams(mode: EdgeMode, changes: Tensor, final: Tensor) -> dict[Kind, dict[int, Tensor]]:
    """The residual stream and what blocks add to it, [pos, d_model] by layer."""
    decoder, base = mode.decoder, mode.base
    found: dict[Kind, dict[int, Tensor]] = {kind: {} for kind in ("resid_pre", "attn_out", "resid_mid", "resid_post")}
    total, done = changes[0].clone(), 1
    n_attention = decoder.n_heads if mode.graph.info.heads_add_up else 1
    last = decoder.n_layers - 1
    for layer, block in enumerate(decoder.blocks):
        found["resid_pre"][layer] = base.before[layer][0] + total
        written = slice(done, done + n_attention)
        bias = block.o.bias if mode.graph.info.heads_add_up else None
        attn_out = base.writes[0, written].sum(0) + changes[written].sum(0)
        found["attn_out"][layer] = attn_out if bias is None else attn_out + bias
        total = total + changes[written].sum(0)
        done += n_attention
        if not decoder.parallel:
            found["resid_mid"][layer] = base.between[layer][0] + total
        if mode.graph.has_mlp:
            total = total + changes[done]
            done += 1
        found["resid_post"][layer] = final if layer == last else base.before[layer + 1][0] + total
    return found
