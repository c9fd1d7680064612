"""Gradients of an objective with respect to activations; weights take no part, and grad mode is never left on.

Two uses, both first-order estimates of what a patch would do:

    attribution patching   (new − old activation) · ∂objective/∂activation         (Nanda 2023; Syed et al. 2023)
    EAP, edge attribution  (corrupt − clean write) · ∂objective/∂(reader's input)   (Syed et al. 2023, eq. 2)

EAP's sign is that of the predicted change of the objective when the edge is corrupted.  It is the negated gradient of
edge mode's mask at the clean run (all ones).  EAP-IG averages the reader's gradient over embeddings between corrupt and
clean (Hanna et al. 2024): `steps` midpoints.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from explorer.core.sites import Kind
from explorer.engine.edges import EdgeMode, by_head
from explorer.engine.edits import AnyEdit, ReceiverKind, Tape
from explorer.engine.forward import Past, Start, Stream, embed, norm, run_blocks, unembed
from explorer.engine.interventions import Intervention
from explorer.engine.model import Model
from explorer.engine.variants import Prefix, read_logits
from explorer.models.decoder import Decoder, Linear, Norm
from explorer.prompts.tokens import Tokens

READERS_AT_ONCE = 64
KEPT_FOR_WRITES: tuple[Kind, Kind] = ("z", "mlp_out")
ScoreOf = Callable[[Float[Tensor, "row vocab"]], Float[Tensor, " row"]]
"""An objective: logits after the last position to one number a row."""


@dataclass(frozen=True, eq=False)
class LogitDifference:
    """logit(answer) − logit(distractor), ids by row; of the stream alone, only these two rows of W_U are read."""

    read: Int[Tensor, "row 2"]

    def __call__(self, logits: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
        answer, distractor = logits.gather(1, self.read.to(logits.device)).unbind(1)
        return answer - distractor

    def of_stream(self, decoder: Decoder, final: Float[Tensor, "row d_model"]) -> Float[Tensor, " row"]:
        answer, distractor = read_logits(decoder, final[None], self.read.to(final.device))[0].unbind(1)
        return answer - distractor


def logit_difference(answers: Int[Tensor, " row"], distractors: Int[Tensor, " row"]) -> LogitDifference:
    """The objective of answers and distractors, ids by row."""
    return LogitDifference(torch.stack([answers, distractors], 1))


def score_of(decoder: Decoder, final: Float[Tensor, "row d_model"], score: ScoreOf) -> Float[Tensor, " row"]:
    """An objective of the stream that the logits read."""
    return score.of_stream(decoder, final) if isinstance(score, LogitDifference) else score(unembed(decoder, final))


class GradientTape(Tape):
    """A tape whose kept activations, and readers' inputs, can be differentiated with respect to."""

    def __init__(self, edits: Iterable[AnyEdit], wanted: Iterable[Kind], offset: int = 0) -> None:
        super().__init__(edits, wanted, offset)
        self.inputs: dict[tuple[ReceiverKind, int], Tensor] = {}

    def watch(self, kind: ReceiverKind, layer: int, like: Stream) -> None:
        """Watch what one reader of the stream gets: the gradient with respect to a change of 0 there."""
        self.inputs[kind, layer] = torch.zeros_like(like, requires_grad=True)
        self.arriving[kind, layer] = {None: self.inputs[kind, layer]}


def run_with_gradient(
    decoder: Decoder, embedded: Stream, tape: GradientTape, score: ScoreOf, past: Past | None = None
) -> tuple[Tensor, dict[Kind, list[Tensor]], dict[tuple[ReceiverKind, int], Tensor]]:
    """Score [row], gradients of its sum by kind and layer, and by watched reader."""
    with torch.enable_grad():
        start = embedded.detach().requires_grad_()
        final = run_blocks(decoder, Start(0, start), tape, past)[:, -1]
        scores = score_of(decoder, final, score)
        kinds = {kind: [layers[layer] for layer in sorted(layers)] for kind, layers in tape.kept.items()}
        activations = [tensor for tensors in kinds.values() for tensor in tensors]
        found = iter(torch.autograd.grad(scores.sum(), [*activations, *tape.inputs.values()], materialize_grads=True))
    gradients = {kind: [next(found) for _ in tensors] for kind, tensors in kinds.items()}
    return scores.detach(), gradients, {place: next(found) for place in tape.inputs}


def nothing() -> None:
    """What is done before a gradient, by default."""


def edge_scores(
    mode: EdgeMode, score: ScoreOf, steps: int = 1, by_position: bool = False, before_each: Callable[[], None] = nothing
) -> tuple[Float[Tensor, "pair reader writer *pos"], Float[Tensor, " pair"]]:
    """EAP of every edge (EAP-IG for `steps` > 1), and the objective on the clean run (for EAP-IG on the last midpoint).

    With `by_position`, a last axis holds the positions from `mode.start` on, which add up to the edge's score.  `before_each` is called
    before each gradient: long work gives way there, or stops by an exception.
    """
    corrupt, clean = (embed(mode.decoder, ids)[:, mode.start :] for ids in (mode.corrupt, mode.clean))
    points = [1.0] if steps == 1 else [(step + 0.5) / steps for step in range(steps)]
    total: Tensor | None = None
    for point in points:
        before_each()
        found, value, tape = reader_gradients(mode, torch.lerp(corrupt, clean, point), score)
        total = found if total is None else total + found
    assert total is not None
    with torch.no_grad():
        writes = mode.written(mode.clean).writes if steps > 1 else writes_of(mode, clean, tape)
        return score_edges(mode, total / len(points), mode.base.writes - writes, by_position), value


