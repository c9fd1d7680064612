"""Sweeps and edge scores beside TransformerLens' own functions: same weights, one process, CPU time of all threads.

    python -m benchmarks.sweeps [--quick]

TransformerLens runs one forward pass a cell, so it is timed on a sample of cells and scaled; the sample's values are
compared with ours.
"""

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pandas as pd
import psutil
import torch
from torch import Tensor

from benchmarks.engine import cpu_seconds
from benchmarks.random_gpt2 import random_gpt2, random_pair
from explorer.engine.edges import EdgeMode
from explorer.engine.edits import Tape
from explorer.engine.gradients import edge_scores, logit_difference
from explorer.engine.model import Model, load_model
from explorer.engine.sweep import run_sweep
from explorer.engine.sweep_plan import SweepPlan, plan_sweep
from explorer.prompts.examples import EXAMPLES, OPENING
from explorer.prompts.tokens import Tokens

SAMPLE = 24
SWEEPS = (("resid_pre", True), ("head_out", False), ("head_out", True))


@dataclass(frozen=True)
class Case:
    name: str
    model: Model
    clean: Tokens
    corrupt: Tokens
    answer: int
    distractor: int


def cases() -> Iterator[Case]:
    model, pair = load_model("smollm2"), EXAMPLES[OPENING].pair
    answer, distractor = model.single_token(pair.answer), model.single_token(pair.distractor)
    others = "When Anna and Peter went to the store, Peter gave a drink to"
    for name, other in (("opening pair", pair.corrupt), ("other names", others)):
        yield Case(f"SmolLM2, {name}", model, model.tokenize(pair.clean), model.tokenize(other), answer, distractor)
    gpt2 = random_gpt2()
    for part_at in (0, 8):
        clean, corrupt = random_pair(16, part_at, gpt2.info.vocab_size)
        yield Case("GPT-2 small's shape", gpt2, clean, corrupt, 1, 2)


def ours(plan: SweepPlan) -> Tensor:
    found = torch.full((len(plan.cells),), torch.nan)
    for part in run_sweep(plan):
        found[part.cells] = part.logits[:, 0, 0] - part.logits[:, 0, 1]
    return found


def plan_of(case: Case, site: str, by_position: bool, **options: Any) -> SweepPlan:
    read = torch.tensor([[case.answer, case.distractor]])
    return plan_sweep(case.model, site, [case.corrupt], [case.clean], by_position=by_position, read=read, **options)


def theirs(case: Case, plan: SweepPlan, site: str, rows: list[int]) -> Callable[[], Tensor]:
    """`transformer_lens.patching.generic_activation_patch`, with its own setters, on some of the cells."""
    from transformer_lens import patching

    bridge = case.model.bridge
    batch = case.model.batch(case.corrupt.ids)
    with torch.no_grad():
        _, cache = bridge.run_with_cache(case.model.batch(case.clean.ids))
    cells = [plan.cells[row] for row in rows]
    if site == "resid_pre":
        setter, name = patching.layer_pos_patch_setter, "resid_pre"
        index = pd.DataFrame([(cell.layer, cell.position) for cell in cells], columns=["layer", "pos"])
    elif cells[0].position is None:
        setter, name = patching.layer_head_vector_patch_setter, "z"
        index = pd.DataFrame([(cell.layer, cell.index) for cell in cells], columns=["layer", "head"])
    else:
        setter, name = patching.layer_pos_head_vector_patch_setter, "z"
        columns = ["layer", "pos", "head"]
        index = pd.DataFrame([(cell.layer, cell.position, cell.index) for cell in cells], columns=columns)

    def metric(logits: Tensor) -> Tensor:
        return logits[0, -1, case.answer] - logits[0, -1, case.distractor]

    def run() -> Tensor:
        with torch.no_grad():
            return torch.as_tensor(
                patching.generic_activation_patch(bridge, batch, cache, metric, setter, name, index_df=index)
            )

    return run


def sweep_row(case: Case, site: str, by_position: bool) -> str:
    plan = plan_of(case, site, by_position)
    rows = torch.linspace(0, len(plan.cells) - 1, SAMPLE).long().tolist()
    run_theirs = theirs(case, plan, site, rows)
    difference = float((ours(plan)[rows] - run_theirs()).abs().max())
    start = time.perf_counter()
    ours(plan)
    wall = time.perf_counter() - start
    mine, other = cpu_seconds(lambda: ours(plan), 2), cpu_seconds(run_theirs, 2) * len(plan.cells) / SAMPLE
    label = site + (" by position" if by_position else " (all positions)")
    return (
        f"| {case.name}, {len(case.clean)} tokens, parting at {plan.groups[0].shared} | {label}, {len(plan.cells):,} | "
        f"{mine:.2f} s | {other:.1f} s | **{other / mine:.1f}** | {wall:.2f} s | {difference:.1e} |"
    )


