"""The engine beside TransformerLens' bridge, in one process, on one set of weights: ratios of CPU time.

    python -m benchmarks.engine [--model smollm2] [--repeats 10]

Each row runs the same thing on both and checks that the numbers agree.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from explorer.core.sites import Head, Kind
from explorer.engine.backends import Bridge
from explorer.engine.cache import ByteCache
from explorer.engine.edits import Tape
from explorer.engine.interventions import Ablate
from explorer.engine.model import Model, load_model
from explorer.prompts.examples import EXAMPLES, OPENING

VIEWS: tuple[Kind, ...] = ("pattern", "resid_post")


def cpu_seconds(work: Callable[[], Any], repeats: int) -> float:
    """CPU seconds of one call, all threads together: the best of `repeats`, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def rows(model: Model, repeats: int) -> list[tuple[str, float, float, float]]:
    """Name, engine's and bridge's CPU seconds, and the largest difference of a final residual value."""
    tokens = model.tokenize(EXAMPLES[OPENING].pair.clean)
    batch = model.batch(tokens.ids)
    bridge = Bridge(model.bridge)
    layer = 23 * model.info.n_layers // 30
    stack = (Ablate(Head(layer, model.info.n_heads // 3)),)
    edits = model.edits(tokens, stack)
    base = model.activations(tokens, (), VIEWS)

    def resumed() -> Tensor:
        model.cache = ByteCache(1 << 30)
        model.cache.put(model.run_key(tokens), base, base.nbytes())
        return model.activations(tokens, stack, VIEWS).final

    def bridge_cache() -> Tensor:
        with torch.no_grad():
            _, cache = model.bridge.run_with_cache(batch)
        return torch.as_tensor(cache["resid_post", model.info.n_layers - 1])[0]

    pairs: list[tuple[str, Callable[[], Tensor], Callable[[], Tensor]]] = [
        (
            "plain run",
            lambda: model.runtime.run(batch, Tape((), ()))[0],
            lambda: bridge.run(batch, Tape((), ()))[0],
        ),
        (
            "all patterns and residual streams (bridge: run_with_cache)",
            lambda: model.runtime.run(batch, Tape((), VIEWS))[0],
            bridge_cache,
        ),
        (
            f"the same under an ablated head of layer {layer}, as a click computes it (bridge: hooks)",
            resumed,
            lambda: bridge.run(batch, Tape(edits, VIEWS))[0],
        ),
    ]
    found = []
    for name, ours, theirs in pairs:
        difference = (ours() - theirs()).abs().max().item()
        found.append((name, cpu_seconds(ours, repeats), cpu_seconds(theirs, repeats), difference))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    model = load_model(options.model)
    print(f"{options.model}, {torch.get_num_threads()} threads, CPU milliseconds")
    for name, ours, theirs, difference in rows(model, options.repeats):
        print(
            f"{name}: engine {1000 * ours:.0f}, bridge {1000 * theirs:.0f}, ratio {theirs / ours:.1f}; largest difference {difference:.1e}"
        )


if __name__ == "__main__":
    main()
