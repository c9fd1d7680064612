"""Descriptions of features, always with scores (Bills et al. 2023; Paulo et al. 2024, delphi).

    detection   does this text make the feature fire?          fuzzing   are the marked tokens those at which it fires?

Both are balanced accuracies, (true positive rate + true negative rate) / 2, on examples that the description was not made from:
firing ones drawn from every fifth of the activations, as many silent ones at random.  Beside them stand the scores of other features'
descriptions on the same examples (shuffled): what a description gets that says nothing of this feature.

A rule is read off the index; a language model, local or behind an API, is used where the user configures one.
"""

import json
import math
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from explorer.core.errors import DescriptionError
from explorer.engine.generation import generate
from explorer.engine.model import Model
from explorer.engine.sweep import never
from explorer.features.index import FeatureIndex
from explorer.models.info import Progress

BEFORE, AFTER = 12, 3
"""Tokens of an example before and behind its place."""
EACH = 20
"""Firing and silent examples that are scored."""
SAID = 8
"""Words of a rule that are named in its text."""


@dataclass(frozen=True)
class Sample:
    """A stretch of text, which of its tokens are marked, and whether that is right."""

    ids: tuple[int, ...]
    words: tuple[str, ...]
    marked: tuple[int, ...]
    truth: bool

    @property
    def text(self) -> str:
        return "".join(self.words)

    @property
    def marked_text(self) -> str:
        return "".join(f"<<{word}>>" if number in self.marked else word for number, word in enumerate(self.words))


@dataclass(frozen=True)
class Rule:
    """Fires at one of some tokens, or behind one of some tokens."""

    where: str
    """`token` or `previous`."""
    tokens: frozenset[int]

    def at(self, ids: Sequence[int], number: int) -> bool:
        place = number if self.where == "token" else number - 1
        return place >= 0 and ids[place] in self.tokens


@dataclass(frozen=True)
class Description:
    text: str
    by: str
    """`rule`, or the language model's name."""
    rule: Rule | None = None


@dataclass(frozen=True)
class Scores:
    """Balanced accuracies of a description, and the mean of other features' descriptions on the same examples."""

    detection: float
    fuzzing: float
    shuffled_detection: float
    shuffled_fuzzing: float
    n: int
    """Examples of each score."""


@runtime_checkable
class Describer(Protocol):
    """Who describes, and who judges a description."""

    name: str

    def describe(self, firing: Sequence[Sample], silent: Sequence[Sample]) -> Description: ...

    def judge(self, description: Description, sample: Sample, fuzzing: bool) -> bool: ...


class RuleDescriber:
    """The token, or the token before, that tells firing from silent places best."""

    name = "rule"

    def __init__(self, model: Model) -> None:
        self.model = model

    def describe(self, firing: Sequence[Sample], silent: Sequence[Sample]) -> Description:
        rules = [best_rule(where, firing, silent) for where in ("token", "previous")]
        rule = max(rules, key=lambda each: separates(each, firing, silent))
        counts = Counter(sample.ids[place] for sample in firing for place in places_of(rule.where, sample))
        named = [f"“{self.model.token_text(id_)}”" for id_, _ in counts.most_common() if id_ in rule.tokens]
        rest = f" and {len(named) - SAID} more" if len(named) > SAID else ""
        where = "at" if rule.where == "token" else "behind"
        return Description(
            f"Fires {where} {', '.join(named[:SAID]) or 'no token in particular'}{rest}", self.name, rule
        )

    def judge(self, description: Description, sample: Sample, fuzzing: bool) -> bool:
        rule = description.rule
        if rule is None:
            raise DescriptionError("A description in words is judged by a language model, not by a rule. Choose one.")
        numbers = sample.marked if fuzzing else range(len(sample.ids))
        return any(rule.at(sample.ids, number) for number in numbers)


def places_of(where: str, sample: Sample) -> list[int]:
    return [place for place in (number - (where == "previous") for number in sample.marked) if place >= 0]


def best_rule(where: str, firing: Sequence[Sample], silent: Sequence[Sample]) -> Rule:
    """Tokens that are commoner at firing places than at others, add-one rates compared."""
    yes, no = Counter[int](), Counter[int]()
    for sample in (*firing, *silent):
        fires = set(places_of(where, sample))
        for number, id_ in enumerate(sample.ids):
            (yes if number in fires else no)[id_] += 1
    return Rule(where, frozenset(id_ for id_, count in yes.items() if count >= no[id_]))


