"""Whether a circuit does what the model does (Wang et al. 2023, section 4; Hanna et al. 2024; Miller et al. 2024).

With F(·) the mean objective over pairs of a run in which every edge outside a set is ablated, M the model, ∅ no edge:

    faithfulness            (F(C) − F(∅)) / (F(M) − F(∅))     1: the circuit alone does what the model does; can exceed 1
    the other direction     (m(clean) − F'(C)) / (m(clean) − m(corrupt)), F' the corrupt prompt run with everything outside the
                            circuit from the clean one: 1: the circuit alone takes the behaviour away
    completeness            1 − (F(M∖C) − F(∅)) / (F(M) − F(∅))     1: nothing is left when the circuit is ablated
    minimality of a node    (F(C) − F(C∖v)) / (F(M) − F(∅))     what the circuit loses without it
    incompleteness          max over K of |F(C∖K) − F(M∖K)|, as a share of F(M) − F(∅): the search over K is named

All are ratios of means over pairs, never means of ratios.  The ablation is part of the claim, so a verdict takes the worst of six:
circuits of edges and of nodes, ablated by zero, by the mean and by resampling from the corrupt prompt.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.circuits.circuit import Circuit, every_edge, mask_of
from explorer.circuits.random_circuits import random_circuits
from explorer.circuits.runs import CircuitRuns
from explorer.core.errors import CircuitError
from explorer.core.pairs import ContrastPair
from explorer.core.provenance import Provenance
from explorer.engine.interventions import AblationKind
from explorer.engine.model import Model
from explorer.engine.sweep import never
from explorer.metrics.bootstrap import p_value
from explorer.metrics.effects import SMALLEST_SPAN
from explorer.prompts.tokens import Bos

Cancelled = Callable[[], bool]
RESAMPLES = 1000
CHANCE = 0.05
"""A dataset is at chance where so many pairs or more in the right order would be seen more often than this by guessing, and not all
are."""


def bootstrap_ratio(
    part: Float[np.ndarray, " pair"], whole: Float[np.ndarray, " pair"], seed: int = 0
) -> tuple[float, float]:
    """95 % percentile bootstrap over pairs of mean(part) / mean(whole)."""
    picked = np.random.default_rng(seed).integers(len(part), size=(RESAMPLES, len(part)))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = part[picked].mean(1) / whole[picked].mean(1)
    low, high = np.nanquantile(ratios, [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True, eq=False)
class Score:
    """A normalised score with its parts."""

    part: Float[np.ndarray, " pair"]
    whole: Float[np.ndarray, " pair"]

    @property
    def value(self) -> float:
        whole = float(self.whole.mean())
        return float(self.part.mean()) / whole if abs(whole) >= SMALLEST_SPAN else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, bootstrap over pairs; NaN for a single pair."""
        if len(self.part) < 2 or np.isnan(self.value):
            return float("nan"), float("nan")
        return bootstrap_ratio(self.part, self.whole)


@dataclass(frozen=True, eq=False)
class CoreScores:
    """The scores of a circuit that are computed at every change of it: three runs a pair."""

    faithfulness: Score
    reverse: Score
    completeness: Score
    circuit: Float[np.ndarray, " pair"]
    """F(C) of every pair, in logits."""


@dataclass(frozen=True, eq=False)
class Band:
    """The same scores of random circuits of that size."""

    faithfulness: Float[np.ndarray, " circuit"]
    reverse: Float[np.ndarray, " circuit"]
    completeness: Float[np.ndarray, " circuit"]

    def p_value(self, value: float, name: str) -> float:
        """Share of random circuits at least as good, the circuit itself counted among them (one-sided); NaN where there is no score."""
        if np.isnan(value):
            return float("nan")
        return p_value(value, getattr(self, name))


def refusal(clean: Float[np.ndarray, " pair"], corrupt: Float[np.ndarray, " pair"]) -> str:
    """Why nothing found on these pairs may be called a circuit; empty where it may."""
    span = float(clean.mean() - corrupt.mean())
    if abs(span) < SMALLEST_SPAN:
        return (
            f"Clean and corrupt prompts differ by {span:+.3f} logits in the objective, less than {SMALLEST_SPAN}: the answers have "
            "no effect to explain here, so no set of edges is called a circuit. Choose other answers or another corrupt prompt."
        )
    ahead = int((clean > 0).sum())
    if ahead == 0:
        return (
            "On no pair does the model prefer the answer to the distractor on the clean prompt, so there is no behaviour to find "
            "a circuit of. What is drawn are edges with large scores."
        )
    right = int((clean > corrupt).sum())
    if right < len(clean) and guessed(right, len(clean)) > CHANCE:
        return (
            f"The model is at chance on this dataset: in {right} of {len(clean)} pairs is the objective higher on the clean than on "
            "the corrupt prompt. What is drawn are edges with large scores, not a circuit. Take pairs that the model gets right."
        )
    return ""


