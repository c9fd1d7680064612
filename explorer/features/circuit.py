"""Feature circuits: what features of dictionaries on the stream do to the objective, over pairs (Marks et al. 2024).

    effect of a feature   (a_corrupt − a_clean) · ∂m/∂a     of an error   (ε_corrupt − ε_clean) · ∂m/∂x     at the clean run

Signs as in attribution patching: above 0, patching it in would raise the objective; `contribution` is the negative, so above 0 it helps
the answer.  The effects of all features and the error of one place add up to attribution patching of that place.  An edge from one
place to the next follows the same chain rule: what of the effect of `d` comes through `u`.  All of the stream's later places read it
through the next place, so the edges that leave a node add up to its effect, and those that enter to what is patched there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.errors import DictionaryError
from explorer.core.pairs import ContrastPair
from explorer.core.places import Place
from explorer.core.provenance import Provenance
from explorer.core.sites import Feature, Kind
from explorer.engine.contrasts import Contrast, contrasts, feature_acts
from explorer.engine.edits import Tape
from explorer.engine.forward import Start, run_blocks
from explorer.engine.gradients import LogitDifference, activation_gradients, score_of
from explorer.engine.model import Model
from explorer.engine.sweep import never
from explorer.metrics.bootstrap import interval
from explorer.models.dictionary import Dictionary
from explorer.models.dictionary_files import folders, parse_place
from explorer.models.info import Progress
from explorer.prompts.tokens import Bos


@dataclass(frozen=True, eq=False)
class FeatureEffects:
    """Effects on the objective of every feature and the error of some places."""

    places: tuple[str, ...]
    by_pair: tuple[Float[np.ndarray, "pair feature"], ...]
    """By place: each feature's effect, summed over positions."""
    errors: Float[np.ndarray, "pair place"]
    edges: tuple[Float[np.ndarray, "down up"], ...]
    """Between each place and the next: nodes are `kept` of either and, last, the error; means over pairs."""
    kept: tuple[tuple[int, ...], ...]
    """Features of each place that edges are measured of: those of largest |mean effect|."""
    clean: Float[np.ndarray, " pair"]
    corrupt: Float[np.ndarray, " pair"]
    provenance: Provenance

    @property
    def contributions(self) -> dict[str, Float[np.ndarray, " feature"]]:
        """By place: −(mean effect) of each feature."""
        return {place: self.contribution(number) for number, place in enumerate(self.places)}

    @property
    def missed(self) -> dict[str, float]:
        """By place: −(mean effect) of the error."""
        return {place: -float(value) for place, value in zip(self.places, self.errors.mean(0), strict=True)}

    def contribution(self, place: int) -> Float[np.ndarray, " feature"]:
        """−(mean effect): above 0 a feature helps the answer."""
        found: np.ndarray = -self.by_pair[place].mean(0)
        return found

    def table(self, n: int = 20, seed: int = 0) -> pd.DataFrame:
        """The strongest features of all places, with 95 % intervals over pairs."""
        rows = []
        for number, place in enumerate(self.places):
            values = -self.by_pair[number]
            for index in np.argsort(-np.abs(values.mean(0)))[:n]:
                low, high = interval(values[:, index], seed)
                rows.append(
                    {"feature": f"{place}/{index}", "contribution": values[:, index].mean(), "low": low, "high": high}
                )
        found = pd.DataFrame(rows, columns=["feature", "contribution", "low", "high"])
        return (
            found.reindex(found["contribution"].abs().sort_values(ascending=False).index).head(n).reset_index(drop=True)
        )


def stream_places(model: Model) -> list[str]:
    """The model's dictionaries of the stream behind each block, from the lowest."""
    found = []
    for place in folders(model.info):
        _, kind, name = parse_place(place)
        if kind == "resid_post" and not name:
            found.append(place)
    if not found:
        raise DictionaryError(
            f"A feature circuit needs dictionaries of the stream; {model.info.title} has none. Train one: "
            f"circuit-explorer train-sae {model.info.key} --site L{model.info.n_layers // 2}.resid_post"
        )
    return found


def feature_effects(
    model: Model,
    pairs: ContrastPair | Sequence[ContrastPair],
    places: Sequence[str] = (),
    *,
    keep: int = 12,
    interventions: object = (),
    bos: Bos = "default",
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = never,
) -> FeatureEffects:
    """Effects of the features at `places` (dictionaries of resid_post, lowest first; without, all there are).

    Raises `DictionaryError`, `BridgeError`, and as `activation_patching`.  A cancelled call keeps the pairs it has.
    """
    chosen = tuple(places) or tuple(stream_places(model))
    dictionaries = sorted((model.dictionary(place) for place in chosen), key=lambda each: each.layer)
    if any(each.kind != "resid_post" for each in dictionaries):
        raise DictionaryError("Feature circuits are of dictionaries on resid_post.")
    if len({each.layer for each in dictionaries}) < len(dictionaries):
        raise DictionaryError(f"A feature circuit takes one dictionary a layer; got {', '.join(chosen)}.")
    found = contrasts(model, pairs, interventions, bos)
    passes = []
    for number, each in enumerate(found):
        passes.append(Pass(model, dictionaries, each))
        if progress is not None:
            progress((number + 1) / (2 * len(found)), f"Effects, {number + 1} of {len(found)} pairs")
        if cancelled():
            break
    by_pair = tuple(np.stack([each.effects[place] for each in passes]) for place in range(len(dictionaries)))
    kept = tuple(tuple(int(index) for index in np.argsort(-np.abs(values.mean(0)))[:keep]) for values in by_pair)
    edges = [np.zeros((len(down) + 1, len(up) + 1)) for up, down in pairwise(kept)]
    for number, done in enumerate(passes):
        for place in range(len(edges)):
            edges[place] += done.edges(place, kept[place], kept[place + 1]) / len(passes)
        if progress is not None:
            progress(0.5 + (number + 1) / (2 * len(passes)), f"Edges, {number + 1} of {len(passes)} pairs")
    texts = [side.tokens for each in found for side in (each.clean, each.corrupt)]
    return FeatureEffects(
        tuple(each.place for each in dictionaries), by_pair, np.stack([each.errors for each in passes]), tuple(edges), kept,
        np.array([each.clean for each in passes]), np.array([each.corrupt for each in passes]),
        model.provenance(texts, found[0].clean.stack),
    )  # fmt: skip


