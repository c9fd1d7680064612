"""What attribution patching says of the places of a claim: the rung "approximated"."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float

from explorer.analyses.attribution_patching import attribution_patching
from explorer.core.errors import SiteError
from explorer.core.pairs import ContrastPair
from explorer.core.places import Place
from explorer.core.provenance import Provenance
from explorer.core.sites import Feature
from explorer.engine.contrasts import contrasts
from explorer.engine.fitting import address
from explorer.engine.model import Model
from explorer.engine.sweep import never
from explorer.engine.sweep_plan import SweepSite
from explorer.features.circuit import feature_estimate
from explorer.metrics.bootstrap import interval
from explorer.models.info import Progress
from explorer.prompts.tokens import Bos


@dataclass(frozen=True, eq=False)
class EstimatedEffect:
    by_pair: Float[np.ndarray, " pair"]
    """What taking the places away would cost the objective, by first order, in logits; above 0 they help the answer."""
    low: float
    high: float
    provenance: Provenance

    @property
    def mean(self) -> float:
        return float(self.by_pair.mean())

    @property
    def n(self) -> int:
        return len(self.by_pair)


def estimated_effect(
    model: Model,
    pairs: Sequence[ContrastPair],
    places: Sequence[Place],
    *,
    seed: int = 0,
    bos: Bos = "default",
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = never,
) -> EstimatedEffect:
    """The sum over places of the attribution-patching estimates (Nanda 2023), clean prompt with corrupt values.

    Raises as `attribution_patching`, and `SiteError` for no place.
    """
    if not places:
        raise SiteError("Name at least one component, such as L23H3.")
    total, provenance = np.zeros(len(pairs)), None
    for number, place in enumerate(places):
        if isinstance(place.site, Feature):
            found = contrasts(model, pairs, (), bos)
            total = total - np.array([feature_estimate(model, each, place) for each in found])
            texts = [side.tokens for each in found for side in (each.clean, each.corrupt)]
            provenance = model.provenance(texts)
            continue
        kind, layer, index = address(place.site, model.info)
        last = attribution_patching(
            model, pairs, cast("SweepSite", kind), layers=[layer], direction="noising",
            by_position=place.position is not None, bos=bos, cancelled=cancelled,
        )  # fmt: skip
        values = last.by_pair[:, 0]
        values = values if index is None else values[:, index]
        total = total - (values if place.position is None else values[:, place.position])
        provenance = last.provenance
        if progress is not None:
            progress((number + 1) / len(places), f"{number + 1} of {len(places)} places")
    assert provenance is not None
    return EstimatedEffect(total, *interval(total, seed), provenance)
