"""How much of a circuit depends on the pairs it was found on (Méloux et al. 2025): bootstrap over pairs, halves, overlaps."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from explorer.circuits.circuit import Circuit, Scores
from explorer.circuits.edge_scores import EdgeScores
from explorer.circuits.evaluation import Score
from explorer.circuits.runs import CircuitRuns
from explorer.core.errors import CircuitError
from explorer.core.places import PlacedEdge
from explorer.engine.sweep import never

RESAMPLES = 100
GUIDELINE = 0.8
"""Mean Jaccard index from which Méloux et al. call a circuit stable."""


@dataclass(frozen=True, eq=False)
class Stability:
    frequency: Scores
    """How often each edge is in the circuit of a resampled dataset, 0 to 1, by reader, writer and place."""
    jaccard: Float[np.ndarray, " resample"]
    """Overlap of each of these circuits with the one found on all pairs."""

    @property
    def mean(self) -> float:
        return float(self.jaccard.mean())


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """|both| / |either|; 1 where both are empty."""
    either = (one | other).sum()
    return float((one & other).sum() / either) if either else 1.0


def stability(
    scores: EdgeScores, top: int, resamples: int = RESAMPLES, seed: int = 0, cancelled: Callable[[], bool] = never
) -> Stability:
    """Circuits of `top` edges on datasets drawn from the pairs with replacement; of fewer of them where it was cancelled.

    `CircuitError` for fewer than two pairs, or methods that do not score pairs one by one.
    """
    if not scores.signed:
        raise CircuitError(
            "ACDC and edge pruning score all pairs together; run them on two datasets and compare the circuits."
        )
    n = len(scores.by_pair)
    if n < 2:
        raise CircuitError("Stability needs at least two pairs: take a dataset.")
    found = scores.circuit(top).kept
    rng = np.random.default_rng(seed)
    frequency, overlaps = np.zeros(found.shape), []
    for _ in range(resamples):
        if cancelled():
            break
        weights = np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float32) / n
        drawn = resampled(scores, weights).circuit(top).kept
        frequency += drawn
        overlaps.append(jaccard(found, drawn))
    return Stability(frequency / max(1, len(overlaps)), np.array(overlaps))


def resampled(scores: EdgeScores, weights: Float[np.ndarray, " pair"]) -> EdgeScores:
    """The same scores with pairs weighted."""
    mean = np.tensordot(weights, scores.by_pair, 1)[None]
    return replace(scores, by_pair=mean, expected=None)


def on_pairs(scores: EdgeScores, rows: np.ndarray) -> EdgeScores:
    """The scores on some of the pairs, by a mask over them."""
    return resampled(scores, rows.astype(np.float32) / rows.sum())


@dataclass(frozen=True)
class HeldOut:
    """Found on one half of the pairs, scored on the other, both ways round."""

    found_on: float
    """Mean faithfulness on the halves that the circuits were found on."""
    held_out: float
    """Mean faithfulness on the other halves."""
    overlap: float
    """Jaccard index of the two circuits."""


def held_out(scores: EdgeScores, runs: CircuitRuns, top: int, seed: int = 0) -> HeldOut:
    """`CircuitError` as `stability`."""
    n = len(scores.by_pair)
    if not scores.signed or n < 4:
        raise CircuitError(
            "Held-out faithfulness needs a method that scores pairs one by one, and at least four pairs."
        )
    first = np.zeros(n, dtype=bool)
    first[np.random.default_rng(seed).permutation(n)[: n // 2]] = True
    circuits = [on_pairs(scores, half).circuit(top) for half in (first, ~first)]
    clean, corrupt = runs.ends()
    found = runs.objective(torch.stack([circuit.mask() for circuit in circuits]))

    def faithful(row: int, half: np.ndarray) -> float:
        return Score((found[row] - corrupt)[half], (clean - corrupt)[half]).value

    return HeldOut(
        (faithful(0, first) + faithful(1, ~first)) / 2,
        (faithful(0, ~first) + faithful(1, first)) / 2,
        jaccard(circuits[0].kept, circuits[1].kept),
    )


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two circuits of one graph, edge by edge."""

    frame: pd.DataFrame
    """A row an edge of either: edge, in_first, in_second."""
    edges: float
    """Jaccard index of the edges."""
    nodes: float
    """Jaccard index of the nodes."""

    def words(self, first: str, second: str) -> str:
        """The counts in a sentence: edges in both, `first` and `second`, and the indices."""
        both = int((self.frame["in_first"] & self.frame["in_second"]).sum())
        only = [int(self.frame[column].sum()) - both for column in ("in_first", "in_second")]
        return (
            f"{both:,} edges in both, {only[0]:,} only {first}, {only[1]:,} only {second}. Jaccard: edges {self.edges:.2f}, "
            f"nodes {self.nodes:.2f}."
        )


def compare(first: Circuit, second: Circuit) -> Comparison:
    """`CircuitError` for graphs of different shape."""
    if (first.graph.writers, first.graph.readers) != (second.graph.writers, second.graph.readers):
        raise CircuitError(
            "These circuits belong to models of different shape, so their edges cannot be set against each other."
        )
    one, other = first.kept, second.kept
    if one.shape != other.shape:  # one by position: compare which edges are there at any
        one, other = (np.asarray(each.any(2, keepdims=True)) for each in (one, other))
    rows = []
    for reader, writer, place in np.argwhere(one | other).tolist():
        edge = first.edge(reader, writer, place) if one is first.kept else PlacedEdge(first.graph.edge(reader, writer))
        rows.append({"edge": str(edge), "in_first": bool(one[reader, writer, place]), "in_second": bool(other[reader, writer, place])})  # fmt: skip
    a, b = set(first.nodes), set(second.nodes)
    return Comparison(
        pd.DataFrame(rows, columns=["edge", "in_first", "in_second"]),
        jaccard(one, other),
        len(a & b) / max(1, len(a | b)),
    )
