"""What a discovery method says of every edge, and the choice of a circuit by it.

Sign of the first four methods: the change of the objective when the edge is corrupted, so an edge that helps scores below 0.
ACDC and edge pruning score an edge they keep above 0 and say nothing of direction.  Edges are ranked by |score|.
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha1
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from explorer.circuits.circuit import Circuit, Kept, Scores, empty, every_edge, on_a_path
from explorer.core.errors import CircuitError
from explorer.core.provenance import Provenance
from explorer.engine.edge_graph import EdgeGraph

Method = Literal["eap", "eap-ig", "mask-gradient", "exact", "acdc", "edge-pruning"]
SIGNED: tuple[Method, ...] = ("eap", "eap-ig", "mask-gradient", "exact")
TITLES: dict[Method, str] = {
    "eap": "EAP",
    "eap-ig": "EAP-IG",
    "mask-gradient": "Mask gradient",
    "exact": "Exact, edge by edge",
    "acdc": "ACDC",
    "edge-pruning": "Edge pruning",
}


@dataclass(frozen=True, eq=False)
class EdgeScores:
    method: Method
    graph: EdgeGraph
    by_pair: Float[np.ndarray, "row edge place"]
    """Edges in the order of `index`; ACDC and edge pruning have one row for all pairs."""
    clean: Float[np.ndarray, " pair"]
    """Objective of the clean runs, in logits."""
    corrupt: Float[np.ndarray, " pair"]
    expected: Float[np.ndarray, " pair"] | None
    """What scores must add up to (m(corrupt) − m(clean)), for methods that are complete."""
    by_position: bool
    provenance: Provenance

    @property
    def measured(self) -> bool:
        """Whether a score is an intervention's effect; else it is an estimate (first order), or a mask that was trained."""
        return self.method in ("exact", "acdc")

    @property
    def signed(self) -> bool:
        return self.method in SIGNED

    @cached_property
    def index(self) -> Int[np.ndarray, "edge 2"]:
        """Reader and writer of every edge."""
        return self.graph.exists.nonzero().numpy()

    @cached_property
    def values(self) -> Float[np.ndarray, "edge place"]:
        """Mean score over pairs, in logits for the methods with a sign."""
        return np.asarray(self.by_pair.mean(0))

    @cached_property
    def dense(self) -> Scores:
        """The same by reader and writer."""
        return spread(self.graph, self.index, self.values)

    @cached_property
    def fingerprint(self) -> str:
        """Of method, scores and number of pairs: the key of what is derived from them."""
        found = sha1(self.values.tobytes(), usedforsecurity=False)
        found.update(f"{self.method} {self.by_pair.shape}".encode())
        return found.hexdigest()

    @cached_property
    def residual(self) -> float | None:
        """Completeness: |Σ scores − (m(corrupt) − m(clean))|, mean over pairs, in logits; None for methods that promise none.

        Over the edges that leave the embedding for EAP-IG (inputs), over all edges for the mask gradient.
        """
        if self.expected is None:
            return None
        leaving = self.index[:, 1] == 0 if self.method == "eap-ig" else np.ones(len(self.index), dtype=bool)
        total = self.by_pair[:, leaving].sum((1, 2))
        return float(np.abs(total - self.expected).mean())

    @cached_property
    def natural(self) -> int | None:
        """How many edges the method itself keeps; None for a method that ranks only."""
        return None if self.signed else int((self.values > 0).sum())

    @property
    def total(self) -> int:
        """How many edges there are, positions counted apart."""
        return int(self.values.size)

    def top_for(self, influence: float) -> int:
        """The smallest number of edges that hold a share of the summed |score|."""
        strengths = np.sort(np.abs(self.values).ravel())[::-1].astype(np.float64)
        if influence <= 0 or strengths.sum() == 0:
            return 0
        reached = np.cumsum(strengths) / strengths.sum()
        return min(int(np.searchsorted(reached, influence - 1e-12)) + 1, int((strengths > 0).sum()))

    def influence_of(self, top: int) -> float:
        """The share of the summed |score| that so many edges hold."""
        strengths = np.sort(np.abs(self.values).ravel())[::-1].astype(np.float64)
        return float(strengths[:top].sum() / strengths.sum()) if strengths.sum() > 0 else 0.0

    def circuit(self, top: int) -> Circuit:
        """The `top` edges of largest |score|, less those on no path from the embedding to the logits.

        An edge whose score is 0 is chosen only where all edges are asked for.
        """
        kept = self.chosen(top)
        connected = kept if top >= self.total else on_a_path(self.graph, kept)
        isolated = int(kept.sum() - connected.sum())
        return Circuit(
            self.graph,
            connected,
            self.dense,
            self.by_position,
            TITLES[self.method],
            isolated,
            provenance=self.provenance,
        )

    def chosen(self, top: int) -> Kept:
        if top >= self.total:
            return every_edge(self.graph, self.values.shape[1])
        kept = empty(self.graph, self.values.shape[1])
        strengths = np.abs(self.values).ravel()
        order = np.argsort(-strengths, kind="stable")[: min(max(0, top), np.count_nonzero(strengths))]
        rows, places = np.unravel_index(order, self.values.shape)
        kept[self.index[rows, 0], self.index[rows, 1], places] = True
        return kept

    @property
    def frame(self) -> pd.DataFrame:
        """One row an edge: sender, receiver, position (if by position), score; strongest first."""
        order = np.argsort(-np.abs(self.values).ravel(), kind="stable")
        rows, places = np.unravel_index(order, self.values.shape)
        table = pd.DataFrame(
            {
                "sender": [str(self.graph.writers[number]) for number in self.index[rows, 1]],
                "receiver": [str(self.graph.readers[number]) for number in self.index[rows, 0]],
                "score": self.values.ravel()[order],
            }
        )
        if self.by_position:
            table.insert(2, "position", places)
        return table


def spread(graph: EdgeGraph, index: Int[np.ndarray, "edge 2"], values: Float[np.ndarray, "edge place"]) -> Scores:
    """Values of edges, by reader and writer; 0 where there is no edge."""
    dense = np.zeros((*graph.exists.shape, values.shape[1]), dtype=values.dtype)
    dense[index[:, 0], index[:, 1]] = values
    return dense


def circuit_of(scores: EdgeScores, keep: float | int) -> Circuit:
    """The circuit of a share of the influence (a float up to 1), or of so many edges (a whole number)."""
    if isinstance(keep, bool) or (isinstance(keep, float) and not 0 < keep <= 1) or keep < 0:
        raise CircuitError(
            f"keep={keep!r}: expected a share of the influence above 0 and at most 1.0, or a number of edges."
        )
    return scores.circuit(scores.top_for(keep) if isinstance(keep, float) else keep)
