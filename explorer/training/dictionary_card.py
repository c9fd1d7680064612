"""What is measured of a dictionary on held-out text, and its card.

    L0            mean number of features above 0 at a token
    FVE           1 − Σ‖x − x̂‖² / Σ‖x − x̄‖², sums over all tokens, one mean for all (fraction of variance explained)
    CE recovered  (CE_ablated − CE_dictionary) / (CE_ablated − CE), ablation by zero or by the mean
    KL score      (KL_ablated − KL_dictionary) / KL_ablated, KL to the model's own output, ablation by zero

Beside each stand the mean predictor and a dictionary trained on shuffled weights.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from explorer.engine.backends import Engine
from explorer.engine.model import Model
from explorer.engine.places import Replaced, places_of, stretches
from explorer.models.dictionary import Dictionary
from explorer.models.dictionary_files import CARD
from explorer.models.info import Progress
from explorer.training.recipes import DictionaryRecipe

CHUNK, MEAN_ROWS = 8, 32
"""Rows that are run at once, and rows whose mean stands for the mean ablation."""
MOST_ROWS = 160
"""Rows of held-out text that are measured, at most."""
DENSITY_EDGES = tuple(number / 2 for number in range(-13, 1))
"""Densities are counted by their log10 in half decades."""
DENSE = 0.1
"""A feature that fires at more tokens than this share is dense."""


@dataclass
class Sums:
    """Running sums over tokens."""

    n: int = 0
    fired: Tensor | float = 0.0
    error: float = 0.0
    square: float = 0.0
    total: Tensor | float = 0.0
    losses: Tensor | float = 0.0

    @property
    def variance(self) -> float:
        """Σ‖x − x̄‖²."""
        assert isinstance(self.total, Tensor)
        return self.square - float(self.total.pow(2).sum()) / self.n


@dataclass(frozen=True)
class Quality:
    """How well a dictionary stands for its place, on the tokens that were measured."""

    tokens: int
    l0: float
    fve: float
    fve_mean_predictor: float
    dead: float
    """Share of features that never fired on these tokens."""
    dense: float
    ce: float
    ce_dictionary: float
    ce_zero: float
    ce_mean: float
    ce_recovered_zero: float | None
    ce_recovered_mean: float | None
    kl_score: float | None
    densities: tuple[int, ...]
    """Features by log10 of the share of tokens at which they fire: below −6, then half a decade each, up to 0."""


@torch.no_grad()
def quality(
    model: Model, dictionary: Dictionary, rows: Int[Tensor, "row pos"], engine: Engine | None = None
) -> Quality:
    """Measure on rows of tokens (their first and every BOS left out); losses in nats a token."""
    runtime = engine or model.runtime
    places, sums = places_of(dictionary.layer, dictionary.kind), Sums()
    first = next(stretches(model, places, dictionary.flat, rows[:MEAN_ROWS], MEAN_ROWS, engine))
    mean = first.target.mean(0)

    def spliced(read: Tensor, value: Tensor) -> Tensor:
        return dictionary.reconstruct(dictionary.flat(read)).view_as(value)

    changes = [
        spliced,
        lambda read, value: torch.zeros_like(value),
        lambda read, value: mean.expand_as(value.flatten(2)).view_as(value),
    ]
    for part in stretches(model, places, dictionary.flat, rows, CHUNK, engine):
        acts = dictionary.encode(part.source)
        sums.n += len(part.source)
        sums.fired = sums.fired + (acts > 0).double().sum(0)
        sums.error += float((dictionary.decode(acts, part.source) - part.target).double().pow(2).sum())
        sums.square += float(part.target.double().pow(2).sum())
        sums.total = sums.total + part.target.double().sum(0)
        sums.losses = sums.losses + losses(
            runtime, part.rows.to(model.info.device), part.keep, [None, *changes], places
        )
    return in_numbers(sums, mean)


def losses(runtime: Any, rows: Tensor, keep: Tensor, changes: list[Any], places: list[Any]) -> Tensor:
    """[change, (Σ cross-entropy, Σ KL to the first, tokens)] at usable positions that have a next token."""
    found, clean = [], None
    inside = keep[:, :-1]
    for change in changes:
        tape = Replaced(places, kept(change, keep))
        logs = runtime.unembed(runtime.run(rows, tape))[:, :-1].float().log_softmax(-1)
        clean = logs if clean is None else clean
        entropy = -logs.gather(-1, rows[:, 1:, None])[..., 0]
        kl = (clean.exp() * (clean - logs)).sum(-1)
        found.append(torch.stack([entropy[inside].sum(), kl[inside].sum(), inside.sum()]).double())
    return torch.stack(found)


def kept(change: Any, keep: Tensor) -> Any:
    """A change at usable positions alone."""

    def apply(read: Tensor, value: Tensor) -> Tensor:
        if change is None:
            return value
        mask = keep.view(*keep.shape, *[1] * (value.ndim - 2))
        return torch.where(mask, change(read, value), value)

    return apply


def in_numbers(sums: Sums, mean: Tensor) -> Quality:
    assert isinstance(sums.fired, Tensor) and isinstance(sums.losses, Tensor) and isinstance(sums.total, Tensor)
    density = sums.fired / sums.n
    (ce, _, n), (ce_dictionary, kl_dictionary, _), (ce_zero, kl_zero, _), (ce_mean, _, _) = sums.losses.tolist()
    off = sums.n * float((mean.double() - sums.total / sums.n).pow(2).sum())

    def recovered(ablated: float, own: float, clean: float) -> float | None:
        return None if abs(ablated - clean) < 1e-3 * n else (ablated - own) / (ablated - clean)

    return Quality(
        tokens=sums.n,
        l0=float(density.sum()),
        fve=1 - sums.error / sums.variance,
        fve_mean_predictor=-off / sums.variance,
        dead=float((density == 0).double().mean()),
        dense=float((density > DENSE).double().mean()),
        ce=ce / n,
        ce_dictionary=ce_dictionary / n,
        ce_zero=ce_zero / n,
        ce_mean=ce_mean / n,
        ce_recovered_zero=recovered(ce_zero, ce_dictionary, ce),
        ce_recovered_mean=recovered(ce_mean, ce_dictionary, ce),
        kl_score=recovered(kl_zero, kl_dictionary, 0.0),
        densities=tuple(density_counts(density.cpu().numpy()).tolist()),
    )


def log_density(density: Float[np.ndarray, "*feature"]) -> Float[np.ndarray, "*feature"]:
    """log10, for a histogram: what never fires, or at less than one token in some millions, stands in the first bin."""
    return np.asarray(np.log10(np.maximum(density, 10 ** DENSITY_EDGES[0])).clip(DENSITY_EDGES[0]))


def density_counts(densities: Float[np.ndarray, " feature"]) -> Int[np.ndarray, " bin"]:
    """Features of each half decade; every feature is in one."""
    found: np.ndarray = np.histogram(log_density(densities), DENSITY_EDGES)[0]
    return found


def measure_dictionary(
    model: Model,
    dictionary: Dictionary,
    held: Int[Tensor, "row pos"],
    recipe: DictionaryRecipe,
    record: dict[str, Any],
    compared: Dictionary | None,
    shuffled: Engine | None,
    tell: Progress,
) -> dict[str, Any]:
    """The card: recipe, record of the training, and quality beside the dictionary of shuffled weights."""
    tell(0.0, "Measuring on held-out text")
    rows = held[:MOST_ROWS]
    found = quality(model, dictionary, rows)
    tell(0.5, "Measuring the baseline")
    base = None if compared is None or shuffled is None else quality(model, compared, rows, shuffled)
    tell(1.0, "Measured")
    return {
        "model": model.info.title,
        "weight_hash": model.info.weight_hash,
        "place": recipe.place,
        "architecture": dictionary.architecture,
        "features": dictionary.n_features,
        **{name: getattr(recipe, name) for name in ("k", "tokens", "steps", "batch", "seed")},
        **record,
        "quality": rounded(found),
        "shuffled_weights": None if base is None else rounded(base),
    }


def rounded(found: Quality) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(found).items()}


def write_dictionary_card(card: dict[str, Any], folder: Path) -> None:
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


CARD_ROWS = {
    "l0": "L0: features that fire at a token",
    "fve": "fraction of variance explained",
    "fve_mean_predictor": "  of the mean predictor",
    "dead": "never fired on these tokens",
    "ce": "cross-entropy of the model, nats",
    "ce_dictionary": "  with the dictionary in its place",
    "ce_zero": "  with the place set to zero",
    "ce_mean": "  with the place set to its mean",
    "ce_recovered_zero": "CE recovered, against zero",
    "ce_recovered_mean": "CE recovered, against the mean",
    "kl_score": "KL score",
}
"""What a card says, in words, in this order."""


def in_words(value: float | None) -> str:
    """A number of a card; a dash where it is not defined."""
    return "–" if value is None else f"{value:,.3f}"
