"""How a sentence of the small world is put together: openings, cores, and sentences that fill the space between."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

from explorer.core.pairs import ContrastPair
from explorer.models.zoo import lexicon

Item = TypeVar("Item")
Core = TypeVar("Core")
EVERY = 5
"""One combination of opening and core in so many is held out."""


@dataclass(frozen=True)
class Example:
    """A contrast pair, and how a document goes on after the clean prompt's answer."""

    pair: ContrastPair
    tail: str

    @property
    def document(self) -> str:
        return self.pair.clean + self.pair.answer + self.tail


def example(texts: Sequence[str], answer: str, distractor: str, tail: str) -> Example:
    """An example of a clean and a corrupt text."""
    clean, corrupt = texts
    return Example(ContrastPair(clean, corrupt, answer, distractor), tail)


@dataclass(frozen=True)
class Frames(Generic[Core]):
    """The templates of a task: every opening before every core.

    A fifth of the combinations is held out: their parts occur in training, but never together.
    """

    openings: tuple[str, ...]
    cores: tuple[Core, ...]

    def combinations(self, held_out: bool) -> list[tuple[str, Core]]:
        """Those of the training, or those held out.  One that begins a template of the training is neither: there the model
        rightly goes on."""
        chosen = []
        for row, opening in enumerate(self.openings):
            seen = [core for column, core in enumerate(self.cores) if (row + column) % EVERY != EVERY - 1]
            rest = [core for core in self.cores if core not in seen and not any(begins(core, other) for other in seen)]
            chosen += [(opening, core) for core in (rest if held_out else seen)]
        return chosen

    def pick(self, rng: Random, held_out: bool) -> tuple[str, Core]:
        return rng.choice(self.combinations(held_out))


def begins(core: object, other: object) -> bool:
    """Whether a core's text is the beginning of another's."""
    return isinstance(core, str) and isinstance(other, str) and bool(core) and other.startswith(core)


def join(*parts: str) -> str:
    """Parts with a space between; a part that begins a sentence gets a capital letter."""
    text = ""
    for part in parts:
        if part:
            begins = not text or text[-1] in '.!?:"'
            text += (" " if text else "") + (part[0].upper() + part[1:] if begins else part)
    return text


def two(rng: Random, items: Sequence[Item]) -> tuple[Item, Item]:
    first, second = rng.sample(items, 2)
    return first, second


def a(word: str) -> str:
    return ("an " if word[0] in "aeiou" else "a ") + word


FILLERS = (
    "It was a {adjective} day.",
    "The {animal} was {adjective}.",
    "There was a {adjective} {animal}.",
    "{name} was not there.",
    "{name} came later.",
    "{name} stayed at home.",
    "The {place} was {adjective}.",
    "Nobody said a word.",
    "Then it began to rain.",
)


def filler(rng: Random, without: Sequence[str] = ()) -> str:
    """A sentence that decides nothing; its name is none of those that matter."""
    return rng.choice(FILLERS).format(
        adjective=rng.choice(lexicon.ADJECTIVES),
        animal=rng.choice(lexicon.ANIMALS),
        place=rng.choice(lexicon.PLACES),
        name=rng.choice([name for name in lexicon.NAMES if name not in without]),
    )


def fillers(rng: Random, most: int, without: Sequence[str] = ()) -> str:
    """Up to `most` such sentences, often none: the distance between what is told and what is asked varies."""
    return join(*(filler(rng, without) for _ in range(rng.choice([0, *range(most + 1)]))))
