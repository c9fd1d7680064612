"""What a set of components does to the objective, beside matched random sets: the measurement behind "it is used".

    noising     m(clean) − m(clean, places from the corrupt prompt)          taken away
    denoising   m(corrupt, places from the clean prompt) − m(corrupt)        put back
    zero, mean  m(clean) − m(clean, places set to 0 or to their mean over both prompts and all positions)

All signs say the same: above 0 the components help the answer.  The mean is over pairs, its interval a bootstrap over them (Efron &
Tibshirani 1993).  The control: sets of as many components of the same types, at most `NEIGHBOURS` layers away, at the same positions,
measured alike (Wang et al. 2022; the rung "intervened" asks for both).  A feature's controls are features of the same dictionary
that fire on these pairs too.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from explorer.core.errors import SiteError
from explorer.core.pairs import ContrastPair
from explorer.core.places import Place
from explorer.core.provenance import Provenance
from explorer.core.sites import AttnOut, Feature, Head, HeadPart, KeyValue, MlpOut, Neuron, Resid, Site
from explorer.engine.contrasts import Contrast, Side, contrasts, feature_acts, objective, objectives
from explorer.engine.interventions import Ablate, Intervention, Patch
from explorer.engine.model import Model
from explorer.engine.sweep import never
from explorer.metrics.bootstrap import interval, p_value
from explorer.models.info import ModelInfo, Progress
from explorer.prompts.tokens import Bos

Manner = Literal["noising", "denoising", "zero", "mean"]
CONTROLS = 40
NEIGHBOURS = 3
TRIES = 20
"""Draws for each matched set wanted, before there is none left."""


@dataclass(frozen=True, eq=False)
class ComponentEffect:
    places: tuple[Place, ...]
    manner: Manner
    by_pair: Float[np.ndarray, " pair"]
    """What the components do for the objective, in logits; above 0 they help the answer."""
    controls: Float[np.ndarray, " control"]
    """The mean over pairs of each matched random set."""
    matched: tuple[tuple[Place, ...], ...]
    clean: Float[np.ndarray, " pair"]
    corrupt: Float[np.ndarray, " pair"]
    low: float
    """95 % bootstrap interval over pairs of the mean; NaN for a single pair."""
    high: float
    provenance: Provenance

    @property
    def mean(self) -> float:
        return float(self.by_pair.mean())

    @property
    def n(self) -> int:
        """Pairs."""
        return len(self.by_pair)

    @property
    def n_controls(self) -> int:
        return len(self.controls)

    @property
    def largest_control(self) -> float:
        """The largest magnitude of any control; NaN without one."""
        return float(np.abs(self.controls).max()) if self.n_controls else float("nan")

    @property
    def p(self) -> float:
        """Share of sets with at least this magnitude, the set itself counted among them."""
        return p_value(abs(self.mean), np.abs(self.controls))

    @property
    def frame(self) -> pd.DataFrame:
        """A row a set: what it is, its mean effect in logits, and whether it is a control."""
        names = [", ".join(map(str, places)) for places in (self.places, *self.matched)]
        return pd.DataFrame(
            {"places": names, "effect": [self.mean, *self.controls], "control": [False, *[True] * self.n_controls]}
        )


def component_effect(
    model: Model,
    pairs: ContrastPair | Sequence[ContrastPair],
    places: Sequence[Place],
    *,
    manner: Manner = "noising",
    interventions: object = (),
    controls: int = CONTROLS,
    seed: int = 0,
    bos: Bos = "default",
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = never,
) -> ComponentEffect:
    """The effect of some places together, and of matched random sets of places.

    Raises `SiteError` (no place, or one the model does not have), and as `activation_patching`.  A cancelled call keeps the controls it
    has.
    """
    for place in places:
        model.check_site(place.site)
    if not places:
        raise SiteError("Name at least one component, such as L23H3.")
    found = contrasts(model, pairs, interventions, bos)
    sets = [
        tuple(places),
        *matched_sets(places, [pool_of(model, place.site, found) for place in places], controls, seed),
    ]
    base = [objective(model, base_of(each, manner), each.read) for each in found]
    rows = []
    for number, chosen in enumerate(sets):
        rows.append([one(model, each, chosen, manner, before) for each, before in zip(found, base, strict=True)])
        if progress is not None:
            progress((number + 1) / len(sets), f"{number} of {len(sets) - 1} matched sets")
        if cancelled():
            break
    by_pair = np.array(rows)
    low, high = interval(by_pair[0], seed)
    clean, corrupt = objectives(model, found)
    texts = [side.tokens for each in found for side in (each.clean, each.corrupt)]
    return ComponentEffect(
        tuple(places), manner, by_pair[0], by_pair[1:].mean(1), tuple(sets[1 : len(rows)]), clean, corrupt, low, high,
        model.provenance(texts, found[0].clean.stack, seed),
    )  # fmt: skip


def base_of(contrast: Contrast, manner: Manner) -> Side:
    return contrast.corrupt if manner == "denoising" else contrast.clean


def one(model: Model, contrast: Contrast, places: Sequence[Place], manner: Manner, before: float) -> float:
    """The signed effect on one pair."""
    side = base_of(contrast, manner)
    stack = (*side.stack, *(changed(place, contrast, manner) for place in places))
    after = objective(model, replace(side, stack=stack), contrast.read)
    return after - before if manner == "denoising" else before - after


def changed(place: Place, contrast: Contrast, manner: Manner) -> Intervention:
    clean, corrupt = contrast.clean.tokens.text, contrast.corrupt.tokens.text
    match manner:
        case "noising":
            return Patch(place.site, corrupt, place.positions)
        case "denoising":
            return Patch(place.site, clean, place.positions)
        case "zero":
            return Ablate(place.site, "zero", place.positions)
    return Ablate(place.site, "mean", place.positions, (clean, corrupt))


def pool_of(model: Model, site: Site, found: Sequence[Contrast]) -> list[Site]:
    """What a site's controls are drawn from; for a feature, those of its dictionary that fire on the pairs."""
    if not isinstance(site, Feature):
        return list(alike(site, model.info))
    fires = set()
    for each in found:
        for side in (each.clean, each.corrupt):
            acts = feature_acts(model, side, site)[1]
            fires |= set((acts[1:] > 0).any(0).nonzero()[:, 0].tolist())
    return [replace(site, index=index) for index in sorted(fires)]