def guessed(right: int, n: int) -> float:
    """P(at least so many of n right) by guessing."""
    return float(sum(comb(n, k) for k in range(right, n + 1)) / 2**n)


def core_scores(
    runs: CircuitRuns,
    kept: Float[Tensor, "mask reader writer ..."],
    clean: np.ndarray,
    corrupt: np.ndarray,
    cancelled: Cancelled = never,
    chunk_positions: int | None = None,
) -> list[CoreScores]:
    """Faithfulness in both directions and completeness of each mask; `clean` and `corrupt` are the model's own objectives.

    With the ends of runs without interventions and `runs` under some, the scores say what is left of the model's behaviour.
    """
    exists = runs.graph.exists.to(kept)
    others = (exists if kept.ndim == 3 else exists[..., None]) - kept
    forth = runs.objective(torch.cat([kept, others]), cancelled=cancelled, chunk_positions=chunk_positions)
    back = runs.objective(kept, reverse=True, cancelled=cancelled, chunk_positions=chunk_positions)
    n, whole = len(kept), clean - corrupt
    return [
        CoreScores(
            Score(forth[row] - corrupt, whole), Score(clean - back[row], whole), Score(clean - forth[n + row], whole), forth[row]
        )
        for row in range(n)
    ]  # fmt: skip


def random_band(
    runs: CircuitRuns,
    circuit: Circuit,
    clean: np.ndarray,
    corrupt: np.ndarray,
    n: int = 20,
    seed: int = 0,
    cancelled: Cancelled = never,
    chunk_positions: int | None = None,
) -> Band:
    """The scores of `n` random circuits matched by layer and type."""
    masks = torch.stack([mask_of(kept) for kept in random_circuits(circuit, n, seed)])
    found = core_scores(runs, masks, clean, corrupt, cancelled, chunk_positions)
    return Band(
        *(
            np.array([getattr(each, name).value for each in found])
            for name in ("faithfulness", "reverse", "completeness")
        )
    )


def variant_scores(
    runs: CircuitRuns,
    circuit: Circuit,
    clean: np.ndarray,
    cancelled: Cancelled = never,
    chunk_positions: int | None = None,
) -> pd.DataFrame:
    """Faithfulness under each way of ablating what is outside: columns unit, ablation, faithfulness, empty (F(∅), logits)."""
    rows = []
    nothing = torch.zeros(runs.graph.exists.shape)
    for how in get_args(AblationKind)[::-1]:
        units: dict[str, Tensor] = {"edges": circuit.mask(), "nodes": circuit.node_mask()}
        base = runs.objective(nothing[None], how, cancelled=cancelled, chunk_positions=chunk_positions)[0]
        for unit, mask in units.items():
            found = runs.objective(mask[None], how, cancelled=cancelled, chunk_positions=chunk_positions)[0]
            rows.append({"unit": unit, "ablation": how, "faithfulness": Score(found - base, clean - base).value, "empty": float(base.mean())})  # fmt: skip
    return pd.DataFrame(rows)


def worst_variant(variants: pd.DataFrame) -> dict[Any, Any]:
    """The row whose faithfulness is farthest from 1: it decides."""
    there = variants.dropna(subset=["faithfulness"]).to_dict("records")
    if not there:
        raise CircuitError(
            "Under no ablation does the empty circuit differ from the model, so faithfulness is not defined."
        )
    return max(there, key=lambda row: abs(row["faithfulness"] - 1))


def node_minimality(
    runs: CircuitRuns,
    circuit: Circuit,
    clean: np.ndarray,
    corrupt: np.ndarray,
    cancelled: Cancelled = never,
    chunk_positions: int | None = None,
) -> pd.DataFrame:
    """What the circuit loses without each of its nodes: columns node, loss (normalised, signed), low, high (95 %)."""
    names = circuit.components
    masks = torch.stack([circuit.mask(), *(circuit.without([name]).mask() for name in names)])
    found = runs.objective(masks, cancelled=cancelled, chunk_positions=chunk_positions)
    rows = []
    for name, without in zip(names, found[1:], strict=True):
        score = Score(found[0] - without, clean - corrupt)
        low, high = score.interval
        rows.append({"node": name, "loss": score.value, "low": low, "high": high})
    table = pd.DataFrame(rows, columns=["node", "loss", "low", "high"])
    return table.sort_values("loss", key=np.abs, ascending=False, ignore_index=True)


