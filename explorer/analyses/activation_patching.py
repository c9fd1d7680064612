"""Activation patching: put one activation of one run into another run, and see how far the objective follows.

1. m(clean) and m(corrupt) are the objective, logit(answer) − logit(distractor), on either prompt.
2. Denoising runs the corrupt prompt with one clean activation; noising the clean prompt with one corrupt activation.
3. The normalised effect is (m(patched) − m(corrupt)) / (m(clean) − m(corrupt)): 0 is the corrupt run, 1 the clean one
   (Heimersheim & Nanda 2024, How to use and interpret activation patching).  Over pairs it is a ratio of means.
4. Causal tracing takes noise on chosen tokens for the corrupt prompt (Meng et al. 2022, ROME, section 2.1).

Exact: every cell is a patched run (`engine.sweep`), under the interventions given.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from explorer.core.errors import PairError
from explorer.core.pairs import ContrastPair
from explorer.engine.contrasts import Contrast, Direction, contrasts, difference, objectives, read_of
from explorer.engine.interventions import Noise
from explorer.engine.model import Model
from explorer.engine.sweep import never, run_sweep
from explorer.engine.sweep_plan import CHUNK_POSITIONS, SweepPlan, SweepSite, plan_sweep
from explorer.metrics.effects import Effects, axes_of, noted
from explorer.models.info import Progress
from explorer.prompts.tokens import Bos

Control = Literal["positions", "prompts"]
"""What a control changes: the patch acts at one random position; or its values come from another pair's prompt."""
NOISE_DRAWS = 10
"""Draws of noise that a causal trace is averaged over (as many as in ROME)."""
FIRST_BATCH = 24


@dataclass(frozen=True, eq=False)
class ActivationPatching(Effects):
    """Measured effects."""

    partial: bool
    """Whether the sweep was cancelled before its end."""
    control: Control | None = None


def plan_patching(
    model: Model,
    pairs: ContrastPair | Sequence[ContrastPair],
    site: SweepSite | str = "head_out",
    *,
    by_position: bool = False,
    direction: Direction = "denoising",
    layers: Sequence[int] | None = None,
    interventions: Any = (),
    noise: Noise | None = None,
    draws: int = NOISE_DRAWS,
    budget: int | None = None,
    bos: Bos = "default",
) -> SweepPlan:
    """The plan of `activation_patching` with the same arguments; `plan.cost` tells what it will take."""
    found = contrasts(model, pairs, interventions, bos, noise, draws)
    return plan_of(model, found, site, direction, by_position=by_position, layers=layers, budget=budget)


def plan_of(
    model: Model,
    found: Sequence[Contrast],
    site: SweepSite | str,
    direction: Direction,
    *,
    by_position: bool = False,
    positions: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
    budget: int | None = None,
    chunk_positions: int = CHUNK_POSITIONS,
) -> SweepPlan:
    """The sweep over some contrasts."""
    base, source = [each.base(direction) for each in found], [each.source(direction) for each in found]
    return plan_sweep(
        model, site, [side.tokens for side in base], [side.tokens for side in source], by_position=by_position,
        positions=positions, layers=layers, interventions=[side.stack for side in base],
        source_interventions=[side.stack for side in source], read=read_of(found), budget=budget,
        chunk_positions=chunk_positions,
    )  # fmt: skip


def activation_patching(
    model: Model,
    pairs: ContrastPair | Sequence[ContrastPair],
    site: SweepSite | str = "head_out",
    *,
    by_position: bool = False,
    direction: Direction = "denoising",
    layers: Sequence[int] | None = None,
    interventions: Any = (),
    noise: Noise | None = None,
    draws: int = NOISE_DRAWS,
    control: Control | None = None,
    seed: int = 0,
    budget: int | None = None,
    bos: Bos = "default",
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = never,
    chunk_positions: int = CHUNK_POSITIONS,
) -> ActivationPatching:
    """Patch every activation of a kind, one at a time, from one prompt of a pair into the other.

    Args:
        pairs: one contrast pair or several (of any lengths, unless `by_position`), each with answer and distractor.
        site: "head_out", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z", "q", "k", "v", "pattern",
            "neurons".
        by_position: each position apart; else all positions at once.
        interventions: a stack under which both runs of each pair run; or a function from a pair and "clean" or "corrupt" to
            that prompt's stack.
        noise: causal tracing: noise on the clean prompt in place of the corrupt prompt, `draws` times a pair (a row each).
        control: "positions" patches at one position, drawn for each pair from `seed` among those where the runs can differ;
            "prompts" takes the values from the source run of another pair of the same length.
        budget: bytes of memory; None for a quarter of what is free.
        progress: called with the fraction done and a sentence; `cancelled` ends the sweep early, keeping what it has.
        chunk_positions: positions of one forward pass at most; fewer for work that others wait behind.

    Raises `PairError` (unequal token lengths: shows where), `AnswerError`, `SiteError`, `InterventionError`,
    `NotFiniteError`, `MemoryBudgetError`.
    """
    found = contrasts(model, pairs, interventions, bos, noise, draws)
    options: dict[str, Any] = {"by_position": by_position, "layers": layers, "budget": budget, "chunk_positions": chunk_positions}  # fmt: skip
    plan = plan_of(model, found, site, direction, **options)
    patched = np.full((len(found), len(plan.cells)), np.nan)
    notes: dict[str, None] = {}
    sweeps = sweeps_of(model, found, plan, control, site, direction, seed, options)
    for number, (sweep, rows) in enumerate(sweeps):
        block = np.full((len(rows), len(plan.cells)), np.nan)
        for done, note in patch_into(sweep, block, cancelled):
            patched[rows] = block
            notes |= {note: None} if note else {}
            if progress is not None:
                words = f"{int(np.isfinite(patched).sum()):,} of {patched.size:,} patched runs"
                progress((number + done) / len(sweeps), words)
    return replace(summarise(model, found, plan, patched, direction, str(site), list(notes)), control=control)


