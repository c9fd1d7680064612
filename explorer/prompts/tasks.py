"""Contrast pairs of known tasks, drawn for any tokenizer.

The generators are those of the small world (`models/zoo`), whose sentences are plain English: indirect objects, years,
repeated words, capitals, agreement, pronouns and more.  A pair is kept if both prompts have the same number of tokens and
answer and distractor are one token each; what a model then gets right is measured by `analyses/task_pairs.py`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from explorer.core.errors import TaskError
from explorer.core.pairs import ContrastPair
from explorer.models.zoo.facts import greater_than_digit
from explorer.models.zoo.frames import Example
from explorer.models.zoo.world import TASKS
from explorer.prompts.tokens import unknown_words

FOR_ANY_MODEL = ("ioi", "greater_than", "induction", "capital", "agreement", "pronoun")
"""Tasks that ask nothing a language model of English would not know."""
TRIES = 60
"""Draws for each pair wanted, before giving up."""


@dataclass(frozen=True)
class Drawn:
    """Pairs that fit a tokenizer."""

    pairs: tuple[ContrastPair, ...]
    refused: Counter[str]
    """Why other draws did not fit, and how often."""


def draw_pairs(tokenizer: Any, task: str, count: int, seed: int = 0, held_out: bool = False) -> Drawn:
    """So many different pairs of a task; equal for equal seeds.

    Raises `TaskError` for an unknown task, a count below 1, or where too few draws fit the tokenizer (with the reasons).
    """
    sample = sampler(tokenizer, task)
    if count < 1:
        raise TaskError(f"A task needs at least one pair; got {count}.")
    rng = Random(f"{task}/{seed}/{held_out}")
    found: dict[ContrastPair, None] = {}
    refused: Counter[str] = Counter()
    for _ in range(TRIES * count):
        pair = sample(rng, held_out).pair
        reason = misfit(tokenizer, pair)
        if reason:
            refused[reason] += 1
        else:
            found[pair] = None
        if len(found) == count:
            return Drawn(tuple(found), refused)
    reasons = "; ".join(f"{reason} ({times:,} times)" for reason, times in refused.most_common(4)) or "no more exist"
    raise TaskError(
        f"{TASKS[task].title}: {len(found):,} of {count:,} pairs could be drawn for this tokenizer in {TRIES * count:,} tries. "
        f"The others did not fit: {reasons}. Ask for fewer, or take another task."
    )


def sampler(tokenizer: Any, task: str) -> Callable[[Random, bool], Example]:
    if task not in TASKS:
        raise TaskError(f"There is no task {task!r}. Known: {', '.join(TASKS)}.")
    if task == "greater_than" and len(pieces(tokenizer, "32")) > 1:
        return greater_than_digit
    return TASKS[task].sample


def pieces(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def misfit(tokenizer: Any, pair: ContrastPair) -> str:
    """Why a pair cannot be used with a tokenizer; empty if it can."""
    if unknown_words(tokenizer, f"{pair.clean} {pair.corrupt} {pair.answer} {pair.distractor}"):
        return "words that this model does not know"
    for text in (pair.answer, pair.distractor):
        if len(pieces(tokenizer, text)) != 1:
            return f"answers such as {text!r} are several tokens"
    if len(pieces(tokenizer, pair.clean)) != len(pieces(tokenizer, pair.corrupt)):
        return "the two prompts differ in length"
    return ""
