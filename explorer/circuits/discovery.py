"""Circuit discovery: a plain value that says what is done, pieces of work that can be kept and resumed, and their result.

Methods that score pairs one by one have a piece for some pairs of one length; ACDC one for the edges into some readers, and
edge pruning one for some steps, each of which goes on from the piece before it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch

from explorer.circuits import acdc, edge_pruning
from explorer.circuits.circuit import Circuit
from explorer.circuits.edge_scores import EdgeScores, Method, circuit_of
from explorer.circuits.gradient_scores import score_pairs
from explorer.circuits.runs import CircuitRuns
from explorer.core.errors import CircuitError, JobError
from explorer.core.pairs import ContrastPair
from explorer.core.records import from_record, to_record
from explorer.engine.model import Model
from explorer.engine.sweep import never
from explorer.models.info import Progress
from explorer.prompts.tokens import Bos

Arrays = dict[str, np.ndarray]
SEQUENTIAL: tuple[Method, ...] = ("acdc", "edge-pruning")
STEPS: dict[Method, int] = {"eap": 1, "eap-ig": 20, "mask-gradient": 20, "exact": 1, "acdc": 1, "edge-pruning": 300}
LARGEST_RESULT = 200_000_000
"""Bytes of scores by position."""
PRUNING_PIECE = 25
"""Steps of edge pruning between two states that are kept."""
MASKED_RUN, GRADIENT_RUN = 1.7, 6.0
"""Forward passes' worth of a run under a mask, and of one with gradients, measured."""


@dataclass(frozen=True)
class DiscoverySpec:
    """Everything that decides the result."""

    model: str
    dtype: str
    weight_hash: str
    pairs: tuple[ContrastPair, ...]
    method: Method = "eap-ig"
    steps: int = 20
    """Midpoints of EAP-IG and the mask gradient; training steps of edge pruning."""
    by_position: bool = False
    threshold: float = 0.01
    """ACDC: the rise of the divergence, in nats, from which an edge is kept."""
    target: int = 100
    """Edge pruning: how many edges are to be kept."""
    seed: int = 0
    bos: Bos = "default"


SPEC_TYPES: dict[str, type] = {"DiscoverySpec": DiscoverySpec, "ContrastPair": ContrastPair}


def write_spec(spec: DiscoverySpec) -> Any:
    return to_record(spec)


def read_spec(record: Any) -> DiscoverySpec:
    """Inverse of `write_spec`; `StateError` for a record that does not fit."""
    spec: DiscoverySpec = from_record(record, SPEC_TYPES)
    return spec


def checked(spec: DiscoverySpec) -> DiscoverySpec:
    if spec.method not in get_args(Method):
        raise CircuitError(f"Unknown method {spec.method!r}: choose {', '.join(get_args(Method))}.")
    if spec.by_position and spec.method in SEQUENTIAL:
        raise CircuitError(f"{spec.method} by position is not offered; EAP, EAP-IG, mask gradient and exact are.")
    if spec.steps < 1 or spec.target < 1 or not spec.threshold >= 0:
        raise CircuitError("Steps and target are whole numbers from 1 on, the threshold a number from 0 on.")
    return spec


