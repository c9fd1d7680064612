"""Many browsers, one model: mixed calls from four threads never see each other."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from explorer.analyses.activation_patching import activation_patching
from explorer.analyses.lens import logit_lens
from explorer.core.pairs import ContrastPair
from explorer.core.sites import Edge, Head, HeadPart, Logits, MlpOut
from explorer.engine.cache import ByteCache
from explorer.engine.edges import EdgeMode
from explorer.engine.generation import generate
from explorer.engine.gradients import edge_scores, logit_difference
from explorer.engine.interventions import Ablate, EdgePatch, Freeze, Patch, Scale
from explorer.engine.model import Model, load_model
from explorer.engine.run import run
from tests.conftest import PROMPT, TWIN

pytestmark = pytest.mark.reference

STACKS = [
    (),
    (Ablate(Head(0, 1)), Freeze(MlpOut(2))),
    (Patch(Head(1, 2), TWIN),),
    (Ablate(MlpOut(1), "mean"), Scale(HeadPart(1, 0, "q"), 2.0)),
    (Ablate(Head(2, 0), positions=(3,)),),
]
PAIR = ContrastPair(PROMPT, TWIN, " a", " the")


def calls(model: Model):
    """Plain runs, interventions, captures, the lens, generation, sweeps; on the engine edges and gradients too."""
    for stack in STACKS:
        yield lambda stack=stack: run(model, PROMPT, stack).logits
        yield lambda stack=stack: logit_lens(model, TWIN, stack).entropy
        yield lambda stack=stack: np.array(list(generate(model, PROMPT, stack, n_tokens=3)))
        yield lambda stack=stack: activation_patching(model, PAIR, layers=(1,), interventions=stack).raw
    if model.backend == "engine":
        score = logit_difference(torch.tensor([5]), torch.tensor([9]))
        clean, corrupt = [model.tokenize(PROMPT)], [model.tokenize(TWIN)]
        yield lambda: edge_scores(EdgeMode(model, clean, corrupt), score)[0].numpy()  # noqa: PLW0108
        yield lambda: run(model, PROMPT, [EdgePatch(Edge(Head(0, 1), Logits()), TWIN)]).logits


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "n_calls"), [("auto", 800), ("bridge", 200)])
def test_mixed_calls_in_four_threads_none_wrong(tiny_directories, backend, n_calls: int) -> None:
    model = load_model(str(tiny_directories["llama"]), backend=backend)
    model.cache = ByteCache(0)  # nothing is remembered: every call computes
    jobs = list(calls(model))
    expected = [job() for job in jobs]
    order = [index for index in range(len(jobs)) for _ in range(n_calls // len(jobs) + 1)]
    random.Random(0).shuffle(order)
    order = order[:n_calls]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda index: jobs[index](), order))
    wrong = sum(not np.allclose(result, expected[index], atol=1e-4) for index, result in zip(order, found, strict=True))
    assert wrong == 0


@pytest.mark.unit
def test_the_cache_keeps_its_budget() -> None:
    cache = ByteCache(100)
    for number in range(10):
        cache.put(number, number, 30)
    assert cache.used == 90 and cache.get(0) is None and cache.get(9) == 9
    cache.put("huge", 1, 101)
    assert cache.get("huge") is None and cache.used == 90
    assert cache.get_or_make("new", lambda: 5, lambda value: 10) == 5
    assert 0 < cache.hit_rate < 1
