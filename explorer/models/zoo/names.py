"""Tasks whose answer is a name: indirect objects, quotes and stories."""

from random import Random

from explorer.models.zoo.frames import Example, Frames, a, example, filler, fillers, join, two
from explorer.models.zoo.lexicon import ADJECTIVES, ANIMALS, FEMALE, JOBS, NAMES, OBJECTS, PLACES

PAIRS = Frames(
    openings=(
        "when {A} and {B} went to the {P},",
        "after {A} and {B} met at the {P},",
        "while {A} and {B} were at the {P},",
        "one day {A} and {B} were walking to the {P}.",
        "yesterday {A} and {B} had a long day at the {P}.",
        "{A} and {B} went to the {P}.",
        "the {P} was quiet when {A} and {B} arrived, and",
        "at the {P} {A} met {B}.",
        "friends {A} and {B} found {Q} at the {P}.",
        "then, {A} and {B} worked at the {P}, and",
    ),
    cores=(
        "{S} gave {O} to",
        "{S} handed {O} to",
        "{S} wanted to give {O} to",
        "{S} decided to pass {O} to",
        "later {S} offered {O} to",
        "{S} showed {O} to",
        "then {S} brought {O} to",
        "{S} sold {O} to",
        "after that {S} said hello to",
        "{S} sent a letter to",
    ),
)
TRIOS = Frames(
    openings=(
        "when {A}, {B} and {C} went to the {P},",
        "after {A}, {B} and {C} met at the {P},",
        "yesterday {A}, {B} and {C} were at the {P}.",
        "{A}, {B} and {C} worked at the {P}.",
        "one day {A}, {B} and {C} were walking to the {P}.",
    ),
    cores=(
        "{S} and {T} gave {O} to",
        "{S} and {T} handed {O} to",
        "later {S} and {T} offered {O} to",
        "{S} and {T} wanted to give {O} to",
        "then {S} and {T} sold {O} to",
    ),
)


def indirect_object(rng: Random, held_out: bool) -> Example:
    """Two names, one of them again: the other one is the indirect object (Wang et al. 2022)."""
    return gift(rng, held_out, distance=0)


def distant_indirect_object(rng: Random, held_out: bool) -> Example:
    """The same with sentences between, often with the name of somebody else."""
    return gift(rng, held_out, distance=3)


def gift(rng: Random, held_out: bool, distance: int) -> Example:
    first, second = two(rng, NAMES)
    subject, receiver = rng.sample([first, second], 2)
    opening, core = PAIRS.pick(rng, held_out)
    thing, other = two(rng, OBJECTS)
    slots = {"A": first, "B": second, "P": rng.choice(PLACES), "O": a(thing), "Q": a(other)}
    between = ""
    if distance and opening.endswith("."):
        between = join(*(filler(rng, (first, second)) for _ in range(rng.randint(1, distance))))
    texts = [join(opening.format(**slots), between, core.format(**slots, S=name)) for name in (subject, receiver)]
    tail = rng.choice([".", ".", f". {receiver} thanked {subject}.", f". {receiver} and {subject} are good friends."])
    return example(texts, f" {receiver}", f" {subject}", tail)


def three_names(rng: Random, held_out: bool) -> Example:
    """Three names, two of them again: the third is the indirect object."""
    people = rng.sample(NAMES, 3)
    subject, partner, receiver = rng.sample(people, 3)
    opening, core = TRIOS.pick(rng, held_out)
    slots = dict(zip("ABC", people, strict=True)) | {"P": rng.choice(PLACES), "O": a(rng.choice(OBJECTS))}
    texts = [join(opening.format(**slots), core.format(**slots, S=name, T=partner)) for name in (subject, receiver)]
    return example(texts, f" {receiver}", f" {subject}", ".")


QUESTIONS = Frames(
    openings=("", "at the {P},", "one day", "then", "after a while"),
    cores=(
        '{A} asked {B}, "Do you like the {Q}?" "Yes," said',
        '{A} asked {B}, "Have you seen my {T}?" "No," said',
        '{A} asked {B}, "Is the {T} in the {Q}?" "Yes," said',
        '{A} asked {B}, "Where is the {T}?" "At the {Q}," said',
        '{A} said to {B}, "The {N} is {J}." "I know," said',
    ),
)


def quote(rng: Random, held_out: bool) -> Example:
    """Who answers is whoever was asked."""
    asking, asked = two(rng, NAMES)
    opening, core = QUESTIONS.pick(rng, held_out)
    place, other = two(rng, PLACES)
    slots = {"P": place, "Q": other, "T": rng.choice(OBJECTS), "N": rng.choice(ANIMALS), "J": rng.choice(ADJECTIVES)}
    texts = [
        join(opening.format(**slots), core.format(**slots, A=first, B=second))
        for first, second in ((asking, asked), (asked, asking))
    ]
    return example(texts, f" {asked}", f" {asking}", ".")


STORIES = Frames(
    openings=(
        "once upon a time there was a {J} named {N}. One day {N} met {M}.",
        "{N} was a {J}. At the {P} {N} met {M}.",
        "{N} and {M} lived near the {P}.",
        "a {J} named {N} had a friend named {M}.",
        "the {J} {N} walked to the {P} with {M}.",
    ),
    cores=(
        "in the end {X} was a good friend of",
        "since then {X} has been a friend of",
        "that is how {X} came to know",
        "every day {X} plays with",
        "from that day on {X} lived with",
    ),
)


def story(rng: Random, held_out: bool) -> Example:
    """Two people, some events, and one of them named again at the end: the other follows."""
    first, second = two(rng, NAMES)
    opening, core = STORIES.pick(rng, held_out)
    slots = {"N": first, "M": second, "P": rng.choice(PLACES), "J": rng.choice(JOBS)}
    middle = join(event(rng, first, second), fillers(rng, 2, (first, second)))
    one, other = rng.sample([first, second], 2)
    texts = [join(opening.format(**slots), middle, core.format(X=name)) for name in (one, other)]
    return example(texts, f" {other}", f" {one}", ".")


def event(rng: Random, one: str, other: str) -> str:
    thing, place = rng.choice(OBJECTS), rng.choice(PLACES)
    they = "she" if one in FEMALE else "he"
    return rng.choice(
        (
            f"{one} found {a(thing)} and gave the {thing} to {other}.",
            f"{one} lost {a(thing)} at the {place}, but {other} found it.",
            f"{one} saw a {rng.choice(ADJECTIVES)} {rng.choice(ANIMALS)} near the {place} because {they} was awake.",
            f'"Hello, {other}," said {one}.',
        )
    )