@dataclass(frozen=True)
class Incompleteness:
    value: float
    """Largest |F(C∖K) − F(M∖K)| over the sets K that were tried, as a share of F(M) − F(∅); NaN where the pairs tell nothing apart."""
    nodes: tuple[str, ...]
    """The K it was found at."""
    tried: int


def incompleteness(
    runs: CircuitRuns,
    circuit: Circuit,
    clean: np.ndarray,
    corrupt: np.ndarray,
    n_random: int = 10,
    seed: int = 0,
    cancelled: Cancelled = never,
    chunk_positions: int | None = None,
) -> Incompleteness:
    """The worst over K: no node, each node alone, and `n_random` random halves of the nodes."""
    names = circuit.components
    rng = np.random.default_rng(seed)
    halves = [tuple(name for name in names if rng.random() < 0.5) for _ in range(n_random)]
    sets: list[tuple[str, ...]] = [(), *((name,) for name in names), *halves]
    span = abs(float((clean - corrupt).mean()))
    if span < SMALLEST_SPAN:
        return Incompleteness(float("nan"), (), 0)
    full = Circuit(runs.graph, every_edge(runs.graph, circuit.kept.shape[2]))
    masks = [each.without(nodes).mask() for nodes in sets for each in (circuit, full)]
    found = runs.objective(torch.stack(masks), cancelled=cancelled, chunk_positions=chunk_positions).mean(1)
    gaps = np.abs(found[0::2] - found[1::2]) / span
    worst = int(np.nanargmax(gaps)) if np.isfinite(gaps).any() else 0
    return Incompleteness(float(gaps[worst]), sets[worst], len(sets))


@dataclass(frozen=True, eq=False)
class CircuitEvaluation:
    """A circuit's scores on a dataset, beside their controls."""

    circuit: Circuit
    core: CoreScores
    band: Band
    variants: pd.DataFrame
    minimality: pd.DataFrame
    worst_knockout: Incompleteness
    refusal: str
    """Why these edges are not called a circuit; empty where they may be."""
    provenance: Provenance

    @property
    def faithfulness(self) -> float:
        """1: the circuit, with all else corrupted, does what the model does."""
        return self.core.faithfulness.value

    @property
    def completeness(self) -> float:
        """1: nothing of the behaviour is left when the circuit is corrupted."""
        return self.core.completeness.value

    @property
    def random_band(self) -> tuple[float, float]:
        """The least and the greatest faithfulness of random circuits of that size."""
        return float(self.band.faithfulness.min()), float(self.band.faithfulness.max())

    @property
    def p_value(self) -> float:
        return self.band.p_value(self.faithfulness, "faithfulness")

    @property
    def worst(self) -> float:
        """Faithfulness under the ablation where it is farthest from 1."""
        return float(worst_variant(self.variants)["faithfulness"])


def evaluate_circuit(
    model: Model,
    circuit: Circuit,
    pairs: ContrastPair | Sequence[ContrastPair],
    *,
    n_random: int = 20,
    seed: int = 0,
    bos: Bos = "default",
) -> CircuitEvaluation:
    """Score a circuit on contrast pairs: faithfulness, completeness, minimality, random circuits, six ways of ablating.

    Pairs other than those it was found on make this a held-out check.

    Raises `CircuitError` for a circuit of a model of another shape, and as `discover_circuit`.
    """
    runs = CircuitRuns(model, pairs, bos=bos)
    check_shape(circuit, runs)
    clean, corrupt = runs.ends()
    core = core_scores(runs, circuit.mask()[None], clean, corrupt)[0]
    texts = [side.tokens for each in runs.contrasts for side in (each.clean, each.corrupt)]
    return CircuitEvaluation(
        circuit, core, random_band(runs, circuit, clean, corrupt, n_random, seed), variant_scores(runs, circuit, clean),
        node_minimality(runs, circuit, clean, corrupt), incompleteness(runs, circuit, clean, corrupt, seed=seed),
        refusal(clean, corrupt), model.provenance(texts, seed=seed),
    )  # fmt: skip


def check_shape(circuit: Circuit, runs: CircuitRuns) -> None:
    if (circuit.graph.writers, circuit.graph.readers) != (runs.graph.writers, runs.graph.readers):
        raise CircuitError(
            f"This circuit belongs to a model of {circuit.graph.info.n_layers} layers and {circuit.graph.info.n_heads} heads; "
            f"{runs.graph.info.title} has {runs.graph.info.n_layers} and {runs.graph.info.n_heads}."
        )
    if circuit.by_position and runs.lengths != [circuit.kept.shape[2]]:
        raise CircuitError(
            f"This circuit is one by position, of prompts of {circuit.kept.shape[2]} tokens; these have "
            f"{', '.join(map(str, runs.lengths))}."
        )
