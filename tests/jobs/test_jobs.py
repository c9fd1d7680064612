"""The job service: results equal the function's own, nothing finished is lost, cancel, resume, queue, turns."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import explorer as ex
from explorer.circuits.discovery import Discovery, DiscoverySpec
from explorer.jobs import service as services
from explorer.jobs.kinds import read_spec as read_any
from explorer.jobs.kinds import run_shard
from explorer.jobs.kinds import write_spec as write_any
from explorer.jobs.patching import PatchingSpec, read_spec, shards_of, write_spec
from explorer.jobs.service import JobService
from explorer.jobs.store import Store
from explorer.jobs.turns import Rank, give_way, taking_turn
from tests.conftest import PROMPT, TWIN

NAMES = ("Mary", "John", "Anna", "Peter", "Tom", "James")


def pairs_of(count: int) -> tuple[ex.ContrastPair, ...]:
    """Pairs of two lengths."""
    found = [
        ex.ContrastPair(PROMPT, TWIN, " a", " the"),
        ex.ContrastPair("The keys to the cabinet", "The store to the cabinet", " a", " the"),
    ]
    texts = ["cabinet", "store", "keys", "table", "city"]
    for number in range(count - 2):
        word, other = texts[number % 5], texts[(number + 1) % 5]
        found.append(
            ex.ContrastPair(
                f"The {word} to the {NAMES[number % 6]}", f"The {other} to the {NAMES[number % 6]}", " a", " the"
            )
        )
    return tuple(dict.fromkeys(found))


def spec_of(model: ex.Model, count: int = 8, **more) -> PatchingSpec:
    lengths = {pair: len(model.tokenize(pair.clean)) - len(model.tokenize(pair.corrupt)) for pair in pairs_of(count)}
    pairs = tuple(pair for pair, gap in lengths.items() if gap == 0)
    return PatchingSpec(model.info.key, model.info.dtype, model.info.weight_hash, pairs, **more)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "jobs.sqlite")


@pytest.fixture
def service(tiny: ex.Model, store: Store) -> JobService:
    return JobService(lambda name: tiny, store)


def test_a_jobs_result_is_the_functions_own(tiny: ex.Model, service: JobService) -> None:
    stack = (ex.Ablate(ex.Head(0, 1)),)
    spec = spec_of(tiny)
    spec = PatchingSpec(**(vars(spec) | {"stacks": ((stack, stack),) * len(spec.pairs)}))
    job = service.submit(spec, "a title")
    assert service.wait(job, 120) and service.status(job) is None
    stored = service.store.job(job)
    assert (stored.state, stored.done, stored.title) == ("done", len(spec.pairs), "a title")
    found = service.result(job, tiny)
    for way in ("denoising", "noising"):
        alone = ex.activation_patching(tiny, list(spec.pairs), direction=way, interventions=stack)
        assert np.allclose(found.effects[way].by_pair, alone.by_pair, atol=1e-12)
        assert np.allclose(found.effects[way].clean, alone.clean, atol=1e-12)
        assert found.effects[way].axes == alone.axes and found.controls[way].by_pair.shape == alone.by_pair.shape
    some = found.only(np.arange(len(spec.pairs)) < 3)
    assert some.numbers == (0, 1, 2) and len(some.effects["noising"].by_pair) == 3 == len(
        some.controls["noising"].by_pair
    )
    assert np.array_equal(found.right, (alone.clean > 0) & (alone.corrupt < 0))


def test_a_pair_that_is_not_finite_is_named_and_the_others_stand(tiny: ex.Model, service: JobService) -> None:
    spec = spec_of(tiny)
    huge = (ex.Scale(ex.MlpOut(1), 1e300), ex.Scale(ex.Resid(2, "resid_pre"), 1e300))
    stacks = [((), ())] * len(spec.pairs)
    stacks[2] = (huge, huge)
    spec = PatchingSpec(**(vars(spec) | {"stacks": tuple(stacks)}))
    job = service.submit(spec, "")
    assert service.wait(job, 60) and service.store.job(job).state == "done"
    found = service.result(job, tiny)
    assert found.numbers == tuple(number for number in range(len(spec.pairs)) if number != 2)
    assert "pair 3." in found.effects["noising"].notes[-1] and np.isfinite(found.controls["denoising"].by_pair).all()
    alone = ex.activation_patching(tiny, [pair for pair in spec.pairs if pair != spec.pairs[2]], direction="noising")
    assert np.allclose(found.effects["noising"].by_pair, alone.by_pair, atol=1e-12)
    nothing = PatchingSpec(**(vars(spec) | {"stacks": ((huge, huge),) * len(spec.pairs)}))
    job = service.submit(nothing, "")
    assert service.wait(job, 60) and service.store.job(job).state == "done"
    with pytest.raises(ex.ExplorerError, match="no effect to show"):
        service.result(job, tiny)


def test_a_pair_without_a_partner_has_no_control_with_other_prompts(tiny: ex.Model, service: JobService) -> None:
    spec = spec_of(tiny, 8, control="prompts", directions=("noising",))
    alone = [shard for shard in shards_of(tiny, spec) if len(shard) == 1]
    assert alone, "the pairs of this test have one of a length of its own"
    job = service.submit(spec, "")
    assert service.wait(job, 60) and service.store.job(job).state == "done"
    found = service.result(job, tiny)
    missing = set(found.numbers) - set(found.control_numbers)
    assert missing == {number for shard in alone for number in shard}
    assert len(found.controls["noising"].by_pair) == len(found.control_numbers)
    some = found.only(np.arange(len(found.numbers)) != found.control_numbers[0])
    assert some.control_numbers == found.control_numbers[1:] and len(some.controls["noising"].by_pair) == len(
        some.control_numbers
    )


def test_a_spec_survives_its_record(tiny: ex.Model) -> None:
    stack = (ex.Patch(ex.Head(0, 1), TWIN), ex.Noise((1, 2)), ex.Scale(ex.MlpOut(1), 0.5, (3,)))
    spec = PatchingSpec(**(vars(spec_of(tiny)) | {"stacks": (((), stack),) * 8, "control": None}))
    assert read_spec(write_spec(spec)) == spec


def test_finished_pairs_survive_a_cancel_and_are_not_run_again(
    tiny: ex.Model, service: JobService, monkeypatch
) -> None:
    spec, ran = spec_of(tiny), []
    real = run_shard

    def slow(model, spec, numbers, cancelled=None, chunk=0, before=None):
        ran.append(list(numbers))
        if len(ran) == 2:
            assert wait_until(cancelled)
            return None
        return real(model, spec, numbers)

    monkeypatch.setattr("explorer.jobs.executors.run_shard", slow)
    job = service.submit(spec, "")
    assert wait_until(lambda: len(ran) == 2)
    part = service.result(job, tiny)
    assert sorted(part.numbers) == sorted(ran[0])
    service.cancel(job)
    assert service.wait(job, 60)
    stored = service.store.job(job)
    assert stored.state == "cancelled" and stored.done == len(ran[0])
    service.resume(job)
    assert service.wait(job, 60) and service.store.job(job).state == "done"
    assert sorted(number for shard in ran[2:] for number in shard) == sorted(set(range(len(spec.pairs))) - set(ran[0]))


def wait_until(true, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(true())


KILLED = """
import sys, time
from pathlib import Path
import explorer.jobs.executors as executors
from explorer.engine.model import load_model
from explorer.jobs.service import JobService
from explorer.jobs.store import Store
from explorer.jobs.patching import read_spec
import json
model = load_model(sys.argv[1], dtype="float64", progress=lambda *a: None)
real, count = executors.run_shard, 0
def second_never_ends(*arguments):
    global count
    count += 1
    if count == 2:
        print("second", flush=True)
        time.sleep(600)
    return real(*arguments)
