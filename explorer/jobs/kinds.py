"""What a job can be: activation patching over a dataset, or circuit discovery.  One entry a type of its plain value.

A job is cut into shards, each a list of numbers (pairs, edges or steps: units) whose result is stored when it is there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from explorer.circuits import discovery
from explorer.circuits.discovery import Discovery, DiscoverySpec
from explorer.core.errors import JobError
from explorer.engine.model import Model
from explorer.engine.sweep import never
from explorer.engine.sweep_plan import CHUNK_POSITIONS
from explorer.jobs import patching
from explorer.jobs.patching import Arrays, PatchingSpec

Spec = PatchingSpec | DiscoverySpec


@dataclass(frozen=True)
class Kind:
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    shards: Callable[[Model, Any], list[list[int]]]
    run: Callable[[Model, Any, Sequence[int], Callable[[], bool], int, Arrays | None], Arrays | None]
    gather: Callable[[Model, Any, Mapping[int, Arrays], Sequence[Sequence[int]]], Any]
    stage: str
    """What it does, while it does it."""


def patch_shard(
    model: Model,
    spec: PatchingSpec,
    numbers: Sequence[int],
    cancelled: Callable[[], bool],
    chunk: int,
    before: Arrays | None,
) -> Arrays | None:
    return patching.run_shard(model, spec, numbers, cancelled, chunk)


def discovery_shard(
    model: Model,
    spec: DiscoverySpec,
    numbers: Sequence[int],
    cancelled: Callable[[], bool],
    chunk: int,
    before: Arrays | None,
) -> Arrays | None:
    return Discovery(model, spec).run_piece(numbers, before, cancelled)


def discovered(
    model: Model, spec: DiscoverySpec, shards: Mapping[int, Arrays], all_shards: Sequence[Sequence[int]]
) -> Any:
    return Discovery(model, spec).result(shards)


KINDS: dict[str, Kind] = {
    "PatchingSpec": Kind(
        patching.write_spec, patching.read_spec, patching.shards_of, patch_shard, patching.gather, "Patching"
    ),
    "DiscoverySpec": Kind(
        discovery.write_spec, discovery.read_spec, lambda model, spec: Discovery(model, spec).pieces(), discovery_shard,
        discovered, "Scoring edges",
    ),
}  # fmt: skip


def kind_of(spec: Spec) -> Kind:
    return KINDS[type(spec).__name__]


def write_spec(spec: Spec) -> Any:
    return kind_of(spec).write(spec)


def read_spec(record: Any) -> Any:
    """The plain value of a job; `JobError` for a record of another application's."""
    name = record.get("type") if isinstance(record, dict) else None
    if name not in KINDS:
        raise JobError(f"This job is of a kind ({str(name)[:40]}) that this version does not know.")
    return KINDS[name].read(record)


def one_after_the_other(spec: Spec) -> bool:
    """Whether each shard goes on from the one before it."""
    return isinstance(spec, DiscoverySpec) and spec.method in discovery.SEQUENTIAL


def run_shard(
    model: Model,
    spec: Spec,
    numbers: Sequence[int],
    cancelled: Callable[[], bool] = never,
    chunk_positions: int = CHUNK_POSITIONS,
    before: Arrays | None = None,
) -> Arrays | None:
    """The result of a shard; None where it was cancelled.  `before`: that of the shard before, where it goes on from it."""
    return kind_of(spec).run(model, spec, numbers, cancelled, chunk_positions, before)
