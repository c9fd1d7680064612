"""Many browsers, one model: mixed calls from four threads never see each other."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from explorer.analyses.logit_lens import logit_lens
from explorer.core.sites import Head, MlpOut
from explorer.engine.cache import ByteCache
from explorer.engine.generation import generate
from explorer.engine.interventions import Ablate
from explorer.engine.model import Model, load_model
from explorer.engine.run import run
from tests.conftest import PROMPT, TWIN

pytestmark = pytest.mark.reference

STACKS = [
    (),
    (Ablate(Head(0, 1)),),
    (Ablate(Head(1, 2), "resample", reference=(TWIN,)),),
    (Ablate(MlpOut(1), "mean"),),
    (Ablate(Head(2, 0), positions=(3,)),),
]


def calls(model: Model):
    for stack in STACKS:
        yield lambda stack=stack: run(model, PROMPT, stack).logits
        yield lambda stack=stack: logit_lens(model, TWIN, stack).entropy
        yield lambda stack=stack: np.array(list(generate(model, PROMPT, stack, n_tokens=3)))


@pytest.mark.parametrize("backend", ["auto", "bridge"])
def test_two_hundred_mixed_runs_in_four_threads_none_wrong(tiny_directories, backend) -> None:
    model = load_model(str(tiny_directories["llama"]), backend=backend)
    model.cache = ByteCache(0)  # nothing is remembered: every call computes
    jobs = list(calls(model))
    expected = [job() for job in jobs]
    order = [index for index in range(len(jobs)) for _ in range(200 // len(jobs) + 1)][:200]
    random.Random(0).shuffle(order)
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
