"""Activation patching over a dataset as a job: a plain value that says what to run, shards of pairs, and their results together.

A shard is a few pairs of one length; its result is stored when it is there, so what is finished is never lost.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from explorer.analyses.activation_patching import (
    ActivationPatching,
    Control,
    activation_patching,
    plan_patching,
    shape_of,
)
from explorer.core.errors import JobError, NotFiniteError, PairError
from explorer.core.pairs import ContrastPair
from explorer.core.provenance import Provenance
from explorer.core.records import from_record, to_record
from explorer.engine.contrasts import Direction
from explorer.engine.interventions import TYPES, Stack
from explorer.engine.model import Model
from explorer.engine.sweep import never
from explorer.engine.sweep_plan import CHUNK_POSITIONS, PROMPTS_AT_ONCE, SweepSite
from explorer.metrics.effects import Effects, noted, only
from explorer.prompts.tokens import Bos

Arrays = dict[str, np.ndarray]
BOTH: tuple[Direction, Direction] = ("denoising", "noising")


@dataclass(frozen=True)
class PatchingSpec:
    """Everything that decides the result."""

    model: str
    dtype: str
    weight_hash: str
    pairs: tuple[ContrastPair, ...]
    site: SweepSite = "head_out"
    by_position: bool = False
    directions: tuple[Direction, ...] = BOTH
    control: Control | None = "positions"
    stacks: tuple[tuple[Stack, Stack], ...] = ()
    """For each pair the interventions of its clean and of its corrupt run; empty for none."""
    seed: int = 0
    bos: Bos = "default"

    def stack(self, pair: ContrastPair, side: str) -> Stack:
        return self.stacks[self.pairs.index(pair)][side == "corrupt"] if self.stacks else ()


def write_spec(spec: PatchingSpec) -> Any:
    return to_record(spec)


def read_spec(record: Any) -> PatchingSpec:
    """Inverse of `write_spec`; `StateError` for a record that does not fit."""
    spec: PatchingSpec = from_record(record, TYPES | {"ContrastPair": ContrastPair, "PatchingSpec": PatchingSpec})
    return spec


def shards_of(model: Model, spec: PatchingSpec) -> list[list[int]]:
    """Numbers of the pairs in shards of one length, at most eight each."""
    lengths: dict[int, list[int]] = defaultdict(list)
    for number, pair in enumerate(spec.pairs):
        lengths[len(model.tokenize(pair.clean, spec.bos))].append(number)
    if spec.by_position and len(lengths) > 1:
        raise PairError(
            f"By position, all prompts must be equally long; these have {', '.join(map(str, sorted(lengths)))} tokens. "
            "Patch all positions at once, or take pairs of one length."
        )
    return [
        numbers[start : start + PROMPTS_AT_ONCE]
        for _, numbers in sorted(lengths.items())
        for start in range(0, len(numbers), PROMPTS_AT_ONCE)
    ]


def run_shard(
    model: Model,
    spec: PatchingSpec,
    numbers: Sequence[int],
    cancelled: Callable[[], bool] = never,
    chunk_positions: int = CHUNK_POSITIONS,
) -> Arrays | None:
    """Effects and controls of some pairs, by direction; None where it was cancelled.

    A pair under which an activation is not finite has NaN everywhere; the others of its shard are run all the same.
    """
    if model.info.weight_hash != spec.weight_hash:
        raise JobError(f"{spec.model} has other weights here than where this job was made.")
    try:
        return run_pairs(model, spec, numbers, cancelled, chunk_positions)
    except NotFiniteError:
        if len(numbers) == 1:
            return not_finite(model, spec, numbers[0])
    parts = [run_shard(model, spec, [number], cancelled, chunk_positions) for number in numbers]
    there = [part for part in parts if part is not None]
    return None if len(there) < len(parts) else {name: np.concatenate([part[name] for part in there]) for name in there[0]}  # fmt: skip


def run_pairs(
    model: Model, spec: PatchingSpec, numbers: Sequence[int], cancelled: Callable[[], bool], chunk_positions: int
) -> Arrays | None:
    pairs = [spec.pairs[number] for number in numbers]
    found: Arrays = {}
    for direction in spec.directions:
        for name, control in (("effect", None), ("control", spec.control)):
            if name == "control" and (control is None or (control == "prompts" and len(pairs) < 2)):
                continue
            part = activation_patching(
                model, pairs, spec.site, by_position=spec.by_position, direction=direction, interventions=spec.stack,
                control=control, seed=spec.seed + numbers[0], bos=spec.bos, cancelled=cancelled,
                chunk_positions=chunk_positions,
            )  # fmt: skip
            if part.partial:
                return None
            found[f"{direction} {name}"] = part.by_pair
            found |= {"clean": part.clean, "corrupt": part.corrupt}
    return found


def not_finite(model: Model, spec: PatchingSpec, number: int) -> Arrays:
    """The result of a pair that has none."""
    shape = plan_patching(model, spec.pairs[number], spec.site, by_position=spec.by_position, bos=spec.bos).shape
    names = ["effect", *["control"] * (spec.control == "positions")]
    rows = {f"{way} {name}": np.full((1, *shape), np.nan) for way in spec.directions for name in names}
    return rows | {"clean": np.full(1, np.nan), "corrupt": np.full(1, np.nan)}


@dataclass(frozen=True, eq=False)
class DatasetPatching:
    """The finished pairs of a job."""

    spec: PatchingSpec
    numbers: tuple[int, ...]
    """Which of the job's pairs these are, in the order of the rows."""
    effects: dict[Direction, ActivationPatching]
    controls: dict[Direction, Effects]
    """Empty where no control was run."""
    control_numbers: tuple[int, ...]
    """Which pairs the rows of the controls are: one without a partner of its length has no control with other prompts."""

    @property
    def provenance(self) -> Provenance:
        return next(iter(self.effects.values())).provenance

    @property
    def right(self) -> np.ndarray:
        """Which pairs the model gets right: answer ahead on the clean prompt, behind on the corrupt one."""
        first = next(iter(self.effects.values()))
        return np.asarray((first.clean > 0) & (first.corrupt < 0))

    def only(self, rows: np.ndarray) -> "DatasetPatching":
        """Some of the pairs, by a mask over the rows."""
        numbers = tuple(number for number, keep in zip(self.numbers, rows, strict=True) if keep)
        effects = {way: only(each, rows) for way, each in self.effects.items()}
        partnered = np.array([number in numbers for number in self.control_numbers], dtype=bool)
        return replace(
            self, numbers=numbers, effects=effects, controls={way: only(each, partnered) for way, each in self.controls.items()},
            control_numbers=tuple(number for number in self.control_numbers if number in numbers),
        )  # fmt: skip