def matched_sets(
    places: Sequence[Place], alike: Sequence[Iterable[Site]], n: int, seed: int
) -> list[tuple[Place, ...]]:
    """Up to `n` different random sets of the same make, none of which holds one of the places."""
    rng, taken = Random(seed), {place.site for place in places}
    pools = [[site for site in sites if site not in taken] for sites in alike]
    found: dict[frozenset[Place], tuple[Place, ...]] = {}
    for _ in range(TRIES * n):
        if len(found) == n or not all(pools):
            break
        drawn = tuple(Place(rng.choice(pool), place.position) for pool, place in zip(pools, places, strict=True))
        if len({place.site for place in drawn}) == len(drawn):
            found.setdefault(frozenset(drawn), drawn)
    return list(found.values())


def alike(site: Site, info: ModelInfo) -> Iterable[Site]:
    """Sites of the same type, in layers close by; a neuron's are of its own layer."""
    layers = range(max(0, site.layer - NEIGHBOURS), min(info.n_layers, site.layer + NEIGHBOURS + 1))
    match site:
        case Head():
            return [Head(layer, head) for layer in layers for head in range(info.n_heads)]
        case HeadPart(kind=kind):
            return [HeadPart(layer, head, kind) for layer in layers for head in range(info.n_heads)]
        case KeyValue(kind=kind):
            return [KeyValue(layer, head, kind) for layer in layers for head in range(info.n_kv_heads)]
        case Neuron(layer):
            return [Neuron(layer, neuron) for neuron in range(info.d_mlp)]
        case AttnOut() | MlpOut() | Resid():
            return [replace(site, layer=layer) for layer in range(info.n_layers)]
    return []
