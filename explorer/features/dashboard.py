"""What is known of one feature: where it fires, what it writes, what writes and reads it.

Examples are of an index: the strongest, samples of each fifth of the activations between 0 and the largest, and near misses (places
with the tokens at which it fires most, where it does not fire).
"""

from collections import Counter
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from explorer.core.errors import DictionaryError
from explorer.core.provenance import Provenance
from explorer.core.sites import Head, Kind
from explorer.engine.backends import Engine
from explorer.engine.forward import embed, head_weight
from explorer.engine.interventions import as_stack
from explorer.engine.model import Model
from explorer.engine.places import read_places
from explorer.features.index import FeatureIndex
from explorer.models.decoder import Decoder
from explorer.models.dictionary import STREAMS, Dictionary
from explorer.prompts.tokens import Bos

BINS = 40
QUANTILES = 5


@dataclass(frozen=True, eq=False)
class Example:
    """A stretch of the corpus around a place."""

    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    acts: Float[np.ndarray, " token"]
    """The feature's activation at each token; 0 where it does not fire."""
    peak: int
    """Which token the example was chosen for."""
    group: str
    """`top`, `interval 1` (weakest) to `interval 5`, or `near miss`."""


@dataclass(frozen=True, eq=False)
class Logits:
    """The direct effect of a feature's decoder row on the logits, frozen final norm left out: relative sizes alone count."""

    promoted: tuple[tuple[str, float], ...]
    suppressed: tuple[tuple[str, float], ...]


@dataclass(frozen=True, eq=False)
class Dashboard:
    """A feature's card."""

    place: str
    feature: int
    density: float
    """Share of the indexed tokens at which it fires."""
    largest: float
    mean: float
    """Mean activation where it fires."""
    histogram: tuple[Int[np.ndarray, " bin"], Float[np.ndarray, " edge"]]
    """Activations where it fires: counts, and edges of the bins."""
    examples: tuple[Example, ...]
    top_tokens: tuple[tuple[str, float], ...]
    """Tokens at which it fires, by their share of its total activation."""
    logits: Logits
    neighbours: tuple[tuple[int, float], ...]
    """Features with the most similar decoder rows: number and cosine."""
    written_by: tuple[tuple[str, float], ...]
    """What each component adds to its pre-activation at its strongest place; the parts add up to it, bias aside."""
    read_by: tuple[tuple[str, float], ...]
    """How much more a component reads of its decoder row than of a random direction (1: as much)."""
    corpus: str
    n_tokens: int


def feature_dashboard(model: Model, index: FeatureIndex, feature: int, n: int = 10, seed: int = 0) -> Dashboard:
    """The dashboard of a feature that may have fired nowhere; `DictionaryError` if there is no such feature."""
    dictionary = model.dictionary(index.about["place"])
    dictionary.feature(feature)
    places, values = index.entries(feature)
    rng = np.random.default_rng(seed)
    top = top_tokens(model, index, places, values)
    return Dashboard(
        dictionary.place,
        feature,
        len(places) / index.n_tokens,
        float(values.max(initial=0)),
        float(values.mean()) if len(values) else 0.0,
        np.histogram(values, BINS, (0, max(float(values.max(initial=0)), 1e-9))),
        tuple(examples(model, index, places, values, n, rng)),
        top,
        logit_effects(model, dictionary, feature),
        neighbours(dictionary, feature),
        written_by(model, dictionary, feature, index, places, values),
        read_by(model, dictionary, feature),
        str(index.about["source"]),
        index.n_tokens,
    )


def examples(
    model: Model, index: FeatureIndex, places: np.ndarray, values: np.ndarray, n: int, rng: np.random.Generator
) -> list[Example]:
    """Top examples of different rows, then samples of each interval, then near misses."""
    if not len(places):
        return []
    sparse = dict(zip(places.tolist(), values.tolist(), strict=True))
    order = np.argsort(-values, kind="stable")
    rows, chosen = set(), []
    for number in order:
        row = places[number] // index.row
        if row not in rows:
            rows.add(row)
            chosen.append((int(places[number]), "top"))
        if len(chosen) == n:
            break
    edges = np.linspace(0, float(values.max()), QUANTILES + 1)
    for number in range(QUANTILES, 0, -1):
        inside = places[(values > edges[number - 1]) & (values <= edges[number])]
        if len(inside):
            drawn = rng.choice(inside, min(3, len(inside)), replace=False)
            chosen += [(int(place), f"interval {number}") for place in drawn]
    chosen += [(place, "near miss") for place in near_misses(index, places, values, rng)]
    return [example(model, index, place, group, sparse) for place, group in chosen]


