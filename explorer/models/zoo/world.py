"""The small world: simple English with rules and known answers, drawn from a seed.

A task gives contrast pairs; a document is a pair's clean prompt with its answer and a tail, so what is measured is
what was taught.  Held-out templates never occur in a document.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from explorer.models.zoo import claims, facts, grammar, memory, names
from explorer.models.zoo.frames import Example, filler


@dataclass(frozen=True)
class Task:
    """One kind of question of the small world."""

    key: str
    title: str
    sample: Callable[[Random, bool], Example]
    """An example, from training templates or (True) from those held out."""
    share: int
    """Weight among the documents."""
    one_sided: bool = False
    """The corrupt prompt leaves the answer open, so right is judged on the clean one alone."""
    prefixed: bool = True
    """Whether a sentence that decides nothing may stand before it."""


TASKS: dict[str, Task] = {
    task.key: task
    for task in (
        Task("ioi", "Indirect object, two names", names.indirect_object, 7),
        Task("ioi_distant", "Indirect object, with sentences between", names.distant_indirect_object, 7),
        Task("ioi_three", "Indirect object, three names", names.three_names, 9),
        Task("capital", "Capital city", facts.capital, 8),
        Task("language", "Language", facts.language, 4),
        Task("sport", "Sport of a person", facts.sport, 8),
        Task("opposite", "Opposite", facts.opposite, 2),
        Task("successor", "Successor", facts.successor, 3),
        Task("greater_than", "Greater-than (years)", facts.greater_than, 10, one_sided=True),
        Task("pronoun", "Gendered pronoun", grammar.pronoun, 6),
        Task("agreement", "Subject-verb agreement", grammar.agreement, 7),
        Task("sentiment", "Sentiment", grammar.sentiment, 6),
        Task("liar", "Honest and lying speakers", claims.liar, 5),
        Task("true_false", "True or false", claims.true_false, 9),
        Task("verification", "Verifying a claim", claims.verification, 6, prefixed=False),
        Task("flattery", "Flattery against honesty", claims.flattery, 4, prefixed=False),
        Task("refusal", "Refusal of harmful requests", claims.refusal, 4, prefixed=False),
        Task("recall", "In-context recall", memory.recall, 8),
        Task("colored_objects", "Coloured objects", memory.colored_objects, 8),
        Task("shopping", "List told twice", memory.shopping, 2),
        Task("induction", "Induction on repeated words", memory.repeated_words, 4),
        Task("quote", "Who answers", names.quote, 3),
        Task("story", "Story", names.story, 3),
    )
}


def document(rng: Random, keys: Sequence[str] = ()) -> str:
    """One document, of a task drawn by its share: of all, or of those named."""
    tasks = [TASKS[key] for key in keys or TASKS]
    (task,) = rng.choices(tasks, [each.share for each in tasks])
    text = task.sample(rng, False).document
    return f"{filler(rng)} {text}" if task.prefixed and rng.random() < 0.2 else text


def documents(seed: int, count: int, keys: Sequence[str] = ()) -> Iterator[str]:
    """So many documents; equal for equal seeds."""
    rng = Random(seed)
    return (document(rng, keys) for _ in range(count))


def examples(key: str, count: int, seed: int, held_out: bool = False) -> list[Example]:
    """Fresh examples of one task."""
    rng = Random(f"{key}/{seed}/{held_out}")
    return [TASKS[key].sample(rng, held_out) for _ in range(count)]
