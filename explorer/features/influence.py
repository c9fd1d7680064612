"""Influence in a graph whose edges go up, and the scores that follow from it (Ameisen et al. 2025, section 3)."""

import numpy as np
from jaxtyping import Bool, Float


def normalised(edges: Float[np.ndarray, "target source"], lost: np.ndarray | float = 0.0) -> np.ndarray:
    """|A| with rows that sum to 1, what is lost included."""
    size = np.abs(edges)
    total = size.sum(1) + lost
    found: np.ndarray = np.divide(size, total[:, None], out=np.zeros_like(size), where=total[:, None] > 0)
    return found


def over_all_paths(
    start: Float[np.ndarray, " node"], steps: Float[np.ndarray, "node node"]
) -> Float[np.ndarray, " node"]:
    """v (I − M)⁻¹ = v + v M + v M² + …: as edges go up, M is nilpotent, and the sum ends after as many terms as there are layers."""
    found, reached = start.copy(), start
    for _ in range(len(steps)):
        reached = reached @ steps
        if not reached.any():
            break
        found += reached
    return found


def influence(edges: np.ndarray, weights: np.ndarray, lost: np.ndarray | float = 0.0) -> Float[np.ndarray, " node"]:
    """w B with B = (I − Â)⁻¹ − I."""
    found: np.ndarray = over_all_paths(weights, normalised(edges, lost)) - weights
    return found


def scores(
    edges: np.ndarray, weights: np.ndarray, errors: np.ndarray, tokens: np.ndarray, lost: np.ndarray | float = 0.0
) -> tuple[float, float]:
    matrix = normalised(edges, lost)
    found = influence(edges, weights, lost) + weights
    fed = (np.abs(edges).sum(1) + lost) > 0
    missed = matrix[:, errors].sum(1) + (1 - matrix.sum(1)) * fed
    complete = float((found * (1 - missed))[fed].sum() / max(found[fed].sum(), 1e-30))
    through = found - weights
    unexplained = through[errors].sum() + (found * (1 - matrix.sum(1)))[fed].sum()
    return complete, float(through[tokens].sum() / max(through[tokens].sum() + unexplained, 1e-30))


def strongest_share(values: np.ndarray, share: float) -> Bool[np.ndarray, " item"]:
    """The fewest items that together hold a share of the sum."""
    some = np.flatnonzero(values > 0)
    order = some[np.argsort(-values[some], kind="stable")]
    running = np.cumsum(values[order])
    count = int(np.searchsorted(running, share * running[-1] - 1e-12)) + 1 if len(running) else 0
    keep = np.zeros(len(values), bool)
    keep[order[:count]] = True
    return keep
