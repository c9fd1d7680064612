"""Tasks of grammar and tone: pronouns, agreement, sentiment."""

from random import Random

from explorer.models.zoo.frames import Example, Frames, a, example, join, two
from explorer.models.zoo.lexicon import (
    ADJECTIVES,
    BAD,
    FEMALE,
    GOOD,
    JOBS,
    MALE,
    NAMES,
    NOUNS,
    OBJECTS,
    PLACES,
    PREPOSITIONS,
    THINGS,
)

PRONOUNS = Frames(
    openings=("", "one day", "yesterday", "I know that", "everyone says that", "at that time"),
    cores=(
        "{N} went to the {P} because",
        "{N} bought {O} because",
        "{N} was happy because",
        "{N} said that",
        "when {N} came home,",
        "{N} the {J} was at the {P} when",
        "after {N} had left the {P},",
    ),
)
VERBS = {"now": (" is", " are"), "then": (" was", " were")}
SUBJECTS = Frames(
    openings=("", "I know that", "{M} says that", "today", "yesterday", "last year"),
    cores=(
        "the {A} {p} the {B}",
        "the {x} {A} {p} the {B}",
        "the {A} {p} the {x} {B}",
        "the {A} that the {B} saw",
        "the {A} {p} the {B} {q} the {C}",
    ),
)
OPINIONS = Frames(
    openings=(
        "this {T} was {u}.",
        "the {T} was {u} and {w}.",
        "yesterday we had a {u} {T}.",
        "what a {u} {T}!",
        "{M} thought that the {T} was {u}.",
        "the {T} at the {P} was very {u}.",
    ),
    cores=(
        ("I", " loved", " hated"),
        ("the critics", " praised", " attacked"),
        ("Sentiment:", " positive", " negative"),
        ("the review was", " positive", " negative"),
        ("people", " recommended", " avoided"),
    ),
)


def pronoun(rng: Random, held_out: bool) -> Example:
    """He or she, by the name."""
    opening, core = PRONOUNS.pick(rng, held_out)
    slots = {"P": rng.choice(PLACES), "O": a(rng.choice(OBJECTS)), "J": rng.choice(JOBS)}
    people = [(rng.choice(MALE), " he"), (rng.choice(FEMALE), " she")]
    (name, answer), (other, distractor) = rng.sample(people, 2)
    texts = [join(opening, core.format(**slots, N=person)) for person in (name, other)]
    ending = rng.choice([" was tired.", f" liked the {slots['P']}.", f" wanted {slots['O']}.", " had a friend."])
    again = join(rng.choice(PRONOUNS.cores).format(**slots, N=name)) if rng.random() < 0.5 else ""
    return example(texts, answer, distractor, f"{ending} {again}{answer} was there." if again else ending)


def agreement(rng: Random, held_out: bool) -> Example:
    """A verb agrees with its subject, whatever noun stands nearer (Linzen et al. 2016)."""
    opening, core = SUBJECTS.pick(rng, held_out)
    verbs = VERBS["then" if opening in ("yesterday", "last year") else "now"]
    subject, *attractors = (rng.choice(NOUNS) for _ in range(3))
    slots = {
        "B": rng.choice(attractors[0]),
        "C": rng.choice(attractors[1]),
        "p": rng.choice(PREPOSITIONS),
        "q": rng.choice(PREPOSITIONS),
        "x": rng.choice(ADJECTIVES),
        "M": rng.choice(NAMES),
    }
    number = rng.randrange(2)
    texts = [join(opening.format(**slots), core.format(**slots, A=subject[form])) for form in (number, 1 - number)]
    return example(texts, verbs[number], verbs[1 - number], f" {rng.choice(ADJECTIVES)}.")


def sentiment(rng: Random, held_out: bool) -> Example:
    """A judgement follows from the words used."""
    opening, (core, praise, blame) = OPINIONS.pick(rng, held_out)
    slots = {"T": rng.choice(THINGS), "M": rng.choice(NAMES), "P": rng.choice(PLACES)}
    sides = [(two(rng, GOOD), praise), (two(rng, BAD), blame)]
    (words, answer), (others, distractor) = rng.sample(sides, 2)
    texts = [join(opening.format(**slots, u=one, w=second), core) for one, second in (words, others)]
    ending = "." if core.endswith((":", "was")) else " it."
    tail = f"{ending} It was {rng.choice(GOOD if answer == praise else BAD)}." if rng.random() < 0.5 else ending
    return example(texts, answer, distractor, tail)