class Pass:
    """One pair: streams of both runs at every place, taken apart, and the gradient of the objective there."""

    def __init__(self, model: Model, dictionaries: Sequence[Dictionary], contrast: Contrast) -> None:
        self.model, self.dictionaries, self.contrast = model, dictionaries, contrast
        self.decoder = model.decoder("A feature circuit")
        self.edits = model.edits(contrast.clean.tokens, contrast.clean.stack)
        kinds: tuple[Kind, ...] = ("resid_post",)
        runs = [model.activations(side.tokens, side.stack, kinds) for side in (contrast.clean, contrast.corrupt)]
        self.streams = [[run.kept["resid_post"][each.layer] for each in dictionaries] for run in runs]
        self.score = LogitDifference(torch.tensor([contrast.read]))
        self.clean, self.corrupt = (float(score_of(self.decoder, run.final[-1:], self.score)) for run in runs)
        self.acts = [
            [each.encode(x) for each, x in zip(dictionaries, streams, strict=True)] for streams in self.streams
        ]
        self.slopes = [self.slope(number) for number in range(len(dictionaries))]
        measured = [self.parts(number, slope) for number, slope in enumerate(self.slopes)]
        self.effects = [features.sum(0).double().numpy() for features, _ in measured]
        self.errors = np.array([float(error.sum()) for _, error in measured])

    def slope(self, place: int) -> Float[Tensor, "pos d_model"]:
        """∂m/∂x at a place of the clean run."""
        with torch.enable_grad():
            x = self.streams[0][place].detach().requires_grad_()
            final = self.onward(place, x, None)
            value = score_of(self.decoder, final[:, -1], self.score).sum()
            return torch.autograd.grad(value, x)[0]

    def onward(self, place: int, x: Tensor, until: int | None) -> Tensor:
        """From the stream behind a place's block to the end, or to the stream behind block `until`, under the stack."""
        layer = self.dictionaries[place].layer
        later = [edit for edit in self.edits if edit.layer > layer]
        return run_blocks(self.decoder, Start(layer + 1, x[None]), Tape(later, ()), until=until)

    def changes(self, place: int) -> tuple[Tensor, Tensor]:
        """Corrupt − clean: of every feature [pos, feature], and of the error [pos, d_model]."""
        dictionary = self.dictionaries[place]
        clean, corrupt = (acts[place] for acts in self.acts)
        errors = [
            x[place] - dictionary.decode(acts[place], x[place]) for x, acts in zip(self.streams, self.acts, strict=True)
        ]
        return corrupt - clean, errors[1] - errors[0]

    def parts(self, place: int, slope: Tensor) -> tuple[Float[Tensor, "pos feature"], Float[Tensor, " pos"]]:
        """What features and error pass on of a slope."""
        features, error = self.changes(place)
        return features * (slope @ self.dictionaries[place].decoder.T.to(slope)), (error * slope).sum(-1)

    def edges(self, place: int, up: Sequence[int], down: Sequence[int]) -> Float[np.ndarray, "down up"]:
        """Of the effect of each node of the next place, what comes through each node of this one; errors last."""
        dictionary = self.dictionaries[place + 1]
        weight, bias = (part.to(self.streams[0][0]) for part in dictionary.linear)
        with torch.enable_grad():
            x = self.streams[0][place].detach().requires_grad_()
            reached = self.onward(place, x, dictionary.layer)[0]
            fires = (self.acts[0][place + 1] > 0).to(reached)
            acts = (reached @ weight + bias) * fires
            slope = self.slopes[place + 1]
            through = (slope @ dictionary.decoder.T.to(slope)) * acts
            error = ((reached - acts @ dictionary.decoder.to(reached)) * slope).sum()
            targets = torch.stack([*(through[:, list(down)].sum(0)), error])
            slopes = torch.autograd.grad(targets, x, torch.eye(len(targets)).to(targets), is_grads_batched=True)[0]
        rows = []
        for each in slopes:
            features, missed = self.parts(place, each)
            rows.append(np.append(features[:, list(up)].sum(0).double().numpy(), float(missed.sum())))
        return np.stack(rows)


def feature_estimate(model: Model, contrast: Contrast, place: Place) -> float:
    """First-order estimate of what patching a feature from the corrupt prompt does to one pair's objective, in logits."""
    site = place.site
    assert isinstance(site, Feature)
    dictionary, clean = feature_acts(model, contrast.clean, site)
    corrupt = feature_acts(model, contrast.corrupt, site)[1]
    kind = dictionary.writes
    score = LogitDifference(torch.tensor([contrast.read]))
    slopes = activation_gradients(model, contrast.clean.tokens, (kind,), score, contrast.clean.stack)[1]
    slope = dictionary.flat(slopes[kind][site.layer])
    values = (corrupt - clean)[:, site.index] * (slope @ dictionary.decoder[site.index].to(slope))
    return float(values.sum() if place.position is None else values[place.position])