executors.run_shard = second_never_ends
service = JobService(lambda name: model, Store(Path(sys.argv[2])))
print(service.submit(read_spec(json.loads(sys.argv[3])), "killed"), flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_a_killed_server_loses_no_finished_pair(tiny: ex.Model, store: Store) -> None:
    import json

    spec = spec_of(tiny)
    arguments = [tiny.info.key, str(store.path), json.dumps(write_spec(spec))]
    process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE, text=True)
    lines = [process.stdout.readline().strip() for _ in range(2)]
    job = next(line for line in lines if line != "second")
    assert store.job(job).state == "running"
    process.kill()
    process.wait()
    left = store.job(job)
    first = len(shards_of(tiny, spec)[0])
    assert left.state == "interrupted" and left.done == first
    service = JobService(lambda name: tiny, store)
    assert len(service.result(job, tiny).numbers) == first
    service.resume(job)
    assert service.wait(job, 60) and store.job(job).state == "done"
    alone = ex.activation_patching(tiny, list(spec.pairs), direction="noising")
    assert np.allclose(service.result(job, tiny).effects["noising"].by_pair, alone.by_pair, atol=1e-12)


def test_one_job_of_a_model_at_a_time(tiny: ex.Model, service: JobService, monkeypatch) -> None:
    under_way, most = [], []

    def counted(*arguments):
        under_way.append(1)
        most.append(len(under_way))
        time.sleep(0.02)
        under_way.pop()
        return run_shard(*arguments[:3])

    monkeypatch.setattr("explorer.jobs.executors.run_shard", counted)
    jobs = [service.submit(spec_of(tiny, 4), str(number)) for number in range(3)]
    assert service.status(jobs[2]).stage == "Waiting for its turn"
    assert all(service.wait(job, 60) for job in jobs) and max(most) == 1
    assert [job.state for job in service.store.jobs()] == ["done"] * 3


