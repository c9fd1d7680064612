"""The scores of a kept circuit, each as a call that can be made again; definitions are those of `circuits.evaluation`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from explorer.circuits.circuit import Circuit
from explorer.circuits.discovery import discover_circuit, edge_attribution
from explorer.circuits.edge_scores import Method
from explorer.circuits.evaluation import Score, core_scores, refusal, variant_scores, worst_variant
from explorer.circuits.packing import unpack
from explorer.circuits.random_circuits import random_circuits
from explorer.circuits.runs import CircuitRuns
from explorer.circuits.stability import stability
from explorer.core.errors import CircuitError
from explorer.core.pairs import ContrastPair
from explorer.core.provenance import Provenance
from explorer.engine.edges import graph_of
from explorer.engine.interventions import AblationKind
from explorer.engine.model import Model
from explorer.engine.sweep import never
from explorer.metrics.bootstrap import p_value
from explorer.models.info import Progress
from explorer.prompts.tokens import Bos

Way = Literal["alone", "reverse", "ablated"]
"""F(C) with the rest ablated; the corrupt prompt with the rest from the clean one; F(M∖C), what is left without the circuit."""
RANDOM, DRAWS, AT_ONCE = 20, 5, 3


@dataclass(frozen=True, eq=False)
class CircuitScore:
    score: Score
    random: np.ndarray
    """The same score of random circuits matched by layer and type; empty where none were run."""
    n_edges: int
    refused: bool
    """Whether these pairs show no behaviour to find a circuit of."""
    provenance: Provenance

    @property
    def value(self) -> float:
        return self.score.value

    @property
    def low(self) -> float:
        """Of the 95 % bootstrap interval over pairs; NaN for a single pair."""
        return self.score.interval[0]

    @property
    def high(self) -> float:
        return self.score.interval[1]

    @property
    def n(self) -> int:
        """Pairs."""
        return len(self.score.part)

    @property
    def n_controls(self) -> int:
        return len(self.random)

    @property
    def largest_control(self) -> float:
        return float(np.nanmax(self.random)) if self.n_controls else float("nan")

    @property
    def p(self) -> float:
        """Share of circuits at least as good, the circuit itself counted among them."""
        return p_value(self.value, self.random)


def circuit_score(
    model: Model,
    pairs: Sequence[ContrastPair],
    circuit: str,
    *,
    way: Way = "alone",
    ablation: AblationKind = "resample",
    controls: int = RANDOM,
    seed: int = 0,
    bos: Bos = "default",
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = never,
) -> CircuitScore:
    """A score of a kept circuit beside that of random circuits.  Raises `CircuitError`, and as `evaluate_circuit`."""
    runs, kept = CircuitRuns(model, pairs, bos=bos), unpack(circuit, graph_of(model))
    clean, corrupt = runs.ends()
    masks = torch.stack([each.mask() for each in (kept, *matched(kept, controls, seed))])
    scores: list[Score] = []
    for first in range(0, len(masks), AT_ONCE):
        scores += scores_of(runs, masks[first : first + AT_ONCE], way, ablation, clean, corrupt)
        if progress is not None:
            progress(len(scores) / len(masks), f"{len(scores) - 1} of {len(masks) - 1} random circuits")
        if cancelled():
            raise CircuitError("Cancelled: the controls are not complete, so there is no score.")
    return CircuitScore(
        scores[0], np.array([each.value for each in scores[1:]]), kept.n_edges, bool(refusal(clean, corrupt)),
        provenance_of(model, runs, seed),
    )  # fmt: skip


def matched(circuit: Circuit, n: int, seed: int) -> list[Circuit]:
    """Up to `n` random circuits, all different from each other and from the circuit itself."""
    drawn = {kept.tobytes(): kept for kept in random_circuits(circuit, DRAWS * n, seed)}
    drawn.pop(circuit.kept.tobytes(), None)
    return [Circuit(circuit.graph, kept, by_position=circuit.by_position) for kept in list(drawn.values())[:n]]


def scores_of(
    runs: CircuitRuns, masks: Tensor, way: Way, ablation: AblationKind, clean: np.ndarray, corrupt: np.ndarray
) -> list[Score]:
    """One score a mask."""
    if ablation == "resample":
        core = core_scores(runs, masks, clean, corrupt)
        return [
            {"alone": each.faithfulness, "reverse": each.reverse, "ablated": each.completeness}[way] for each in core
        ]
    if way != "alone":
        raise CircuitError("Another ablation is offered for faithfulness alone.")
    empty, *found = runs.objective(torch.cat([masks[:1] * 0, masks]), ablation)
    return [Score(each - empty, clean - empty) for each in found]


@dataclass(frozen=True, eq=False)
class WorstVariant:
    faithfulness: float
    unit: str
    ablation: str
    n: int
    provenance: Provenance


def circuit_worst(model: Model, pairs: Sequence[ContrastPair], circuit: str, *, bos: Bos = "default") -> WorstVariant:
    """Faithfulness under the one of six ways of ablating (edges or nodes; zero, mean or resample) where it is farthest from 1."""
    runs, kept = CircuitRuns(model, pairs, bos=bos), unpack(circuit, graph_of(model))
    worst = worst_variant(variant_scores(runs, kept, runs.ends()[0]))
    return WorstVariant(
        float(worst["faithfulness"]), str(worst["unit"]), str(worst["ablation"]), len(pairs), provenance_of(model, runs)
    )


@dataclass(frozen=True, eq=False)
class CircuitStability:
    jaccard: np.ndarray
    n: int
    provenance: Provenance

    @property
    def mean(self) -> float:
        """Mean overlap (Jaccard index) with circuits found on the pairs drawn with replacement."""
        return float(self.jaccard.mean())

    @property
    def low(self) -> float:
        return float(np.quantile(self.jaccard, 0.025))


def circuit_stability(
    model: Model,
    pairs: Sequence[ContrastPair],
    *,
    method: Method,
    top: int,
    by_position: bool = False,
    seed: int = 0,
    bos: Bos = "default",
    progress: Progress | None = None,
) -> CircuitStability:
    """How much a circuit changes with the pairs it is found on.  Raises as `circuits.stability.stability`."""
    scores = edge_attribution(
        model, pairs, method=method, by_position=by_position, seed=seed, bos=bos, progress=progress
    )
    found = stability(scores, top, seed=seed)
    return CircuitStability(found.jaccard, len(pairs), scores.provenance)


@dataclass(frozen=True, eq=False)
class FoundCircuit:
    circuit: Circuit
    refused: bool
    n: int
    provenance: Provenance

    @property
    def n_edges(self) -> int:
        return self.circuit.n_edges


def circuit_found(
    model: Model,
    pairs: Sequence[ContrastPair],
    *,
    method: Method,
    top: int,
    by_position: bool = False,
    threshold: float = 0.01,
    target: int = 100,
    seed: int = 0,
    bos: Bos = "default",
    progress: Progress | None = None,
) -> FoundCircuit:
    """The circuit of a method: an estimate, or a proposal, of which edges matter."""
    circuit = discover_circuit(
        model, pairs, method=method, keep=top, by_position=by_position, threshold=threshold, target=target, seed=seed,
        bos=bos, progress=progress,
    )  # fmt: skip
    runs = CircuitRuns(model, pairs, bos=bos)
    return FoundCircuit(circuit, bool(refusal(*runs.ends())), len(runs), provenance_of(model, runs, seed))


def provenance_of(model: Model, runs: CircuitRuns, seed: int | None = None) -> Provenance:
    texts = [side.tokens for each in runs.contrasts for side in (each.clean, each.corrupt)]
    return model.provenance(texts, seed=seed)
