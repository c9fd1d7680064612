"""Scores of edges pair by pair: EAP, EAP-IG, the gradient of the mask, and each edge corrupted by itself.

    EAP            (corrupt − clean write) · ∂m/∂(reader's input)                 Syed et al. 2023, eq. 2
    EAP-IG         the same, the gradient averaged over embeddings from corrupt to clean (midpoints)   Hanna et al. 2024
    mask gradient  −∫ ∂m/∂mask dα over masks α · 1 from 0 to 1 (midpoints)        Miller et al. 2024 (auto-circuit)
    exact          m(edge corrupted) − m(clean), one run an edge

EAP is the negated gradient of the mask at 1.  EAP-IG's edges out of the embedding, and all of the mask gradient's, add up to
m(corrupt) − m(clean) as the steps grow: the completeness residual.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.circuits.edge_scores import Method
from explorer.circuits.runs import CHUNK_ROWS, CircuitRuns
from explorer.engine.contrasts import difference
from explorer.engine.edges import EdgeMode
from explorer.engine.gradients import edge_scores, logit_difference

GRADIENT_COPIES = 60.0
"""Memory of a run of edge mode with gradients, over what its writers write."""


def score_pairs(
    runs: CircuitRuns, method: Method, steps: int, by_position: bool, cancelled: Callable[[], bool]
) -> Float[np.ndarray, "pair edge place"] | None:
    """Scores of every edge on every pair, float32; None where it was cancelled."""
    index = runs.graph.exists.nonzero()
    length = runs.lengths[-1] if by_position else 1
    found = np.zeros((len(runs), len(index), length), dtype=np.float32)
    for chunk in runs.chunks:
        if method in ("eap", "eap-ig"):
            score = logit_difference(*runs.read(chunk).unbind(1))
            try:
                n_steps = steps if method == "eap-ig" else 1
                dense, _ = edge_scores(runs.mode(chunk), score, n_steps, by_position, partial(stop_if, cancelled))
            except Stopped:
                return None
            part = dense[:, index[:, 0], index[:, 1]]
            put(found, chunk, part if by_position else part[..., None])
            continue
        for pair in chunk:
            mode = runs.mode([pair])
            if method == "mask-gradient":
                one = mask_gradient(mode, runs.read([pair]), steps, by_position, cancelled)
            else:
                one = exact(runs, mode, runs.read([pair]), by_position, cancelled)
            if one is None:
                return None
            put(found, [pair], one[None])
    return found


class Stopped(Exception):  # noqa: N818 - no error: somebody asked for it
    """Raised between gradients where work is cancelled."""


def stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Stopped


def put(found: np.ndarray, pairs: list[int], part: Float[Tensor, "pair edge pos"]) -> None:
    """Scores from the first position on that can change; 0 before."""
    found[pairs, :, found.shape[2] - part.shape[2] :] = part.float().cpu().numpy()


def mask_gradient(
    mode: EdgeMode, read: Tensor, steps: int, by_position: bool, cancelled: Callable[[], bool]
) -> Float[Tensor, "edge pos"] | None:
    """Integrated gradient of one pair's mask, negated."""
    exists = mode.graph.exists.to(mode.base.final)
    if by_position:
        exists = exists[..., None].expand(-1, -1, mode.base.final.shape[1])
    total = torch.zeros_like(exists)
    at_once = max(1, int(CHUNK_ROWS * 4 / GRADIENT_COPIES // mode.base.writes.nbytes))
    points = [(step + 0.5) / steps for step in range(steps)]
    for first in range(0, steps, at_once):
        if cancelled():
            return None
        alphas = torch.tensor(points[first : first + at_once]).to(exists)
        mask = (alphas.view(-1, *(1,) * exists.ndim) * exists).requires_grad_()
        with torch.enable_grad():
            score = difference(mode.logits(mask, read)).sum()
            (gradient,) = torch.autograd.grad(score, mask)
        total -= gradient.sum(0)
    index = mode.graph.exists.nonzero()
    part = total[index[:, 0], index[:, 1]] / steps
    return part if by_position else part[:, None]


@torch.no_grad()
def exact(
    runs: CircuitRuns, mode: EdgeMode, read: Tensor, by_position: bool, cancelled: Callable[[], bool]
) -> Float[Tensor, "edge pos"] | None:
    """What corrupting each edge alone does to one pair's objective."""
    index, length = mode.graph.exists.nonzero(), mode.base.final.shape[1] if by_position else 1
    full = mode.graph.exists.to(mode.base.final)
    clean = difference(mode.logits(full[None], read))[0, 0]
    places = [(reader, writer, place) for reader, writer in index.tolist() for place in range(length)]
    changes, at_once = [], runs.masks_at_once(mode, None)
    for first in range(0, len(places), at_once):
        if cancelled():
            return None
        part = places[first : first + at_once]
        masks = full[None].repeat(len(part), 1, 1)
        if by_position:
            masks = masks[..., None].repeat(1, 1, 1, length)
        for row, (reader, writer, place) in enumerate(part):
            masks[(row, reader, writer, place) if by_position else (row, reader, writer)] = 0
        changes.append(difference(mode.logits(masks, read))[:, 0] - clean)
    return torch.cat(changes).view(len(index), length)