def sweeps_of(
    model: Model,
    found: Sequence[Contrast],
    plan: SweepPlan,
    control: Control | None,
    site: SweepSite | str,
    direction: Direction,
    seed: int,
    options: dict[str, Any],
) -> list[tuple[SweepPlan, np.ndarray]]:
    """What is run, and which pairs each sweep is of."""
    if control == "positions":
        return at_random_positions(model, found, plan, site, direction, seed, options)
    if control == "prompts":
        plan = plan_of(model, with_other_sources(found, direction, seed), site, direction, **options)
    return [(plan, np.arange(len(found)))]


def patch_into(
    plan: SweepPlan,
    patched: np.ndarray,
    cancelled: Callable[[], bool] = never,
    order: Sequence[Sequence[int]] | None = None,
) -> Iterator[tuple[float, str]]:
    """Run a plan; the objective of each patched run goes into `patched` [pair, cell] as it comes.  Fraction done, note."""
    for part in run_sweep(plan, cancelled, order):
        patched[np.ix_(part.prompts, part.cells)] = difference(part.logits).T.cpu().numpy()
        yield part.done, part.note


def largest_first(estimate: np.ndarray) -> list[list[int]]:
    """Numbers of the cells by falling magnitude of an estimate, in batches that grow."""
    order = np.argsort(-np.abs(np.nan_to_num(estimate.ravel())), kind="stable")
    ends = [FIRST_BATCH]
    while ends[-1] < len(order):
        ends.append(3 * ends[-1])
    return [batch.tolist() for batch in np.split(order, ends) if len(batch)]


def summarise(
    model: Model,
    found: Sequence[Contrast],
    plan: SweepPlan,
    patched: np.ndarray,
    direction: Direction,
    site: str,
    notes: Sequence[str] = (),
) -> ActivationPatching:
    """The effects of patched objectives [pair, cell], NaN where not run."""
    clean, corrupt = objectives(model, found)
    base = corrupt if direction == "denoising" else clean
    partial = bool(np.isnan(patched).any())
    told = [*notes]
    if partial:
        told.append(f"Cancelled: {int(np.isfinite(patched).sum()):,} of {patched.size:,} patched runs are there.")
    texts = [side.tokens for each in found for side in (each.clean, each.corrupt)]
    result = ActivationPatching(
        by_pair=(patched - base[:, None]).reshape(-1, *plan.shape), clean=clean, corrupt=corrupt, site=site,
        direction=direction, notes=(), provenance=model.provenance(texts, found[0].corrupt.stack),
        partial=partial, **shape_of(plan, site),
    )  # fmt: skip
    return noted(result, *told)


def shape_of(plan: SweepPlan, site: str) -> dict[str, Any]:
    """Names and places of a result's axes."""
    first = plan.cells[0]
    places = dict.fromkeys(cell.position for cell in plan.cells if cell.position is not None)
    return {
        "axes": axes_of(site, first.index is not None, first.position is not None),
        "layers": tuple(dict.fromkeys(cell.layer for cell in plan.cells)),
        "positions": tuple(places),
    }


def at_random_positions(
    model: Model,
    found: Sequence[Contrast],
    plan: SweepPlan,
    site: SweepSite | str,
    direction: Direction,
    seed: int,
    options: dict[str, Any],
) -> list[tuple[SweepPlan, np.ndarray]]:
    """Sweeps of the pairs that drew the same position of the same length, with the pairs' numbers."""
    if options["by_position"]:
        raise PairError("A control at random positions belongs to patches at all positions; by position, each is one.")
    rng = np.random.default_rng(seed)
    drawn: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number in range(len(found)):
        group = plan.alone(number)
        position = int(rng.integers(min(group.shared, group.length - 1), group.length))
        drawn[group.length, position].append(number)
    return [
        (
            plan_of(
                model, [found[n] for n in rows], site, direction, **(options | {"by_position": True}), positions=[place]
            ),
            np.array(rows),
        )
        for (_, place), rows in drawn.items()
    ]


def with_other_sources(found: Sequence[Contrast], direction: Direction, seed: int) -> list[Contrast]:
    """Each contrast with the source run of another pair of its length, drawn from the seed."""
    rng = np.random.default_rng(seed)
    lengths: dict[int, list[int]] = defaultdict(list)
    for number, each in enumerate(found):
        lengths[len(each.clean.tokens)].append(number)
    others = list(found)
    for length, numbers in lengths.items():
        if len(numbers) == 1:
            raise PairError(
                f"A control with other prompts needs two pairs of each length; one pair alone has {length} tokens."
            )
        shuffled = rng.permutation(numbers)
        for here, there in zip(shuffled, np.roll(shuffled, 1), strict=True):
            side = "clean" if direction == "denoising" else "corrupt"
            others[here] = replace(found[here], **{side: found[there].source(direction)})
    return others