class Discovery:
    """A discovery on a loaded model: its pieces of work and how they join."""

    def __init__(self, model: Model, spec: DiscoverySpec) -> None:
        """Raises `CircuitError`, `JobError` (other weights), and as `CircuitRuns`."""
        if model.info.weight_hash != spec.weight_hash:
            raise JobError(f"{spec.model} has other weights here than where this job was made.")
        self.model, self.spec = model, checked(spec)
        self.runs = CircuitRuns(model, spec.pairs, bos=spec.bos)
        if spec.by_position and len(self.runs.lengths) > 1:
            raise CircuitError(
                f"By position, all prompts must be equally long; these have {', '.join(map(str, self.runs.lengths))} tokens."
            )

        size = 4 * self.n_edges * self.runs.lengths[-1] * len(self.runs)
        if spec.by_position and size > LARGEST_RESULT:
            raise CircuitError(
                f"By position, the scores of {len(self.runs)} pairs would take {size / 1e6:,.0f} MB, more than the "
                f"{LARGEST_RESULT / 1e6:,.0f} MB that are kept. Take fewer pairs, or all positions together."
            )

    @property
    def n_edges(self) -> int:
        return self.runs.graph.n_edges

    def pieces(self) -> list[list[int]]:
        """What each piece of work does: numbers of pairs, of edges in the order of ACDC, or of steps."""
        match self.spec.method:
            case "acdc":
                readers: dict[int, list[int]] = {}
                for number, (reader, _) in enumerate(acdc.visiting_order(self.runs)):
                    readers.setdefault(reader, []).append(number)
                return list(readers.values())
            case "edge-pruning":
                ends = range(0, self.spec.steps, PRUNING_PIECE)
                return [list(range(first, min(first + PRUNING_PIECE, self.spec.steps))) for first in ends]
        return self.runs.chunks

    def run_piece(
        self, work: Sequence[int], before: Arrays | None, cancelled: Callable[[], bool] = never
    ) -> Arrays | None:
        """One piece; `before` is the result of the piece before it, which sequential methods go on from.  None: cancelled."""
        match self.spec.method:
            case "acdc":
                return self.acdc_piece(work, before, cancelled)
            case "edge-pruning":
                return self.pruning_piece(work, before, cancelled)
        chosen = [self.runs.pairs[pair] for pair in work]
        part = CircuitRuns(self.model, chosen, bos=self.spec.bos, budget=self.runs.budget)
        scores = score_pairs(part, self.spec.method, self.spec.steps, self.spec.by_position, cancelled)
        if scores is None:
            return None
        clean, corrupt = part.ends()
        return {"scores": scores, "clean": clean, "corrupt": corrupt}

    def acdc_piece(self, work: Sequence[int], before: Arrays | None, cancelled: Callable[[], bool]) -> Arrays | None:
        kept = self.runs.graph.exists.float() if before is None else torch.from_numpy(before["kept"].copy())
        scores = (
            np.zeros(tuple(self.runs.graph.exists.shape), dtype=np.float32)
            if before is None
            else before["scores"].copy()
        )
        order = acdc.visiting_order(self.runs)
        rises = acdc.acdc_part(self.runs, [order[number] for number in work], kept, self.spec.threshold, cancelled)
        if rises is None:
            return None
        for (reader, writer), rise in rises.items():
            scores[reader, writer] = max(rise, 1e-12)  # a threshold of 0 keeps edges whose rise is 0
        return {"kept": kept.numpy(), "scores": scores}

    def pruning_piece(self, work: Sequence[int], before: Arrays | None, cancelled: Callable[[], bool]) -> Arrays | None:
        state = edge_pruning.begin(self.n_edges) if before is None else edge_pruning.restored(before, work[0])
        spec = self.spec
        if not edge_pruning.train(self.runs, state, work[-1] + 1, spec.steps, spec.target, spec.seed, cancelled):
            return None
        return edge_pruning.kept_arrays(state)

    def result(self, pieces: Mapping[int, Arrays]) -> EdgeScores | None:
        """Of the pieces that are there; None where that is not enough (sequential methods need all)."""
        works = self.pieces()
        if not pieces or (self.spec.method in SEQUENTIAL and len(pieces) < len(works)):
            return None
        index = self.runs.graph.exists.nonzero()
        if self.spec.method in SEQUENTIAL:
            last = pieces[len(works) - 1]
            clean, corrupt = self.runs.ends()
            if self.spec.method == "acdc":
                flat = last["scores"][index[:, 0], index[:, 1]]
            else:
                flat = edge_pruning.kept_scores(edge_pruning.restored(last), self.spec.target).numpy()
            return self.scores(flat[None, :, None], clean, corrupt)
        order = np.argsort([pair for number in sorted(pieces) for pair in works[number]])
        joined = {name: np.concatenate([pieces[number][name] for number in sorted(pieces)])[order] for name in ("scores", "clean", "corrupt")}  # fmt: skip
        return self.scores(joined["scores"], joined["clean"], joined["corrupt"])

    def scores(self, by_pair: np.ndarray, clean: np.ndarray, corrupt: np.ndarray) -> EdgeScores:
        complete = self.spec.method in ("eap-ig", "mask-gradient")
        texts = [side.tokens for each in self.runs.contrasts for side in (each.clean, each.corrupt)]
        return EdgeScores(
            self.spec.method, self.runs.graph, by_pair, clean, corrupt, corrupt - clean if complete else None,
            self.spec.by_position, self.model.provenance(texts, seed=self.spec.seed),
        )  # fmt: skip

    def run(self, progress: Progress | None = None) -> EdgeScores:
        """All pieces, one after the other."""
        done: dict[int, Arrays] = {}
        pieces = self.pieces()
        for number, work in enumerate(pieces):
            if progress is not None:
                progress(number / len(pieces), f"{self.spec.method}: piece {number + 1} of {len(pieces)}")
            made = self.run_piece(work, done.get(number - 1))
            assert made is not None  # nothing cancels it here
            done[number] = made
        found = self.result(done)
        assert found is not None
        return found

    def forwards(self) -> float:
        """What the whole discovery costs, in forward passes of one whole prompt: what cannot differ is run once alone."""
        spec, n = self.spec, len(self.runs)
        places = self.runs.lengths[-1] if spec.by_position else 1
        changing = self.changing_share()
        match spec.method:
            case "eap":
                return (1 + 3 * changing) * n
            case "eap-ig":
                return (2 + 2.5 * changing * spec.steps) * n
            case "mask-gradient":
                return (1 + GRADIENT_RUN * changing * spec.steps) * n
            case "edge-pruning":
                return GRADIENT_RUN * changing * spec.steps * n / len(self.runs.chunks)
        return MASKED_RUN * changing * self.n_edges * places * n

    def changing_share(self) -> float:
        """The share of positions from the first on that differs between clean and corrupt prompt."""
        shares = []
        for each in self.runs.contrasts:
            clean, corrupt = each.clean.tokens.ids, each.corrupt.tokens.ids
            same = next((at for at, (one, other) in enumerate(zip(clean, corrupt, strict=True)) if one != other), 0)
            shares.append(1 - same / len(clean))
        return sum(shares) / len(shares)


