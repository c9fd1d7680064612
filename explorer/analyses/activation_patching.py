"""Activation patching: put one activation of one run into another run, and see how far the objective follows.

1. m(clean) and m(corrupt) are the objective, logit(answer) − logit(distractor), on either prompt.
2. Denoising runs the corrupt prompt with one clean activation; noising the clean prompt with one corrupt activation.
3. The normalised effect is (m(patched) − m(corrupt)) / (m(clean) − m(corrupt)): 0 is the corrupt run, 1 the clean one
   (Heimersheim & Nanda 2024, How to use and interpret activation patching).  Over pairs it is a ratio of means.

Exact: every cell is a patched run (`engine.sweep`), under the interventions given.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.errors import AnswerError, PairError
from explorer.core.pairs import ContrastPair
from explorer.core.provenance import Provenance
from explorer.engine.interventions import Intervention, as_stack
from explorer.engine.model import Model
from explorer.engine.sweep import never, run_sweep
from explorer.engine.sweep_plan import SweepPlan, SweepSite, plan_sweep
from explorer.models.info import Progress
from explorer.prompts.pairs import check_aligned
from explorer.prompts.tokens import Bos, Tokens

Direction = Literal["denoising", "noising"]
SMALLEST_SPAN = 0.1
"""Below this |m(clean) − m(corrupt)|, in logits, a normalised effect would magnify noise, so none is given."""


@dataclass(frozen=True, eq=False)
class ActivationPatching:
    values: Float[np.ndarray, "..."]
    """Normalised effect by layer, then head (or neuron) and position where asked for; NaN where not run or refused."""
    raw: Float[np.ndarray, "..."]
    """Mean change of the objective to the unpatched run, in logits."""
    by_pair: Float[np.ndarray, "pair ..."]
    """The same for each pair."""
    clean: Float[np.ndarray, " pair"]
    """Objective of each clean prompt, under the interventions."""
    corrupt: Float[np.ndarray, " pair"]
    site: str
    direction: Direction
    axes: tuple[str, ...]
    """Names of the axes of `values`."""
    layers: tuple[int, ...]
    """The layers of the first axis."""
    partial: bool
    """Whether the sweep was cancelled before its end."""
    notes: tuple[str, ...]
    """What a reader must know: why values are missing, or memory that ran out."""
    provenance: Provenance

    @property
    def frame(self) -> pd.DataFrame:
        """One row a cell: layer, head or neuron, position, effect (normalised), change (in logits)."""
        places = np.indices(self.values.shape).reshape(len(self.axes), -1)
        columns: dict[str, Any] = dict(zip(self.axes, places, strict=True))
        columns["layer"] = np.asarray(self.layers)[columns["layer"]]
        return pd.DataFrame(columns | {"effect": self.values.ravel(), "change": self.raw.ravel()})


def plan_patching(
    model: Model,
    pairs: ContrastPair | Sequence[ContrastPair],
    site: SweepSite | str = "head_out",
    *,
    by_position: bool = False,
    direction: Direction = "denoising",
    layers: Sequence[int] | None = None,
    interventions: Any = (),
    budget: int | None = None,
    bos: Bos = "default",
) -> SweepPlan:
    """The plan of `activation_patching` with the same arguments; `plan.cost` tells what it will take."""
    chosen = [pairs] if isinstance(pairs, ContrastPair) else list(pairs)
    if not chosen:
        raise PairError("Patching needs at least one contrast pair.")
    clean, corrupt = ([model.tokenize(text, bos) for text in side] for side in sides(chosen))
    for one, other in zip(clean, corrupt, strict=True):
        check_aligned(one, other)
    base, source = (corrupt, clean) if direction == "denoising" else (clean, corrupt)
    return plan_sweep(
        model, site, base, source, by_position=by_position, layers=layers, interventions=as_stack(interventions),
        read=torch.tensor([answers(model, pair) for pair in chosen]), budget=budget,
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
    budget: int | None = None,
    bos: Bos = "default",
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = never,
) -> ActivationPatching:
    """Patch every activation of a kind, one at a time, from one prompt of a pair into the other.

    Args:
        pairs: one contrast pair or several (of any lengths, unless `by_position`), each with answer and distractor.
        site: "head_out", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "q", "k", "v", "pattern", "neurons".
        by_position: each position apart; else all positions at once.
        interventions: a stack under which both runs of each pair run.
        budget: bytes of memory; None for a quarter of what is free.
        progress: called with the fraction done and a sentence; `cancelled` ends the sweep early, keeping what it has.

    Raises `PairError` (unequal token lengths: shows where), `AnswerError`, `SiteError`, `InterventionError`,
    `NotFiniteError`, `MemoryBudgetError`.
    """
    plan = plan_patching(
        model, pairs, site, by_position=by_position, direction=direction, layers=layers, interventions=interventions,
        budget=budget, bos=bos,
    )  # fmt: skip
    patched = np.full((len(plan.base), len(plan.cells)), np.nan)
    notes: list[str] = []
    done = 0.0
    for part in run_sweep(plan, cancelled):
        patched[np.ix_(part.prompts, part.cells)] = difference(part.logits).T.cpu().numpy()
        notes += [part.note] * (part.note not in ("", *notes))
        done = part.done
        if progress is not None:
            progress(done, f"{int(np.isfinite(patched).sum()):,} of {patched.size:,} patched runs")
    return summarise(plan, patched, direction, str(site), notes)


def summarise(
    plan: SweepPlan, patched: np.ndarray, direction: Direction, site: str, notes: list[str]
) -> ActivationPatching:
    assert plan.source is not None and plan.read is not None
    base, source = (objectives(plan, texts) for texts in (plan.base, plan.source))
    clean, corrupt = (source, base) if direction == "denoising" else (base, source)
    partial = bool(np.isnan(patched).any())
    by_pair = (patched - base[:, None]).reshape(-1, *plan.shape)
    raw = by_pair.mean(0)
    span = float(clean.mean() - corrupt.mean())
    values = (raw + base.mean() - corrupt.mean()) / span if abs(span) >= SMALLEST_SPAN else np.full_like(raw, np.nan)
    if abs(span) < SMALLEST_SPAN:
        notes.append(
            f"No normalised effect: clean and corrupt differ by {span:+.3f} logits in the objective, less than "
            f"{SMALLEST_SPAN}, and dividing by so little would show noise. The changes in logits stand."
        )
    if partial:
        notes.append(f"Cancelled: {int(np.isfinite(patched).sum()):,} of {patched.size:,} patched runs are there.")
    return ActivationPatching(
        values, raw, by_pair, clean, corrupt, site, direction, axes_of(plan, site),
        tuple(dict.fromkeys(cell.layer for cell in plan.cells)), partial, tuple(notes),
        plan.model.provenance([*plan.base, *plan.source], plan.interventions),
    )  # fmt: skip


def axes_of(plan: SweepPlan, site: str) -> tuple[str, ...]:
    first = plan.cells[0]
    part_name = {"neurons": "neuron", "k": "kv_head", "v": "kv_head"}.get(site, "head")
    return ("layer", *[part_name] * (first.index is not None), *["pos"] * (first.position is not None))


def objectives(plan: SweepPlan, texts: Sequence[Tokens]) -> Float[np.ndarray, " pair"]:
    """The objective of each prompt as it stands, under the stack."""
    assert plan.read is not None
    stack: tuple[Intervention, ...] = plan.interventions
    rows = [
        plan.model.unembed(plan.model.activations(tokens, stack, ("resid_post",)).final[-1])[
            read.to(plan.model.info.device)
        ]
        for tokens, read in zip(texts, plan.read, strict=True)
    ]
    return difference(torch.stack(rows)).cpu().numpy().astype(float)


def difference(logits: Float[Tensor, "*rows token"]) -> Float[Tensor, "*rows"]:
    """logit(answer) − logit(distractor) of the two tokens that were read."""
    wide = logits.double()
    return wide[..., 0] - wide[..., 1]


def sides(pairs: Sequence[ContrastPair]) -> tuple[list[str], list[str]]:
    return [pair.clean for pair in pairs], [pair.corrupt for pair in pairs]


def answers(model: Model, pair: ContrastPair) -> list[int]:
    if not pair.answer or not pair.distractor:
        raise AnswerError(
            "Patching measures logit(answer) − logit(distractor), so each pair needs both, one token each, such as ' Mary' "
            "and ' John'."
        )
    return [model.single_token(pair.answer), model.single_token(pair.distractor)]
