"""Patching over a dataset beside TransformerLens: SmolLM2, 100 IOI pairs, every head, exact; one process, one run.

    python -m benchmarks.patching [--pairs 100]

TransformerLens runs one forward pass a cell, so it is timed on a sample of cells of each of some pairs and scaled; the sample's
values are compared with ours.
"""

import argparse
import time
from typing import Any

import numpy as np
import torch

from benchmarks.engine import cpu_seconds
from benchmarks.sweeps import SAMPLE, peak_memory
from explorer.analyses.activation_patching import activation_patching
from explorer.analyses.attribution_patching import attribution_patching
from explorer.analyses.task_pairs import task_pairs
from explorer.core.pairs import ContrastPair
from explorer.engine.model import Model, load_model

TIMED_PAIRS = 5


def theirs(model: Model, pair: ContrastPair, cells: list[tuple[int, int]]) -> tuple[float, np.ndarray]:
    """Seconds of `generic_activation_patch` on some heads of one pair, and its patched logit differences."""
    import pandas as pd
    from transformer_lens import patching

    bridge: Any = model.bridge
    corrupt = model.batch(model.tokenize(pair.corrupt).ids)
    answer, distractor = model.single_token(pair.answer), model.single_token(pair.distractor)
    with torch.no_grad():
        _, cache = bridge.run_with_cache(model.batch(model.tokenize(pair.clean).ids))
    index = pd.DataFrame(cells, columns=["layer", "head"])

    def metric(logits: torch.Tensor) -> torch.Tensor:
        return logits[0, -1, answer] - logits[0, -1, distractor]

    start = time.perf_counter()
    with torch.no_grad():
        found = patching.generic_activation_patch(
            bridge, corrupt, cache, metric, patching.layer_head_vector_patch_setter, "z", index_df=index
        )
    return time.perf_counter() - start, np.asarray(found)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pairs", type=int, default=100)
    count = options.parse_args().pairs
    model = load_model("smollm2")
    pairs = list(task_pairs(model, "ioi", count).pairs)
    with peak_memory() as peak:
        start = time.perf_counter()
        ours = activation_patching(model, pairs)
        wall = time.perf_counter() - start
    estimate_cpu = cpu_seconds(lambda: attribution_patching(model, pairs[0]), 3)
    n_cells = ours.raw.size
    rows = np.linspace(0, n_cells - 1, SAMPLE).astype(int)
    cells = [(int(row) // model.info.n_heads, int(row) % model.info.n_heads) for row in rows]
    seconds, worst = [], 0.0
    for number in np.linspace(0, count - 1, TIMED_PAIRS).astype(int):
        spent, found = theirs(model, pairs[number], cells)
        seconds.append(spent * n_cells / SAMPLE)
        mine = ours.by_pair[number].ravel()[rows] + ours.corrupt[number]
        worst = max(worst, float(np.abs(mine - found).max()))
    other = float(np.mean(seconds))
    print(
        f"{count} IOI pairs, {n_cells} heads, denoising: {wall:.1f} s, {count / wall:.2f} pairs a second, peak memory +{peak[0]:,.0f} MB"
    )
    print(
        f"TransformerLens: {other:.1f} s a pair ({SAMPLE} heads of {TIMED_PAIRS} pairs timed), {1 / other:.3f} pairs a second"
    )
    print(f"ratio {other * count / wall:.1f}; largest difference of a patched logit difference {worst:.1e}")
    print(f"attribution patching of one pair, all heads: {estimate_cpu:.2f} s of CPU")


if __name__ == "__main__":
    main()
