"""Edge pruning (Bhaskar et al. 2024): a mask over all edges is trained by gradient descent to keep the model's predictions with
few edges; what is not kept carries the corrupt writes (interchange ablation).

    mask = clamp(sigmoid((log u − log(1 − u) + log α) / β) · 1.2 − 0.1, 0, 1),   u ~ U(0, 1),  β = 2/3   hard concrete (Louizos et al. 2018)
    loss = KL(full model ‖ mask) + λ₁ (s − t) + λ₂ (s − t)²       s: expected share of edges cut, t: its target, warmed up

λ₁ and λ₂ are raised by gradient ascent.  The score of an edge is the probability that its mask is not 0; the circuit is the
target number of edges of largest score (the threshold that a binary search would find).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.circuits.acdc import full_model
from explorer.circuits.runs import CircuitRuns

LOW, HIGH, BETA = -0.1, 1.1, 2 / 3
LEARNING_RATE, PENALTY_RATE = 0.2, 0.4
KEPT = ("log_alpha", "penalties", "moments")
START = 3.0
"""log α at the start: nearly all edges are open."""


@dataclass
class PruningState:
    """Where a training stands: enough to go on from."""

    log_alpha: Float[Tensor, " edge"]
    penalties: Float[Tensor, "2"]
    moments: Float[Tensor, "2 edge"]
    """Adam's running means of the gradient and of its square."""
    step: int = 0


def restored(arrays: Mapping[str, np.ndarray], step: int = 0) -> PruningState:
    """A state that was kept."""
    log_alpha, penalties, moments = (torch.from_numpy(arrays[name].copy()) for name in KEPT)
    return PruningState(log_alpha, penalties, moments, step)


def kept_arrays(state: PruningState) -> dict[str, np.ndarray]:
    return {name: getattr(state, name).numpy() for name in KEPT}


def begin(n_edges: int) -> PruningState:
    return PruningState(torch.full((n_edges,), START), torch.zeros(2), torch.zeros(2, n_edges))


def open_probability(log_alpha: Float[Tensor, " edge"]) -> Float[Tensor, " edge"]:
    """P(mask > 0)."""
    return torch.sigmoid(log_alpha - BETA * torch.log(torch.tensor(-LOW / HIGH)))


def sampled(log_alpha: Float[Tensor, " edge"], generator: torch.Generator) -> Float[Tensor, " edge"]:
    noise = torch.rand(len(log_alpha), generator=generator).clamp(1e-6, 1 - 1e-6)
    soft = torch.sigmoid((noise.log() - (1 - noise).log() + log_alpha) / BETA)
    return (soft * (HIGH - LOW) + LOW).clamp(0, 1)


def train(
    runs: CircuitRuns,
    state: PruningState,
    until: int,
    steps: int,
    target: int,
    seed: int,
    cancelled: Callable[[], bool],
) -> bool:
    """Train up to a step; whether it got there.  `state` is changed in place."""
    index = runs.graph.exists.nonzero()
    full = full_model(runs)
    sparsity = 1 - target / len(index)
    while state.step < until:
        if cancelled():
            return False
        generator = torch.Generator().manual_seed(seed * 100_003 + state.step)
        log_alpha = state.log_alpha.clone().requires_grad_()
        chunk_number = state.step % len(runs.chunks)
        with torch.enable_grad():
            mask = torch.zeros(runs.graph.exists.shape).index_put(
                (index[:, 0], index[:, 1]), sampled(log_alpha, generator)
            )
            found = runs.mode(runs.chunks[chunk_number]).logits(mask[None])[0].log_softmax(-1)
            expected = full[chunk_number].to(found)
            kl = (expected.exp() * (expected - found)).sum(-1).mean()
            goal = sparsity * min(1.0, (state.step + 1) / (0.6 * steps))
            missing = (1 - open_probability(log_alpha).mean()) - goal
            scale = float(len(index)) ** 0.5
            loss = kl + state.penalties[0] * missing * scale + state.penalties[1] * missing**2 * scale
            (gradient,) = torch.autograd.grad(loss, log_alpha)
        descend(state, gradient)
        state.penalties += (
            PENALTY_RATE * torch.stack([missing.detach(), missing.detach() ** 2]) * torch.tensor([1.0, 5.0])
        )
        state.penalties[1].clamp_(min=0)
    return True


def descend(state: PruningState, gradient: Float[Tensor, " edge"]) -> None:
    """One step of Adam (Kingma & Ba 2015); written out, so that its state is three tensors."""
    state.step += 1
    state.moments[0].mul_(0.9).add_(gradient, alpha=0.1)
    state.moments[1].mul_(0.999).addcmul_(gradient, gradient, value=0.001)
    mean = state.moments[0] / (1 - 0.9**state.step)
    square = state.moments[1] / (1 - 0.999**state.step)
    state.log_alpha.sub_(LEARNING_RATE * mean / (square.sqrt() + 1e-8))


def kept_scores(state: PruningState, target: int) -> Float[Tensor, " edge"]:
    """The score of the `target` edges likeliest to be open; 0 of all others."""
    scores = open_probability(state.log_alpha)
    cut = torch.zeros_like(scores)
    top = scores.topk(min(target, len(scores))).indices
    cut[top] = scores[top]
    return cut