def near_misses(
    index: FeatureIndex, places: np.ndarray, values: np.ndarray, rng: np.random.Generator, n: int = 5
) -> list[int]:
    """Places with the feature's strongest token at which it does not fire."""
    flat = index.tokens.reshape(-1)
    strongest = Counter(flat[places[np.argsort(-values)[:50]]].tolist()).most_common(3)
    found: list[int] = []
    for token, _ in strongest:
        silent = np.setdiff1d(np.flatnonzero(flat == token), places, assume_unique=True)
        silent = silent[silent % index.row > 0]
        found += rng.choice(silent, min(n - len(found), len(silent)), replace=False).tolist()
        if len(found) >= n:
            break
    return found


def example(model: Model, index: FeatureIndex, place: int, group: str, sparse: dict[int, float]) -> Example:
    ids, peak = index.window(place)
    first = place - peak
    acts = np.array([sparse.get(first + number, 0.0) for number in range(len(ids))])
    return Example(tuple(model.token_text(id_) for id_ in ids), tuple(ids), acts, peak, group)


def top_tokens(
    model: Model, index: FeatureIndex, places: np.ndarray, values: np.ndarray, n: int = 10
) -> tuple[tuple[str, float], ...]:
    if not len(places):
        return ()
    ids, which = np.unique(index.tokens.reshape(-1)[places], return_inverse=True)
    total = np.bincount(which, values) / values.sum()
    best = np.argsort(-total)[:n]
    return tuple((model.token_text(int(ids[number])), float(total[number])) for number in best)


@torch.no_grad()
def logit_effects(model: Model, dictionary: Dictionary, feature: int, n: int = 10) -> Logits:
    """Final norm's weights, then W_U, of a decoder row; means over the vocabulary taken off."""
    if dictionary.kind == "z" or not isinstance(model.runtime, Engine):
        return Logits((), ())
    decoder = model.runtime.decoder
    row = dictionary.decoder[feature].to(decoder.unembed.weight)
    if decoder.norm_final is not None:
        row = row - row.mean() if decoder.norm_final.kind == "layer" else row
        row = row * decoder.norm_final.weight
    effect = decoder.unembed.weight @ row
    effect = effect - effect.mean()

    def named(found: tuple[Tensor, Tensor], sign: int) -> tuple[tuple[str, float], ...]:
        return tuple((model.token_text(int(token)), sign * float(value)) for value, token in zip(*found, strict=True))

    return Logits(named(torch.topk(effect, n), 1), named(torch.topk(-effect, n), -1))


def neighbours(dictionary: Dictionary, feature: int, n: int = 10) -> tuple[tuple[int, float], ...]:
    """Features with the most similar decoder rows (cosine), itself left out."""
    rows = torch.nn.functional.normalize(dictionary.decoder, dim=-1)
    cosines = rows @ rows[feature]
    cosines[feature] = -2
    found = torch.topk(cosines, min(n, len(cosines) - 1))
    return tuple((int(number), float(value)) for value, number in zip(*found, strict=True))


@torch.no_grad()
def written_by(
    model: Model,
    dictionary: Dictionary,
    feature: int,
    index: FeatureIndex,
    places: np.ndarray,
    values: np.ndarray,
    n: int = 12,
) -> tuple[tuple[str, float], ...]:
    """What embedding, heads and MLPs add to the pre-activation at the strongest place: their writes times the encoder.

    Only where a stream or a transcoder is read, whose norm is held at its scale there, and pre-activations are linear in it.
    """
    if not len(places) or not isinstance(model.runtime, Engine) or dictionary.kind not in (*STREAMS, "transcoder"):
        return ()
    try:
        weight = dictionary.linear[0][:, feature]
    except DictionaryError:
        return ()
    row, column = divmod(int(places[values.argmax()]), index.row)
    rows = torch.from_numpy(index.tokens[row : row + 1, : column + 1].astype(np.int64))
    parts = writes_at(model, model.runtime.decoder, dictionary, rows)
    found = {
        name: float(reads(model.runtime.decoder, dictionary, write, parts["stream"]) @ weight)
        for name, write in parts.items()
        if name != "stream"
    }
    best = sorted(found.items(), key=lambda item: -abs(item[1]))[:n]
    return tuple(best)


def reads(decoder: Decoder, dictionary: Dictionary, write: Tensor, stream: Tensor) -> Tensor:
    """A write as the dictionary reads it: through the MLP's norm, held at the stream's scale, for a transcoder."""
    weights = decoder.blocks[dictionary.layer].norm_mlp
    if not dictionary.is_transcoder or weights is None:
        return dictionary.flat(write)
    centred, whole = (x - x.mean() if weights.kind == "layer" else x for x in (write, stream))
    return centred * torch.rsqrt(whole.pow(2).mean() + weights.eps) * weights.weight