def dataset_patching(model: Model, spec: PatchingSpec, cancelled: Callable[[], bool] = never) -> DatasetPatching:
    """A whole job at once, in this thread.  Raises as `activation_patching`, and `JobError` where it was cancelled."""
    shards = shards_of(model, spec)
    found = {number: part for number, pairs in enumerate(shards) if (part := run_shard(model, spec, pairs, cancelled)) is not None}  # fmt: skip
    result = gather(model, spec, found, shards) if len(found) == len(shards) else None
    if result is None:
        raise JobError("The run was cancelled before its end.")
    return result


def gather(
    model: Model, spec: PatchingSpec, shards: Mapping[int, Arrays], all_shards: Sequence[Sequence[int]]
) -> DatasetPatching | None:
    """The results of the shards that are there, in the order of the pairs; None where there are none."""
    if not shards:
        return None
    numbers = sorted(number for shard in shards for number in all_shards[shard])
    pairs = [spec.pairs[number] for number in numbers]
    plan = plan_patching(model, pairs[0], spec.site, by_position=spec.by_position, bos=spec.bos)
    texts = [model.tokenize(text, spec.bos) for pair in pairs for text in (pair.clean, pair.corrupt)]
    shape = {"site": spec.site, "notes": (), "partial": False, **shape_of(plan, spec.site)}
    shape["provenance"] = model.provenance(texts, seed=spec.seed)
    effects: dict[Direction, ActivationPatching] = {}
    controls: dict[Direction, Effects] = {}
    for way in spec.directions:
        effects[way] = noted(ActivationPatching(direction=way, **rows_of(shards, all_shards, f"{way} effect"), **shape))
        if control := rows_of(shards, all_shards, f"{way} control"):
            controls[way] = ActivationPatching(direction=way, control=spec.control, **control, **shape)
    controlled = [shard for shard in shards if f"{spec.directions[0]} control" in shards[shard]]
    control_numbers = sorted(number for shard in controlled for number in all_shards[shard])
    return without_failed(DatasetPatching(spec, tuple(numbers), effects, controls, tuple(control_numbers)))


def without_failed(found: DatasetPatching) -> DatasetPatching:
    """Leave out the pairs under which an activation was not finite, and say so; `JobError` where none is left."""
    finite = np.isfinite(next(iter(found.effects.values())).clean)
    if finite.all():
        return found
    if not finite.any():
        raise JobError(
            "Under every finished pair an activation is not finite (NaN or infinite), so there is no effect to show."
        )
    failed = [str(number + 1) for number, kept in zip(found.numbers, finite, strict=True) if not kept]
    names = ", ".join(failed[:12]) + ("…" if len(failed) > 12 else "")
    note = f"Left out, as an activation is not finite (NaN or infinite) under them: pair{'s' if len(failed) > 1 else ''} {names}."
    kept = found.only(finite)
    return replace(kept, effects={way: noted(each, note) for way, each in kept.effects.items()})


def rows_of(shards: Mapping[int, Arrays], all_shards: Sequence[Sequence[int]], name: str) -> dict[str, Any]:
    """`by_pair`, `clean` and `corrupt` of the shards that have a result of that name, in the order of the pairs."""
    there = [shard for shard in sorted(shards) if name in shards[shard]]
    order = np.argsort([number for shard in there for number in all_shards[shard]])
    fields = {"by_pair": name, "clean": "clean", "corrupt": "corrupt"}
    return {
        field: np.concatenate([shards[shard][key] for shard in there])[order] for field, key in fields.items() if there
    }