def test_a_failure_is_a_sentence(tiny: ex.Model, service: JobService) -> None:
    spec = PatchingSpec(**(vars(spec_of(tiny)) | {"by_position": True}))
    job = service.submit(spec, "")
    assert service.wait(job, 60)
    assert service.store.job(job).state == "failed" and "equally long" in service.store.job(job).error
    other = PatchingSpec(**(vars(spec_of(tiny)) | {"weight_hash": "another"}))
    job = service.submit(other, "")
    assert service.wait(job, 60) and "other weights" in service.store.job(job).error
    with pytest.raises(ex.ExplorerError, match="no job"):
        service.store.spec("nothing")


def test_the_store_says_what_it_cannot_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ex.ExplorerError, match="cannot be used"):
        Store(tmp_path / "file" / "jobs.sqlite").jobs()
    broken = tmp_path / "jobs.sqlite"
    broken.write_bytes(b"not a database" * 100)
    with pytest.raises(ex.ExplorerError, match="cannot be used"):
        Store(broken).jobs()


def test_old_jobs_go_and_others_can_be_deleted(store: Store, monkeypatch) -> None:
    monkeypatch.setattr("explorer.jobs.store.KEPT_JOBS", 2)
    names = [store.add(str(number), "m", {}, 1) for number in range(3)]
    for name in names:
        store.set_state(name, "done")
        store.save(name, 0, 1, {"clean": np.zeros(1)})
    store.add("last", "m", {}, 1)
    assert len(store.jobs()) == 3 and store.jobs()[0].title == "last"
    store.delete(names[2])
    assert names[2] not in {job.id for job in store.jobs()} and store.shards(names[2]) == {}


def test_lower_ranks_wait_for_pages() -> None:
    order = []
    with taking_turn(Rank.PAGE):
        thread = threading.Thread(target=lambda: (give_way(Rank.DATASET), order.append("dataset")))
        thread.start()
        time.sleep(0.1)
        order.append("page")
        give_way(Rank.PAGE)
    thread.join(5)
    assert order == ["page", "dataset"]


def test_nothing_starves(monkeypatch) -> None:
    monkeypatch.setattr("explorer.jobs.turns.LONGEST_WAIT", 0.1)
    with taking_turn(Rank.LIVE):
        start = time.monotonic()
        give_way(Rank.DATASET)
        assert 0.05 < time.monotonic() - start < 2


def test_time_left_is_told() -> None:
    job = services.Running("x", "m", 100, done=30, first=10, started=time.monotonic() - 20)
    assert job.left == "about 70 s left" and job.fraction == 0.3
    assert services.Running("x", "m", 100).left == "…"


def discovery_of(model: ex.Model, method: str, **more) -> DiscoverySpec:
    pairs = tuple(pair for pair in pairs_of(6) if len(model.tokenize(pair.clean)) == len(model.tokenize(pair.corrupt)))
    return DiscoverySpec(model.info.key, model.info.dtype, model.info.weight_hash, pairs, method, **more)


SLOW = [pytest.param(method, marks=pytest.mark.slow) for method in ("acdc", "edge-pruning")]


@pytest.mark.parametrize("method", ["eap", *SLOW])
def test_a_discovery_is_cancelled_kept_and_resumed(tiny: ex.Model, service: JobService, monkeypatch, method) -> None:
    """Sequential methods go on from the last piece; what is found is what one go finds."""
    spec = discovery_of(tiny, method, steps=100, target=20, threshold=1e-4)
    alone = Discovery(tiny, spec)
    pieces, ran = alone.pieces(), []
    real = run_shard

    def stops(model, spec, numbers, cancelled=None, chunk=0, before=None):
        ran.append(list(numbers))
        if len(ran) == 2:
            return None
        return real(model, spec, numbers, before=before)

    monkeypatch.setattr("explorer.jobs.executors.run_shard", stops)
    job = service.submit(spec, "found", sum(map(len, pieces)))
    assert service.wait(job, 60)
    left = service.store.job(job)
    assert left.done == len(pieces[0]) and left.kind == "DiscoverySpec"
    assert (service.result(job, tiny) is None) == (method != "eap")
    service.resume(job)
    assert service.wait(job, 120) and service.store.job(job).state == "done"
    assert ran[2] == pieces[1]  # the first is not run again
    found = service.result(job, tiny)
    assert np.allclose(found.by_pair, alone.run().by_pair, atol=1e-7)
    assert service.store.same(write_any(spec)) == job
    if method != "eap":  # only the newest state is kept
        assert sum(bool(arrays) for arrays in service.store.shards(job).values()) == 1


def test_a_record_of_an_unknown_kind_is_said(store: Store) -> None:
    with pytest.raises(ex.ExplorerError, match="does not know"):
        read_any({"type": "Magic"})
