"""The same jobs on a real Ray cluster of two worker processes: equal results, and a lost worker's shard is run again."""

import os
import threading
import time

import numpy as np
import psutil
import pytest

import explorer as ex
from explorer.jobs.executors import started_ray
from explorer.jobs.service import JobService
from explorer.jobs.store import Store
from tests.jobs.test_jobs import spec_of

ray = pytest.importorskip("ray", reason="Ray is an optional extra")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Two workers on this machine, reached as a user's own cluster is: by RAY_ADDRESS."""
    made = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    address = made.address_info["address"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", address)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield address
    ray.shutdown()


def workers() -> list[psutil.Process]:
    """Processes that run a shard."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if line.startswith("ray::work"):
            found.append(process)
    return found


def test_results_equal_the_local_ones(tiny_models, tmp_path) -> None:
    model = tiny_models["llama"]
    spec = spec_of(model, 24)
    results = []
    for executor in ("local", "ray"):
        service = JobService(lambda name: model, Store(tmp_path / f"{executor}.sqlite"), executor)
        job = service.submit(spec, "")
        assert service.wait(job, 180)
        assert service.store.job(job).state == "done", service.store.job(job).error
        results.append(service.result(job, model))
    for way in ("denoising", "noising"):
        local, far = (result.effects[way].by_pair for result in results)
        assert np.abs(local - far).max() < 1e-6
        assert np.abs(results[0].controls[way].by_pair - results[1].controls[way].by_pair).max() < 1e-6


def test_a_lost_workers_shard_is_run_again(tiny_models, tmp_path) -> None:
    model = tiny_models["gpt2"]
    spec = spec_of(model, 40)
    service = JobService(lambda name: model, Store(tmp_path / "jobs.sqlite"), "ray")
    killed: list[int] = []

    def kill_one() -> None:
        end = time.monotonic() + 60
        while not killed and time.monotonic() < end:
            for process in workers():
                os.kill(process.pid, 9)
                killed.append(process.pid)
                return
            time.sleep(0.005)

    thread = threading.Thread(target=kill_one)
    thread.start()
    job = service.submit(spec, "")
    assert service.wait(job, 240)
    thread.join()
    assert killed, "no worker was caught at work"
    assert service.store.job(job).state == "done", service.store.job(job).error
    alone = ex.activation_patching(model, list(spec.pairs), direction="denoising")
    assert np.abs(service.result(job, model).effects["denoising"].by_pair - alone.by_pair).max() < 1e-6


def test_a_workers_error_is_a_sentence(tiny_models, tmp_path) -> None:
    model = tiny_models["gpt2"]
    spec = spec_of(model)
    spec = type(spec)(**(vars(spec) | {"weight_hash": "another"}))
    service = JobService(lambda name: model, Store(tmp_path / "jobs.sqlite"), "ray")
    job = service.submit(spec, "")
    assert service.wait(job, 180)
    assert service.store.job(job).state == "failed" and "other weights" in service.store.job(job).error


def test_a_cluster_that_is_not_there(monkeypatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: (_ for _ in ()).throw(ConnectionError("no answer")))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ex.ExplorerError, match=r"cannot reach the cluster at 127.0.0.1:1: no answer"):
        started_ray()