def edge_attribution(
    model: Model,
    pairs: ContrastPair | Sequence[ContrastPair],
    *,
    method: Method = "eap-ig",
    steps: int | None = None,
    by_position: bool = False,
    threshold: float = 0.01,
    target: int = 100,
    seed: int = 0,
    bos: Bos = "default",
    progress: Progress | None = None,
) -> EdgeScores:
    """The score of every edge of a model's graph on contrast pairs.  Arguments and errors as `discover_circuit`."""
    chosen = (pairs,) if isinstance(pairs, ContrastPair) else tuple(pairs)
    spec = DiscoverySpec(
        model.info.key, model.info.dtype, model.info.weight_hash, chosen, method, steps or STEPS.get(method, 1), by_position,
        float(threshold), target, seed, bos,
    )  # fmt: skip
    return Discovery(model, checked(spec)).run(progress)


def discover_circuit(
    model: Model,
    pairs: ContrastPair | Sequence[ContrastPair],
    *,
    method: Method = "eap-ig",
    keep: float | int | None = None,
    steps: int | None = None,
    by_position: bool = False,
    threshold: float = 0.01,
    target: int = 100,
    seed: int = 0,
    bos: Bos = "default",
    progress: Progress | None = None,
) -> Circuit:
    """Find a circuit for a task given as contrast pairs: edges between the embedding, heads (q, k, v), MLPs and the logits.

    It is a proposal: `evaluate_circuit` says whether it does what the model does.

    Args:
        method: "eap" (Syed et al. 2023), "eap-ig" (Hanna et al. 2024), "mask-gradient" (Miller et al. 2024), "exact" (each edge
            corrupted by itself: slow), "acdc" (Conmy et al. 2023) or "edge-pruning" (Bhaskar et al. 2024).
        keep: a share of the summed |score| (a float up to 1.0), or a number of edges (a whole number).  None: 0.9 for methods
            that rank, the method's own choice for ACDC and edge pruning.
        steps: midpoints of EAP-IG and the mask gradient (20), training steps of edge pruning (300).
        by_position: every position of the reader is an edge of its own; prompts of one length.
        threshold: ACDC: rise of KL(model ‖ graph), nats, from which an edge is kept.
        target: edge pruning: how many edges are kept.

    Raises `CircuitError` (unknown method, lengths that differ), `PairError`, `AnswerError`, `PromptError`; `BridgeError` where
    the engine does not run the model.
    """
    found = edge_attribution(
        model, pairs, method=method, steps=steps, by_position=by_position, threshold=threshold, target=target, seed=seed,
        bos=bos, progress=progress,
    )  # fmt: skip
    if keep is None:
        keep = found.natural if found.natural is not None else 0.9
    return circuit_of(found, keep)
