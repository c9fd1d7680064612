"""Contrasts: the two runs between which a patching method moves activations, and the objective that it watches.

Each comes from a contrast pair; where noise takes the corrupt prompt's place, from the clean prompt and one draw of it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from explorer.core.errors import AnswerError, NotFiniteError, PairError, SiteError
from explorer.core.pairs import ContrastPair
from explorer.core.places import Place
from explorer.core.sites import Feature, Kind
from explorer.engine.edits import AnyEdit, Edit, FeatureEdit, Tape, part
from explorer.engine.fitting import address
from explorer.engine.interventions import Noise, Stack, as_stack
from explorer.engine.model import Model
from explorer.models.dictionary import Dictionary
from explorer.prompts.pairs import check_aligned
from explorer.prompts.tokens import Bos, Tokens

Direction = Literal["denoising", "noising"]


@dataclass(frozen=True)
class Stacks:
    """The stack of each prompt of a pair: what `interventions=` takes, as a value that can be written down."""

    clean: Stack = ()
    corrupt: Stack = ()

    def __call__(self, pair: ContrastPair, side: str) -> Stack:
        return self.clean if side == "clean" else self.corrupt


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two runs: a prompt under a stack."""

    tokens: Tokens
    stack: Stack


@dataclass(frozen=True, eq=False)
class Contrast:
    clean: Side
    corrupt: Side
    read: tuple[int, int]
    """Ids of answer and distractor."""

    def base(self, direction: Direction) -> Side:
        """The run that is patched."""
        return self.corrupt if direction == "denoising" else self.clean

    def source(self, direction: Direction) -> Side:
        """The run that gives the new values."""
        return self.clean if direction == "denoising" else self.corrupt


def contrasts(
    model: Model,
    pairs: ContrastPair | Sequence[ContrastPair],
    interventions: Any = (),
    bos: Bos = "default",
    noise: Noise | None = None,
    draws: int = 1,
) -> list[Contrast]:
    """The contrasts of some pairs.

    Args:
        interventions: a stack for every prompt, or a function from a pair and "clean" or "corrupt" to that prompt's stack.
        noise: takes the corrupt prompt's place: the clean prompt with noise added, `draws` times with seeds that follow.

    Raises `PairError` (none, or unequal token lengths: shows where), `AnswerError`, `PromptError`.
    """
    chosen = [pairs] if isinstance(pairs, ContrastPair) else list(pairs)
    if not chosen:
        raise PairError("Patching needs at least one contrast pair.")
    found = []
    for pair in chosen:
        read = answers(model, pair)
        clean = Side(model.tokenize(pair.clean, bos), stack_of(interventions, pair, "clean"))
        if noise is not None:
            for draw in range(draws):
                corrupted = replace(noise, seed=noise.seed + draw)
                found.append(Contrast(clean, replace(clean, stack=(corrupted, *clean.stack)), read))
            continue
        if not pair.corrupt.strip():
            raise PairError("The corrupt prompt is empty. Write one, or let noise take its place.")
        corrupt = Side(model.tokenize(pair.corrupt, bos), stack_of(interventions, pair, "corrupt"))
        check_aligned(clean.tokens, corrupt.tokens)
        found.append(Contrast(clean, corrupt, read))
    return found


def stack_of(interventions: Any, pair: ContrastPair, side: str) -> Stack:
    made: Callable[..., Any] | None = interventions if callable(interventions) else None
    return as_stack(interventions if made is None else made(pair, side))


def answers(model: Model, pair: ContrastPair) -> tuple[int, int]:
    if not pair.answer or not pair.distractor:
        raise AnswerError(
            "Patching measures logit(answer) − logit(distractor), so each pair needs both, one token each, such as ' Mary' "
            "and ' John'."
        )
    return model.single_token(pair.answer), model.single_token(pair.distractor)


def read_of(found: Sequence[Contrast]) -> Int[Tensor, "pair token"]:
    return torch.tensor([each.read for each in found])


def objective(model: Model, side: Side, read: tuple[int, int]) -> float:
    """logit(answer) − logit(distractor) of one run."""
    return read_objective(model, model.activations(side.tokens, side.stack, ("resid_post",)).final, read)


def objectives(
    model: Model, found: Sequence[Contrast]
) -> tuple[Float[np.ndarray, " pair"], Float[np.ndarray, " pair"]]:
    """The objective of each clean and of each corrupt run."""
    clean = [objective(model, each.clean, each.read) for each in found]
    return np.array(clean), np.array([objective(model, each.corrupt, each.read) for each in found])


def values_from(model: Model, side: Side, places: Iterable[Place]) -> list[Edit]:
    """Edits that set places to their values in one run."""
    found = []
    for place in places:
        if isinstance(place.site, Feature):
            found.append(feature_value(model, side, place.site, place.position))
            continue
        kind, layer, index = address(place.site, model.info)
        kept = model.activations(side.tokens, side.stack, (kind,)).kept[kind]
        if layer not in kept:
            raise SiteError(f"{place.site}: {model.info.title} has none.")
        tokens = side.tokens
        at = tuple(range(len(tokens))) if place.position is None else (tokens.place(place.position),)
        found.append(Edit(kind, layer, index, at, "set", part(kept[layer][None], kind, index)[0][list(at)]))
    return found


def feature_acts(model: Model, side: Side, site: Feature) -> tuple[Dictionary, Float[Tensor, "pos feature"]]:
    """A feature's dictionary, and how strongly each of its features fires in one run."""
    dictionary = model.dictionary(site)
    dictionary.feature(site.index)
    kind = dictionary.reads
    read = model.activations(side.tokens, side.stack, (kind,)).kept[kind][site.layer]
    return dictionary, dictionary.encode(dictionary.flat(read))


def feature_value(model: Model, side: Side, site: Feature, position: int | None) -> Edit:
    dictionary, acts = feature_acts(model, side, site)
    at = tuple(range(len(side.tokens))) if position is None else (side.tokens.place(position),)
    value = acts[list(at), site.index]
    return FeatureEdit(dictionary.writes, site.layer, None, at, "set", value, dictionary, site.index)


def run_edited(model: Model, side: Side, edits: Sequence[AnyEdit], wanted: Iterable[Kind] = ()) -> tuple[Tensor, Tape]:
    """A side's run with further edits behind its stack: the final stream [pos, d_model], and what was kept [1, pos, …]."""
    tape = Tape((*model.edits(side.tokens, side.stack), *edits), wanted)
    final = model.runtime.run(model.batch(side.tokens.ids), tape)[0]
    if not torch.isfinite(final).all():
        raise NotFiniteError(
            "Under this patch the residual stream is not finite (NaN or infinite). Load the model in float32."
        )
    return final, tape


def objective_edited(model: Model, side: Side, read: tuple[int, int], edits: Sequence[AnyEdit]) -> float:
    """logit(answer) − logit(distractor) of a side's run with further edits."""
    return read_objective(model, run_edited(model, side, edits)[0], read)


def read_objective(model: Model, final: Float[Tensor, "pos d_model"], read: tuple[int, int]) -> float:
    return float(difference(model.unembed(final[-1])[list(read)]))


def difference(logits: Float[Tensor, "*rows token"]) -> Float[Tensor, "*rows"]:
    """logit(answer) − logit(distractor) of the two tokens that were read."""
    wide = logits.double()
    return wide[..., 0] - wide[..., 1]
