"""Circuits of SmolLM2 on IOI: time and memory of discovery, faithfulness by size, held-out, against random circuits; one process.

python -m benchmarks.circuits [--pairs 60] [--model smollm2]
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.engine import cpu_seconds
from benchmarks.sweeps import peak_memory
from explorer.analyses.task_pairs import task_pairs
from explorer.circuits.curves import faithfulness_curves
from explorer.circuits.discovery import edge_attribution
from explorer.circuits.edge_scores import TITLES, EdgeScores, Method
from explorer.circuits.evaluation import core_scores, node_minimality, random_band, variant_scores
from explorer.circuits.runs import CircuitRuns
from explorer.circuits.stability import compare, held_out, stability
from explorer.engine.edges import EdgeMode
from explorer.engine.edits import Tape
from explorer.engine.gradients import edge_scores, logit_difference
from explorer.engine.model import Model, load_model

METHODS: tuple[Method, ...] = ("eap", "eap-ig")
LEVEL = 0.8


def timed(name: str, work: Callable[[], Any]) -> Any:
    with peak_memory() as peak:
        start = time.perf_counter()
        found = work()
        seconds = time.perf_counter() - start
    print(f"| {name} | {seconds:.1f} s | +{peak[0]:,.0f} MB |", flush=True)
    return found


def one_pair(model: Model, runs: CircuitRuns) -> None:
    """EAP and one circuit run of a pair that differs from the first token on, in forward passes of both prompts' length."""
    contrast = runs.contrasts[0]
    tokens, other = contrast.clean.tokens, contrast.corrupt.tokens
    ids = model.batch(tokens.ids)
    forward = cpu_seconds(lambda: model.runtime.run(ids, Tape((), ())), 10)
    mode = EdgeMode(model, [tokens], [other], whole=True)
    score = logit_difference(torch.tensor([contrast.read[0]]), torch.tensor([contrast.read[1]]))
    eap = cpu_seconds(lambda: edge_scores(EdgeMode(model, [tokens], [other], whole=True), score), 5)
    mask = mode.graph.exists.float()[None]

    def masked() -> None:
        with torch.no_grad():
            mode.logits(mask, torch.tensor([contrast.read]))

    circuit = cpu_seconds(masked, 5)
    print(f"\n{len(tokens)} tokens, all positions: one forward pass {forward:.3f} CPU-s; all edge scores (EAP) {eap / forward:.1f} forward passes; one circuit run {circuit / forward:.1f}.")  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pairs", type=int, default=60)
    options.add_argument("--model", default="smollm2")
    options.add_argument("--nodes", action="store_true", help="also minimality of every node")
    chosen = options.parse_args()
    model = load_model(chosen.model)
    drawn, others = (task_pairs(model, "ioi", chosen.pairs, seed=seed) for seed in (0, 1))
    runs, unseen = CircuitRuns(model, drawn.right), CircuitRuns(model, others.right)
    print(
        f"{model.info.title}: {len(drawn.right)} of {len(drawn.pairs)} IOI pairs are right; {len(others.right)} others, held out."
    )
    one_pair(model, runs)
    print("\n| work | time | memory |\n|---|---|---|")
    found: dict[str, EdgeScores] = {}
    for method in METHODS:
        work = partial(edge_attribution, model, drawn.right, method=method)
        found[TITLES[method]] = timed(f"{TITLES[method]} of all edges", work)
    curves = timed(
        "faithfulness at all sizes, both methods and random circuits", lambda: faithfulness_curves(runs, found)
    )
    print("\n" + curves.frame.drop(columns=["share", "on_grid"]).round(3).to_string(index=False))
    ends, unseen_ends = runs.ends(), unseen.ends()
    for title, scores in found.items():
        residual = "" if scores.residual is None else f", completeness residual {scores.residual:.3f}"
        print(f"\n{title}: CPR, CMD {curves.area(title)}; smallest circuit above {LEVEL:.0%}: {curves.smallest_above(title, LEVEL)} edges{residual}")  # fmt: skip
        rows = curves.frame[curves.frame["method"] == title]
        small = rows[rows["edges"] == curves.smallest_above(title, LEVEL)].iloc[0]
        report(scores, int(small["chosen"]), runs, unseen, ends, unseen_ends, chosen.nodes)
    first, second = found.values()
    print(f"\nOverlap of the two methods at {int(small['chosen'])} edges: {compare(first.circuit(int(small['chosen'])), second.circuit(int(small['chosen']))).edges:.2f}")  # fmt: skip


def report(
    scores: EdgeScores, top: int, runs: CircuitRuns, unseen: CircuitRuns, ends: Any, unseen_ends: Any, nodes: bool
) -> None:
    circuit = scores.circuit(top)
    here = core_scores(runs, circuit.mask()[None], *ends)[0]
    there = core_scores(unseen, circuit.mask()[None], *unseen_ends)[0]
    band = timed("20 random circuits, three scores each", lambda: random_band(runs, circuit, *ends))
    for name in ("faithfulness", "reverse", "completeness"):
        score, values = getattr(here, name), getattr(band, name)
        low, high = score.interval
        print(f"{name}: {score.value:.3f} [{low:.3f}, {high:.3f}], held-out pairs {getattr(there, name).value:.3f}, random {values.min():.3f} to {values.max():.3f}, p {band.p_value(score.value, name):.2f}")  # fmt: skip
    print(variant_scores(runs, circuit, ends[0]).round(3).to_string(index=False))
    halves, resampled = held_out(scores, runs, top), stability(scores, top)
    print(f"found on one half: {halves.found_on:.3f} there, {halves.held_out:.3f} on the other half, overlap {halves.overlap:.2f}; bootstrap Jaccard {resampled.mean:.2f} ({np.quantile(resampled.jaccard, 0.025):.2f} to {np.quantile(resampled.jaccard, 0.975):.2f})")  # fmt: skip
    if nodes:
        table = timed(f"minimality of {len(circuit.nodes)} nodes", lambda: node_minimality(runs, circuit, *ends))
        print(table.head(12).round(3).to_string(index=False), f"\nbelow 1 %: {(table['loss'].abs() < 0.01).sum()}")


if __name__ == "__main__":
    main()