def separates(rule: Rule, firing: Sequence[Sample], silent: Sequence[Sample]) -> float:
    hits: list[bool] = [any(rule.at(sample.ids, number) for number in sample.marked) for sample in firing]
    false = [
        rule.at(sample.ids, number)
        for sample in (*firing, *silent)
        for number in range(len(sample.ids))
        if number not in sample.marked
    ]
    return float(np.mean(hits or [False])) - float(np.mean(false or [False]))


@runtime_checkable
class LanguageModel(Protocol):
    """Completes a chat of one user message."""

    name: str

    def complete(self, prompt: str, tokens: int) -> str: ...


class LanguageDescriber:
    """A language model that describes and judges."""

    def __init__(self, language: LanguageModel) -> None:
        self.language = language
        self.name = language.name

    def describe(self, firing: Sequence[Sample], silent: Sequence[Sample]) -> Description:
        shown = "\n".join(f"{number}. {sample.marked_text}" for number, sample in enumerate(firing[:12], 1))
        prompt = (
            "A feature of a language model fires at the tokens marked << >> in these texts. In one short phrase, say what it "
            f"stands for.\n\n{shown}\n\nThe feature stands for:"
        )
        text = self.language.complete(prompt, 40).strip().splitlines()
        return Description((text[0] if text else "")[:300], self.name)

    def judge(self, description: Description, sample: Sample, fuzzing: bool) -> bool:
        asked = (
            "Are the tokens marked << >> ones at which it fires?" if fuzzing else "Does it fire anywhere in this text?"
        )
        text = sample.marked_text if fuzzing else sample.text
        prompt = f"A feature of a language model is described so: {description.text}\n\nText: {text}\n\n{asked} Answer yes or no:"
        return self.language.complete(prompt, 3).strip().lower().startswith("yes")


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """An answer that sends elsewhere is an error: neither examples nor the key follow it."""

    def redirect_request(self, *args: Any, **more: Any) -> None:
        return None


class Api:
    """A language model behind an OpenAI-compatible endpoint that the user names; requests go nowhere else."""

    def __init__(self, url: str, model: str, key: str = "", timeout: float = 60) -> None:
        if not url.startswith(("http://", "https://")):
            raise DescriptionError(
                f"{url[:60]!r} is no address of an API. Expected for example http://127.0.0.1:8000/v1"
            )
        self.url, self.name, self.key, self.timeout = url.rstrip("/"), model, key, timeout

    def complete(self, prompt: str, tokens: int) -> str:
        body = {
            "model": self.name,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens,
            "temperature": 0,
        }
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = urllib.request.Request(f"{self.url}/chat/completions", json.dumps(body).encode(), headers)
        try:
            with urllib.request.build_opener(NoRedirect).open(request, timeout=self.timeout) as answer:
                return str(json.load(answer)["choices"][0]["message"]["content"])
        except urllib.error.HTTPError as error:
            why = "the key was refused" if error.code in (401, 403) else error.reason
            why = "it sends elsewhere, which is not followed" if 300 <= error.code < 400 else why
            raise DescriptionError(
                f"{self.url} answered {error.code} ({why}). Check address, model and key; rules need none."
            ) from error
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise DescriptionError(
                f"{self.url} gave no answer that can be read ({error}). Rules need no API."
            ) from error