def writes_at(model: Model, decoder: Decoder, dictionary: Dictionary, rows: Tensor) -> dict[str, Tensor]:
    """Every writer below a dictionary, at the last position of one row; and the stream that it reads."""
    layer, kind = dictionary.layer, dictionary.kind
    whole = layer + (kind == "resid_post")
    heads = layer + (kind != "resid_pre")
    places: list[tuple[Kind, int]] = [("z", number) for number in range(heads)]
    places += [("attn_out", number) for number in range(heads)]
    places += [("mlp_out", number) for number in range(whole)] if model.info.d_mlp else []
    reading = cast(
        Kind,
        "resid_mid" if kind == "transcoder" and not decoder.parallel else "resid_pre" if kind == "transcoder" else kind,
    )
    found = [value[0, -1] for value in read_places(model, rows, [*places, (reading, layer)])]
    parts = {"stream": found[-1], "embed": embed(decoder, rows.to(model.info.device))[0, -1]}
    for (name, number), value in zip(places, found, strict=False):
        if name == "z" and model.info.heads_add_up:
            for head in range(decoder.n_heads):
                parts[str(Head(number, head))] = head_weight(decoder, number, head) @ value[head]
        elif name == "mlp_out" or (name == "attn_out" and not model.info.heads_add_up):
            parts[f"L{number}.{name}"] = value
        elif name == "attn_out" and (bias := decoder.blocks[number].o.bias) is not None:
            parts[f"L{number} attention bias"] = bias
    return parts


@torch.no_grad()
def read_by(model: Model, dictionary: Dictionary, feature: int, n: int = 12) -> tuple[tuple[str, float], ...]:
    """|W d̂| over √(mean |W r̂|²) for random r̂, of later heads' q, k and v and later MLPs, norms' weights applied."""
    if dictionary.kind == "z" or not isinstance(model.runtime, Engine):
        return ()
    decoder = model.runtime.decoder
    row = torch.nn.functional.normalize(dictionary.decoder[feature], dim=0).to(decoder.embed)
    found: dict[str, float] = {}
    first = dictionary.layer + (dictionary.kind != "resid_pre")
    for layer in range(first, decoder.n_layers):
        block = decoder.blocks[layer]
        for part, name, width in (
            ("q", "H", decoder.n_heads),
            ("k", "KV", decoder.n_kv_heads),
            ("v", "KV", decoder.n_kv_heads),
        ):
            weight = getattr(block, part).weight.reshape(width, decoder.d_head, -1)
            scaled = weight * (block.norm_attention.weight if block.norm_attention else 1)
            gains = gain(scaled, row)
            found |= {f"L{layer}{name}{head}.{part}": float(value) for head, value in enumerate(gains)}
        if block.mlp is not None:
            scaled = block.mlp.up.weight * (block.norm_mlp.weight if block.norm_mlp else 1)
            found[f"L{layer}.mlp_in"] = float(gain(scaled[None], row)[0])
    return tuple(sorted(found.items(), key=lambda item: -item[1])[:n])


def gain(weight: Float[Tensor, "part out d_model"], row: Float[Tensor, " d_model"]) -> Float[Tensor, " part"]:
    sizes: Tensor = (
        torch.linalg.vector_norm(weight @ row, dim=-1) / (weight.pow(2).sum((1, 2)) / weight.shape[-1]).sqrt()
    )
    return sizes


@torch.no_grad()
def prompt_acts(
    model: Model, dictionary: Dictionary, text: str, bos: Bos = "default", interventions: tuple[object, ...] = ()
) -> Float[Tensor, "pos feature"]:
    """How strongly every feature fires at each token of a prompt, under a stack."""
    kind = dictionary.reads
    tokens = model.tokenize(text, bos)
    read = model.activations(tokens, as_stack(interventions), (kind,)).kept[kind][dictionary.layer]
    return dictionary.encode(dictionary.flat(read))


@dataclass(frozen=True, eq=False)
class PromptFeatures:
    """How strongly the features of a dictionary fire on a prompt."""

    acts: Float[np.ndarray, "pos feature"]
    tokens: tuple[str, ...]
    provenance: Provenance


def prompt_features(
    model: Model, place: str, prompt: str, interventions: object = (), bos: Bos = "default"
) -> PromptFeatures:
    """Activations of every feature of the dictionary at `place` on a prompt, under a stack.  Raises `DictionaryError`, `PromptError`."""
    stack, tokens = as_stack(interventions), model.tokenize(prompt, bos)
    acts = prompt_acts(model, model.dictionary(place), prompt, bos, stack)
    return PromptFeatures(acts.double().cpu().numpy(), tuple(tokens.texts), model.provenance([tokens], stack))