def edge_row(case: Case) -> str:
    model, batch = case.model, case.model.batch(case.clean.ids)
    score = logit_difference(torch.tensor([case.answer]), torch.tensor([case.distractor]))
    mode = EdgeMode(model, [case.clean], [case.corrupt])
    keep = torch.ones(1, *mode.graph.exists.shape)

    def bridge_forward() -> None:
        with torch.no_grad():
            model.bridge(batch)

    forward = cpu_seconds(bridge_forward, 5)
    own = cpu_seconds(lambda: model.unembed(model.runtime.run(batch, Tape((), ()))), 5)
    scores = cpu_seconds(lambda: edge_scores(EdgeMode(model, [case.clean], [case.corrupt]), score), 3)
    with torch.no_grad():
        circuit = cpu_seconds(lambda: mode.logits(keep), 3)
    return (
        f"| {case.name}, parting at {mode.start} | {mode.graph.n_edges:,} | {scores:.2f} s | {scores / forward:.1f} | "
        f"{scores / own:.1f} | {circuit / forward:.1f} | {circuit / own:.1f} |"
    )


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """MB of resident memory above the start, sampled every 5 ms."""
    process, found, done = psutil.Process(), [0.0], threading.Event()
    start = process.memory_info().rss

    def watch() -> None:
        while not done.wait(0.005):
            found[0] = max(found[0], (process.memory_info().rss - start) / 1e6)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def growth(model: Model) -> Iterator[str]:
    """Heads of every fifth layer of SmolLM2 at growing length; all heads of GPT-2's width at growing depth."""
    for length in (16, 64, 256):
        clean, corrupt = random_pair(length, 0, 40_000)
        case = Case("", model, clean, corrupt, 1, 2)
        plan = plan_of(case, "head_out", False, layers=range(0, 30, 5))
        yield f"| SmolLM2, 54 heads, {length} tokens | {cpu_seconds(lambda: ours(plan), 1):.1f} s |"  # noqa: B023
    for depth in (6, 12, 24):
        clean, corrupt = random_pair(16, 0, 50_000)
        deep = Case("", random_gpt2(depth), clean, corrupt, 1, 2)
        plan = plan_of(deep, "head_out", False)
        yield f"| GPT-2's width, {depth} layers, all {12 * depth} heads, 16 tokens | {cpu_seconds(lambda: ours(plan), 1):.1f} s |"  # noqa: B023


def memory(length: int, budget: int = 512 << 20) -> str:
    """Peak memory of the first chunks of a sweep over all heads under a budget, and what the plan had said."""
    model = load_model("smollm2")
    clean, corrupt = random_pair(length, 0, 40_000)
    plan = plan_of(Case("", model, clean, corrupt, 1, 2), "head_out", False, budget=budget)
    planned = plan.cost.bytes
    with peak_memory() as peak:
        for _ in islice(run_sweep(plan), 4):
            pass
    return f"| {length} tokens | {budget / 1e6:.0f} MB | {planned / 1e6:.0f} MB | {peak[0]:.0f} MB |"


def memory_of_a_fresh_process(length: int) -> str:
    """Memory that an earlier sweep has given back to the allocator would hide what this one takes."""
    command = [sys.executable, "-m", "benchmarks.sweeps", "--memory", str(length)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the two tables of ratios alone")
    parser.add_argument("--memory", type=int, metavar="LENGTH", help="peak memory at this length alone")
    options = parser.parse_args()
    if options.memory:
        print(memory(options.memory))
        return
    found = list(cases())
    print("| pair | sweep, cells | engine | TransformerLens | ratio | by the clock | largest difference |")
    print("|---|---|---|---|---|---|---|")
    for case in found:
        for site, by_position in SWEEPS:
            print(sweep_row(case, site, by_position), flush=True)
    print(
        "\n| all edge scores (EAP) | edges | CPU | in forward passes of the bridge | of our own | one circuit run | of our own |"
    )
    print("|---|---|---|---|---|---|---|")
    for case in found:
        print(edge_row(case), flush=True)
    if not options.quick:
        print("\n| growth | CPU |\n|---|---|")
        for line in growth(found[0].model):
            print(line, flush=True)
        print("\n| peak memory | budget | as planned | as measured |\n|---|---|---|---|")
        for length in (256, 1024):
            print(memory_of_a_fresh_process(length), flush=True)


if __name__ == "__main__":
    main()