def writes_of(mode: EdgeMode, embedded: Stream, tape: Tape) -> Float[Tensor, "pair writer pos d_model"]:
    """What every writer wrote in a run that a tape has followed."""
    z, mlp_out = ([tape.kept[kind][layer] for layer in sorted(tape.kept[kind])] for kind in KEPT_FOR_WRITES)
    return mode.writes(embedded, z, mlp_out)


def score_edges(
    mode: EdgeMode, gradients: Tensor, change: Tensor, by_position: bool = False
) -> Float[Tensor, "pair reader writer *pos"]:
    """The product of every reader's gradient and every writer's change, where the edge exists."""
    exists = mode.graph.exists.to(gradients.device)
    if by_position:
        return torch.einsum("brtd,bwtd->brwt", gradients, change) * exists[..., None]
    found = gradients.new_zeros(len(gradients), *exists.shape)
    for first in range(0, len(exists), READERS_AT_ONCE):  # early readers see few writers
        rows = slice(first, first + READERS_AT_ONCE)
        seen = int(exists[rows].any(0).nonzero().max()) + 1
        found[:, rows, :seen] = gradients[:, rows].flatten(2) @ change[:, :seen].flatten(2).mT
    return found * exists


def reader_gradients(
    mode: EdgeMode, embedded: Stream, score: ScoreOf
) -> tuple[Float[Tensor, "pair reader pos d_model"], Float[Tensor, " pair"], Tape]:
    """Gradient of the objective with respect to each reader's input, in the order of the graph; the score; the run's tape."""
    decoder = mode.decoder
    tape = GradientTape(mode.edits, ("resid_pre", "q", "k", "v", *KEPT_FOR_WRITES), mode.start)
    tape.watch("logits", 0, embedded)
    if mode.graph.has_mlp:
        for layer in range(decoder.n_layers):
            tape.watch("mlp_in", layer, embedded)
    value, found, inputs = run_with_gradient(decoder, embedded, tape, score, Prefix(mode.base.past, mode.start))
    readers = []
    for layer, block in enumerate(decoder.blocks):
        stream = tape.kept["resid_pre"][layer].detach()
        outer = [
            project_back(found[kind][layer], weights)  # type: ignore[index]
            for kind, weights in (("q", block.q), ("k", block.k), ("v", block.v))
        ]
        readers.append(norm_back(stream, block.norm_attention, torch.cat(outer, 1)))
        if mode.graph.has_mlp:
            readers.append(inputs["mlp_in", layer][:, None])
    return torch.cat([*readers, inputs["logits", 0][:, None]], 1), value, tape


def project_back(
    gradient: Float[Tensor, "pair pos head d_head"], weights: Linear
) -> Float[Tensor, "pair head pos d_model"]:
    """Gradient with respect to what a projection reads, head by head."""
    return torch.einsum("bthe,hed->bhtd", gradient, by_head(weights, gradient.shape[2]))


def norm_back(
    stream: Float[Tensor, "pair pos d_model"], weights: Norm | None, gradient: Float[Tensor, "pair head pos d_model"]
) -> Float[Tensor, "pair head pos d_model"]:
    """Gradient with respect to the stream before a norm, for many gradients behind it."""
    if weights is None:
        return gradient
    with torch.enable_grad():
        copies = stream[:, None].expand(gradient.shape).detach().requires_grad_()
        return torch.autograd.grad(norm(copies, weights), copies, gradient)[0]


def activation_gradients(
    model: Model, tokens: Tokens, kinds: Iterable[Kind], score: ScoreOf, interventions: tuple[Intervention, ...] = ()
) -> tuple[dict[Kind, Tensor], dict[Kind, Tensor]]:
    """Activations and gradients of an objective with respect to them, [layer, …] by kind, on one prompt.

    (source − activation) · gradient estimates what patching in `source` does (attribution patching); exact where the
    model is linear.  `BridgeError` on the bridge.
    """
    decoder = model.decoder("A gradient")
    tape = GradientTape(model.edits(tokens, interventions), kinds)
    _, found, _ = run_with_gradient(decoder, embed(decoder, model.batch(tokens.ids)), tape, score)
    activations = {
        kind: torch.stack([layers[layer][0].detach() for layer in sorted(layers)]) for kind, layers in tape.kept.items()
    }
    return activations, {kind: torch.stack([tensor[0] for tensor in tensors]) for kind, tensors in found.items()}


def embedding_gradients(
    model: Model,
    tokens: Tokens,
    points: Float[Tensor, "point pos d_model"],
    score: ScoreOf,
    position: int,
    interventions: tuple[Intervention, ...] = (),
) -> tuple[Float[Tensor, " point"], Float[Tensor, "point pos d_model"]]:
    """An objective at a position of runs that begin with given embeddings, and its gradient with respect to these.

    `points` take the place of the stream before layer 0.  `BridgeError` on the bridge.
    """
    decoder = model.decoder("A gradient")
    tape = Tape(model.edits(tokens, interventions), ())
    with torch.enable_grad():
        start = points.detach().requires_grad_()
        scores = score_of(decoder, run_blocks(decoder, Start(0, start), tape)[:, position], score)
        (found,) = torch.autograd.grad(scores.sum(), start)
    return scores.detach(), found
