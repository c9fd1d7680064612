"""ACDC (Conmy et al. 2023, algorithm 1): walk over the edges from the logits down; corrupt an edge, and leave it corrupted if
the divergence from the full model rises by less than a threshold over that of the current graph.

The metric is the mean over pairs of KL(full model ‖ graph) at the last position, in nats, as in the paper: it sees negative
components too.  Edges are taken several at a time, each under the assumption that those before it were dropped; where one was
not, the rest is run again.  So the result is that of one edge at a time, with fewer runs.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.circuits.runs import CircuitRuns

SPECULATE = 64
"""Edges that are tried at a time, at most."""


def visiting_order(runs: CircuitRuns) -> list[tuple[int, int]]:
    """Readers from the logits down, and of each the writers from the last up (reverse topological order)."""
    return sorted(map(tuple, runs.graph.exists.nonzero().tolist()), reverse=True)


@torch.no_grad()
def divergence(
    runs: CircuitRuns, masks: Float[Tensor, "mask reader writer"], full: Sequence[Tensor], cancelled: Callable[[], bool]
) -> Float[np.ndarray, " mask"]:
    """Mean over pairs of KL(full model ‖ mask), in nats; NaN where it was cancelled."""
    total = np.zeros(len(masks))
    for chunk, expected in zip(runs.chunks, full, strict=True):
        mode = runs.mode(chunk)
        at_once = runs.masks_at_once(mode, None)
        for first in range(0, len(masks), at_once):
            if cancelled():
                return np.full(len(masks), np.nan)
            found = mode.logits(masks[first : first + at_once]).double().log_softmax(-1)
            total[first : first + at_once] += (expected.exp() * (expected - found)).sum((-1, -2)).cpu().numpy()
    return total / len(runs)


@torch.no_grad()
def full_model(runs: CircuitRuns) -> list[Float[Tensor, "pair token"]]:
    """Log-probabilities of the full model, chunk by chunk."""
    full = runs.graph.exists.float()[None]
    return [runs.mode(chunk).logits(full)[0].double().log_softmax(-1) for chunk in runs.chunks]


def acdc_part(
    runs: CircuitRuns,
    order: Sequence[tuple[int, int]],
    kept: Float[Tensor, "reader writer"],
    threshold: float,
    cancelled: Callable[[], bool],
) -> dict[tuple[int, int], float] | None:
    """Visit some edges, given the graph so far: the rise of every edge that is kept; `kept` is changed in place."""
    full = full_model(runs)
    current = float(divergence(runs, kept[None], full, cancelled)[0])
    rises: dict[tuple[int, int], float] = {}
    number, width = 0, SPECULATE
    while number < len(order):
        part = order[number : number + width]
        masks = kept[None].repeat(len(part), 1, 1)
        for row, edge in enumerate(part):
            masks[row:, edge[0], edge[1]] = 0
        after = divergence(runs, masks, full, cancelled)
        if np.isnan(after).any():
            return None
        for row, edge in enumerate(part):
            number += 1
            rise = float(after[row]) - current
            if rise >= threshold:
                rises[edge] = rise
                width = max(4, row * 2)
                break
            kept[edge] = 0
            current = float(after[row])
        else:
            width = min(SPECULATE, width * 2)
    return rises
