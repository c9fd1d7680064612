"""Faithfulness against size, for several rankings of edges; areas CPR and CMD (Mueller et al. 2025, MIB).

    CPR = ∫ f(k) dk      CMD = ∫ |1 − f(k)| dk      k: share of all edges, trapezoid on linear k

The areas hardly see small circuits: k up to 1 % is 0.9 % of the area, k from 20 % on is 80 %.  A ranking worthless until all edges are
kept has a CPR of 0.25 on this grid.  So the curve is what counts, on a logarithmic axis.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from explorer.circuits.circuit import mask_of
from explorer.circuits.edge_scores import EdgeScores
from explorer.circuits.evaluation import Score
from explorer.circuits.random_circuits import random_circuits
from explorer.circuits.runs import CircuitRuns
from explorer.engine.sweep import never
from explorer.models.info import Progress

GRID = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares of all edges at which MIB measures."""
SMALL = (5, 10, 20, 50)
"""Numbers of edges that are measured too, where they are smaller: what people draw."""
RANDOM = "random"
N_RANDOM = 5


@dataclass(frozen=True, eq=False)
class FaithfulnessCurves:
    frame: pd.DataFrame
    """A row a method and size: method, chosen (edges), edges (after isolated pieces went), share, faithfulness, low, high."""
    n_edges: int
    """Of the whole graph."""

    def area(self, method: str) -> tuple[float, float]:
        """CPR and CMD on MIB's grid."""
        rows = self.frame[(self.frame["method"] == method) & self.frame["on_grid"]].sort_values("share")
        share, value = rows["share"].to_numpy(), rows["faithfulness"].to_numpy()
        return float(np.trapezoid(value, share)), float(np.trapezoid(np.abs(1 - value), share))

    def smallest_above(self, method: str, level: float = 0.8) -> int | None:
        """The smallest circuit that was measured whose faithfulness, and that of all larger ones, is at least a level."""
        rows = self.frame[self.frame["method"] == method].sort_values("chosen", ascending=False)
        found = None
        for row in rows.to_dict("records"):
            if not row["faithfulness"] >= level:
                break
            found = int(row["edges"])
        return found


def sizes(n_edges: int) -> list[tuple[int, bool]]:
    """Numbers of edges, and whether they are on MIB's grid."""
    grid = {max(1, round(share * n_edges)) for share in GRID}
    small = {count for count in SMALL if count < 0.2 * n_edges}
    return [(count, count in grid) for count in sorted(grid | small)]


def faithfulness_curves(
    runs: CircuitRuns,
    rankings: Mapping[str, EdgeScores],
    seed: int = 0,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = never,
    chunk_positions: int | None = None,
) -> FaithfulnessCurves | None:
    """Measure circuits of growing size by each ranking, and random ones matched to the first; None where it was cancelled."""
    clean, corrupt = runs.ends()
    wanted = sizes(runs.graph.n_edges)
    rows: list[dict[str, object]] = []
    for number, (name, scores) in enumerate(rankings.items()):
        for step, (count, on_grid) in enumerate(wanted):
            if cancelled():
                return None
            if progress is not None:
                progress((number * len(wanted) + step) / (len(rankings) * len(wanted)), f"{name}: {count:,} edges")
            circuit = scores.circuit(count)
            kept = [circuit.kept]
            if number == 0:
                kept += random_circuits(circuit, N_RANDOM, seed)
            masks = torch.stack([mask_of(each) for each in kept])
            found = runs.objective(masks, cancelled=cancelled, chunk_positions=chunk_positions)
            about = {"chosen": count, "edges": circuit.n_edges, "share": count / runs.graph.n_edges, "on_grid": on_grid}
            rows.append({"method": name, **about, **measured(found[:1], clean, corrupt)})
            if number == 0:
                rows.append({"method": RANDOM, **about, **measured(found[1:], clean, corrupt)})
    return None if cancelled() else FaithfulnessCurves(pd.DataFrame(rows), runs.graph.n_edges)


def measured(
    found: Float[np.ndarray, "circuit pair"], clean: Float[np.ndarray, " pair"], corrupt: Float[np.ndarray, " pair"]
) -> dict[str, float]:
    """Mean faithfulness of circuits; the interval of one over pairs, or the range of several."""
    scores = [Score(row - corrupt, clean - corrupt) for row in found]
    values = [score.value for score in scores]
    low, high = scores[0].interval if len(scores) == 1 else (min(values), max(values))
    return {"faithfulness": float(np.mean(values)), "low": low, "high": high}
