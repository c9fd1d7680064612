"""Where the shards of a job run: in this process, or on a Ray cluster."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from explorer.core.errors import ExplorerError, JobError
from explorer.engine.model import Model, load_model
from explorer.jobs.kinds import Spec, one_after_the_other, read_spec, run_shard, write_spec
from explorer.jobs.patching import Arrays
from explorer.jobs.turns import SMALL_CHUNK

ExecutorName = Literal["local", "ray"]
Save = Callable[[int, Arrays], None]
"""Called with the number of a shard and its result."""
RETRIES = 3
"""How often a shard is run again whose worker was lost."""


def run_local(
    model: Model,
    spec: Spec,
    shards: Mapping[int, Sequence[int]],
    save: Save,
    cancelled: Callable[[], bool],
    before: Arrays | None = None,
) -> None:
    """One shard after the other; in small chunks, so that others get their turn.

    `before` is the result of the last shard that is there, where shards go on from one another.
    """
    for number, units in shards.items():
        if cancelled():
            return
        result = run_shard(model, spec, units, cancelled, SMALL_CHUNK, before)
        if result is None:
            return
        save(number, result)
        before = result if one_after_the_other(spec) else None


def run_on_ray(
    model: Model,
    spec: Spec,
    shards: Mapping[int, Sequence[int]],
    save: Save,
    cancelled: Callable[[], bool],
    before: Arrays | None = None,
) -> None:
    """All shards at once; Ray runs a shard again whose worker was lost.  `JobError` where Ray is missing or fails.

    Shards that go on from one another run in this process.
    """
    if one_after_the_other(spec):
        run_local(model, spec, shards, save, cancelled, before)
        return
    ray = started_ray()
    remote = ray.remote(max_retries=RETRIES)(work)
    record = ray.put(write_spec(spec))
    pending = {remote.remote(record, list(pairs)): number for number, pairs in shards.items()}
    while pending:
        ready, _ = ray.wait(list(pending), timeout=0.3)
        if cancelled():
            for task in pending:
                ray.cancel(task, force=True)
            return
        for task in ready:
            try:
                save(pending.pop(task), ray.get(task))
            except ray.exceptions.RayTaskError as error:
                cause = error.as_instanceof_cause()
                raise cause if isinstance(cause, ExplorerError) else JobError(f"A worker failed: {cause}") from error
            except ray.exceptions.RayError as error:
                raise JobError(f"A shard was lost on the cluster {RETRIES + 1} times: {error}") from error


def work(record: Any, pairs: list[int]) -> Arrays:
    """On a worker: one shard."""
    spec = read_spec(record)
    result = run_shard(worker_model(spec.model, spec.dtype), spec, pairs)
    assert result is not None  # nothing cancels it here
    return result


@lru_cache(maxsize=1)
def worker_model(source: str, dtype: Any) -> Model:
    """The worker's model, loaded once; never fetched from elsewhere."""
    import torch

    torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
    return load_model(source, dtype=dtype, download=False, progress=lambda fraction, stage: None)


def started_ray() -> Any:
    """Ray, connected to the cluster of RAY_ADDRESS, or to one started on this machine alone."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise JobError("Ray is not installed: pip install 'circuit-explorer[ray]'.") from error
    if ray.is_initialized():
        return ray
    try:
        if address := os.environ.get("RAY_ADDRESS"):
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(
                include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, _node_ip_address="127.0.0.1"
            )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = f"the cluster at {address}" if address else "a cluster on this machine"
        raise JobError(f"Ray cannot reach {where}: {error}") from error
    return ray


EXECUTORS: dict[ExecutorName, Callable[..., None]] = {"local": run_local, "ray": run_on_ray}
