"""Attribution patching: every patch of a kind estimated at once, from two runs and one gradient.

    Δm ≈ Σ (a_source − a_base) · ∂m/∂a   at the base run       (Nanda 2023, Attribution Patching; Syed et al. 2023)

First order: exact where the objective is linear in the activation, wrong where softmax or norms saturate (residual streams
above all).  It says where to look; `activation_patching` says what is so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

import numpy as np
import torch
from torch import Tensor

from explorer.core.errors import PairError, SiteError
from explorer.core.pairs import ContrastPair
from explorer.core.sites import Kind
from explorer.engine.contrasts import Contrast, Direction, contrasts, objectives
from explorer.engine.edits import BY_HEAD
from explorer.engine.gradients import activation_gradients, logit_difference
from explorer.engine.interventions import Noise
from explorer.engine.model import Model
from explorer.engine.sweep import never
from explorer.engine.sweep_plan import SweepSite
from explorer.metrics.effects import Effects, axes_of, noted
from explorer.models.info import Progress
from explorer.prompts.tokens import Bos


@dataclass(frozen=True, eq=False)
class AttributionPatching(Effects):
    """Estimated effects: no patch was run."""


def attribution_patching(
    model: Model,
    pairs: ContrastPair | Sequence[ContrastPair],
    site: SweepSite | str = "head_out",
    *,
    by_position: bool = False,
    direction: Direction = "denoising",
    layers: Sequence[int] | None = None,
    interventions: Any = (),
    noise: Noise | None = None,
    draws: int = 1,
    bos: Bos = "default",
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = never,
) -> AttributionPatching:
    """Estimate what `activation_patching` with the same arguments would measure.

    The values of several positions, and of the parts of an activation, are sums of their own estimates.

    Raises as `activation_patching`, and `BridgeError` on the bridge, which has no gradients.
    """
    if site not in get_args(SweepSite):
        raise SiteError(f"There is no estimate for {site!r}; choose one of {', '.join(get_args(SweepSite))}.")
    found = contrasts(model, pairs, interventions, bos, noise, draws)
    if by_position and len({len(each.clean.tokens) for each in found}) > 1:
        raise PairError("By position, all prompts must be equally long.")
    kind = cast("Kind", "z" if site == "head_out" else site)
    chosen = list(range(model.info.n_layers) if layers is None else layers)
    rows = []
    for each in found:
        rows.append(estimates(model, each, kind, direction, chosen, by_position))
        if progress is not None:
            progress(len(rows) / len(found), f"{len(rows):,} of {len(found):,} pairs")
        if cancelled():
            break
    clean, corrupt = objectives(model, found[: len(rows)])
    parts = kind in (*BY_HEAD, "pattern", "neurons")
    length = len(found[0].clean.tokens)
    result = AttributionPatching(
        np.stack(rows), clean, corrupt, str(site), direction,
        axes_of(site, parts, by_position), tuple(chosen),
        tuple(range(length)) if by_position else (), (),
        model.provenance([side.tokens for each in found for side in (each.clean, each.corrupt)], found[0].corrupt.stack),
    )  # fmt: skip
    return noted(result)


def estimates(
    model: Model, contrast: Contrast, kind: Kind, direction: Direction, layers: Sequence[int], by_position: bool
) -> np.ndarray:
    """[layer, part, pos] of one pair; axes that are not asked for are left out."""
    base, source = contrast.base(direction), contrast.source(direction)
    answer, distractor = (torch.tensor([token]) for token in contrast.read)
    kept = model.activations(source.tokens, source.stack, (kind,)).kept[kind]
    if missing := set(layers) - kept.keys():
        raise SiteError(f"L{min(missing)}.{kind}: {model.info.title} has none.")
    score = logit_difference(answer, distractor)
    here, gradients = activation_gradients(model, base.tokens, (kind,), score, base.stack)
    change = torch.stack([kept[layer] for layer in layers]).double() - here[kind][layers].double()
    product = change * gradients[kind][layers].double()
    return by_cell(product, kind, by_position).cpu().numpy()


def by_cell(product: Tensor, kind: Kind, by_position: bool) -> Tensor:
    """Products by layer, part and position, from products of single numbers."""
    summed = product if kind == "neurons" else product.sum(-1)
    if kind in (*BY_HEAD, "neurons"):
        summed = summed.transpose(1, 2)
    return summed if by_position else summed.sum(-1)