class Local:
    """A model of this program as the one that describes; small ones describe badly, which the scores show."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.name = model.info.title

    def complete(self, prompt: str, tokens: int) -> str:
        if self.model.tokenizer.chat_template:
            chat = [{"role": "user", "content": prompt}]
            prompt = self.model.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        ids = list(generate(self.model, prompt, n_tokens=tokens))
        return str(self.model.tokenizer.decode(ids, skip_special_tokens=True))


class Watched:
    """A describer whose judgements are counted, and that stops when it is told to."""

    def __init__(
        self, describer: Describer, progress: Progress | None, cancelled: Callable[[], bool], wanted: int
    ) -> None:
        self.describer, self.progress, self.cancelled, self.wanted = describer, progress, cancelled, wanted
        self.name, self.done = describer.name, 0

    def describe(self, firing: Sequence[Sample], silent: Sequence[Sample]) -> Description:
        return self.describer.describe(firing, silent)

    def judge(self, description: Description, sample: Sample, fuzzing: bool) -> bool:
        if self.cancelled():
            raise DescriptionError("Cancelled. Nothing was kept.")
        self.done += 1
        if self.progress is not None:
            self.progress(min(1.0, self.done / self.wanted), f"{self.done} judgements")
        return self.describer.judge(description, sample, fuzzing)


def describe_feature(
    model: Model,
    index: FeatureIndex,
    feature: int,
    describer: Describer | None = None,
    seed: int = 0,
    others: int = 5,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = never,
) -> tuple[Description, Scores]:
    """A description and its scores, beside those of `others`, descriptions of other features.

    `describer`: rules, if none is given.  Raises `DescriptionError` where the feature fires too seldom (or nearly everywhere) to score
    anything, where an API fails, and when cancelled.
    """
    describer = Watched(describer or RuleDescriber(model), progress, cancelled, 4 * EACH * (1 + others))
    rng = np.random.default_rng((seed, feature))
    made, held = samples(model, index, feature, rng)
    description = describer.describe(*made)
    fuzzed = fuzzing_samples(held[0], rng)
    own = rated(describer, description, held, fuzzed)
    wrong = [
        rated(describer, each, held, fuzzed)
        for each in other_descriptions(model, index, feature, describer, rng, others)
    ]
    shuffled = np.mean(wrong, 0) if wrong else np.array([math.nan, math.nan])
    return description, Scores(own[0], own[1], float(shuffled[0]), float(shuffled[1]), len(held[0]) + len(held[1]))


def other_descriptions(
    model: Model, index: FeatureIndex, feature: int, describer: Describer, rng: np.random.Generator, n: int
) -> list[Description]:
    """Descriptions of features drawn at random, for comparison."""
    alive = np.flatnonzero(index.totals["count"] >= 2 * EACH)
    found = []
    for number in rng.permutation(alive[alive != feature])[:n]:
        made, _ = samples(model, index, int(number), rng)
        found.append(describer.describe(*made))
    return found


Split = tuple[list[Sample], list[Sample]]


def samples(model: Model, index: FeatureIndex, feature: int, rng: np.random.Generator) -> tuple[Split, Split]:
    """Firing and silent examples to describe from, and others to score on."""
    places, values = index.entries(feature)
    if len(places) < 8:
        raise DescriptionError(
            f"Feature {feature:,} fires at {len(places)} of {index.n_tokens:,} indexed tokens: too few to describe and to score. "
            "Index a larger text."
        )
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable") * 5 // len(values)
    chosen: list[int] = []
    for fifth in range(5):
        inside = np.flatnonzero(ranks == fifth)
        chosen += rng.choice(inside, min(2 * EACH // 5, len(inside)), replace=False).tolist()
    fires = set(places.tolist())
    firing = [sample_at(model, index, int(places[number]), fires) for number in rng.permutation(chosen)]
    silent: list[Sample] = []
    for place in rng.integers(0, index.tokens.size, 40 * EACH):
        sample = sample_at(model, index, int(place), fires)
        if not sample.marked:
            silent.append(sample)
        if len(silent) == len(firing):
            break
    if len(silent) < 4:
        raise DescriptionError(
            f"Feature {feature:,} fires in almost every stretch of the text, so there are no silent ones to score a description on."
        )
    half, other = len(firing) // 2, len(silent) // 2
    return (firing[:half], silent[:other]), (firing[half:], silent[other:])


def sample_at(model: Model, index: FeatureIndex, place: int, fires: set[int]) -> Sample:
    ids, peak = index.window(place, BEFORE, AFTER)
    marked = tuple(number for number in range(len(ids)) if place - peak + number in fires)
    return Sample(tuple(ids), tuple(model.token_text(id_) for id_ in ids), marked, bool(marked))


def fuzzing_samples(firing: Sequence[Sample], rng: np.random.Generator) -> list[Sample]:
    """Each firing example with its own marks, and with as many at tokens where it is silent."""
    found = []
    for sample in firing:
        others = [number for number in range(len(sample.ids)) if number not in sample.marked]
        count = min(len(sample.marked), len(others))
        if count:
            wrong = rng.choice(others, count, replace=False)
            found += [sample, Sample(sample.ids, sample.words, tuple(sorted(map(int, wrong))), False)]
    return found


def rated(describer: Describer, description: Description, held: Split, fuzzed: Sequence[Sample]) -> tuple[float, float]:
    def accuracy(items: Sequence[Sample], fuzzing: bool) -> float:
        right = [(sample.truth, describer.judge(description, sample, fuzzing)) for sample in items]
        rates = [
            np.mean([said == truth for truth, said in right if truth == side])
            for side in (True, False)
            if any(truth == side for truth, _ in right)
        ]
        return float(np.mean(rates)) if rates else math.nan

    return accuracy([*held[0], *held[1]], False), accuracy(fuzzed, True)
