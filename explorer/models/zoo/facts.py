"""Tasks answered from what the weights know: capitals, languages, people's sports, opposites, order, years."""

from collections.abc import Mapping, Sequence
from random import Random

from explorer.models.zoo.frames import Example, Frames, example, fillers, join, two
from explorer.models.zoo.lexicon import (
    CAPITAL,
    DAYS,
    EVENTS,
    LANGUAGE,
    MONTHS,
    NAMES,
    NUMBERS,
    OPPOSITES,
    PEOPLE,
    PLACES,
)

SAYING = ("", "I know that", "everyone knows that", "it is true that", "the book says that", "of course")
CAPITALS = Frames(
    openings=SAYING,
    cores=(
        "the capital of {X} is",
        "the capital city of {X} is",
        "the main city of {X} is",
        "the government of {X} is in",
        "people who visit {X} go to",
        "the king of {X} lives in",
        "the train to {X} stops in",
    ),
)
FAR_CAPITALS = Frames(
    openings=(
        "{N} lives in {X}.",
        "{N} was born in {X}.",
        "{N} comes from {X}.",
        "{N} moved to {X}.",
        "{N} likes {X}.",
    ),
    cores=(
        "the capital of that country is",
        "{N} works in its capital,",
        "{N} often sees its main city,",
        "so {N} knows the city of",
        "one day {N} went to its capital,",
    ),
)
LANGUAGES = Frames(
    openings=SAYING,
    cores=(
        "people in {X} speak",
        "the language of {X} is",
        "in {X} most people speak",
        "the people of {X} write in",
        "the radio of {X} sends in",
    ),
)
FAR_LANGUAGES = Frames(
    openings=FAR_CAPITALS.openings,
    cores=("{N} speaks", "so {N} reads books in", "{N} sings in", "at home {N} talks in", "{N} thinks in"),
)
SPORTS_OF = Frames(
    openings=("", "{N} says that", "we know that", "at the {P} they say that", "the book says that"),
    cores=(
        "{X} plays",
        "the sport of {X} is",
        "{X} is good at",
        "on most days {X} plays",
        "{X} likes to play",
    ),
)
FAR_SPORTS = Frames(
    openings=(
        "at the {P} {N} met {X}.",
        "{X} came to the {P} with {N}.",
        "{N} is a friend of {X}.",
        "one day {X} went to the {P}.",
        "{N} wrote a letter to {X}.",
    ),
    cores=("{F} plays", "the sport of {F} is", "{F} is good at", "on most days {F} plays", "{F} likes to play"),
)
CONTRARIES = Frames(
    openings=("", "{N} says that", "we know that", "the book says that", "I think that"),
    cores=(
        "the opposite of {X} is",
        "what is not {X} is",
        "it was not {X}, but",
        "if it is not {X}, it is",
        "the reverse of {X} is",
    ),
)
SPANS = Frames(
    openings=("", "I know that", "we read that", "the book says that", "{N} says that"),
    cores=(
        "the {E} lasted from the year {C}{Y} to the year {C}",
        "the {E} began in {C}{Y} and ended in {C}",
        "the {E} of {C}{Y} was over by {C}",
        "the {E} started in the year {C}{Y} and stopped in {C}",
        "after the {E} of {C}{Y} came the {F} of {C}",
    ),
)
SEQUENCES = Frames(
    openings=("", "{N} counts:", "in order:", "the list goes", "we learn:"), cores=("2", "3", "4", "5", "6")
)


def lookup(
    rng: Random, held_out: bool, table: Mapping[str, str], near: Frames[str], far: Frames[str], share: float
) -> Example:
    """A fact asked at once, or (with probability `share`) some sentences after its subject was named."""
    distant = rng.random() < share
    opening, core = (far if distant else near).pick(rng, held_out)
    subject, other = two(rng, list(table))
    while table[subject] == table[other]:
        other = rng.choice(list(table))
    slots = {"N": rng.choice(NAMES), "P": rng.choice(PLACES)}
    between = fillers(rng, 3, (slots["N"],)) if distant else ""
    texts = [join(opening.format(**slots, X=name), between, core.format(**slots, X=name)) for name in (subject, other)]
    return example(texts, f" {table[subject]}", f" {table[other]}", ".")


def capital(rng: Random, held_out: bool) -> Example:
    """A country's capital."""
    return lookup(rng, held_out, CAPITAL, CAPITALS, FAR_CAPITALS, 0.35)


def language(rng: Random, held_out: bool) -> Example:
    """A country's language."""
    return lookup(rng, held_out, LANGUAGE, LANGUAGES, FAR_LANGUAGES, 0.5)


def opposite(rng: Random, held_out: bool) -> Example:
    """The opposite of an adjective."""
    return lookup(rng, held_out, OPPOSITES, CONTRARIES, CONTRARIES, 0.0)


def sport(rng: Random, held_out: bool) -> Example:
    """The sport of a person; first name and surname decide together."""
    distant = rng.random() < 0.5
    opening, core = (FAR_SPORTS if distant else SPORTS_OF).pick(rng, held_out)
    person, other = two(rng, list(PEOPLE))
    while PEOPLE[person] == PEOPLE[other]:
        other = rng.choice(list(PEOPLE))
    slots = {"N": rng.choice([name for name in NAMES if name not in (person[0], other[0])]), "P": rng.choice(PLACES)}
    between = fillers(rng, 2, (person[0], other[0])) if distant else ""
    texts = []
    for first, surname in (person, other):
        named = slots | {"X": f"{first} {surname}", "F": first}
        texts.append(join(opening.format(**named), between, core.format(**named)))
    return example(texts, f" {PEOPLE[person]}", f" {PEOPLE[other]}", ".")


def span(rng: Random, held_out: bool) -> tuple[str, dict[str, str]]:
    """A sentence about an event's years with its first year's `{Y}` open, and what else goes into it."""
    opening, core = SPANS.pick(rng, held_out)
    event, following = two(rng, EVENTS)
    slots = {"E": event, "F": following, "C": str(rng.randrange(11, 20)), "N": rng.choice(NAMES)}
    return join(opening, core), slots


def greater_than(rng: Random, held_out: bool) -> Example:
    """Two digits of a later year (Hanna et al. 2023); the answer is a number token, without a space."""
    text, slots = span(rng, held_out)
    year = rng.randrange(2, 98)
    later, earlier = rng.randrange(year + 1, 100), rng.randrange(1, year)
    texts = [text.format(**slots, Y=f"{start:02d}") for start in (year, 1)]
    return example(texts, f"{later:02d}", f"{earlier:02d}", ".")


def greater_than_digit(rng: Random, held_out: bool) -> Example:
    """The same for tokenizers that split numbers into digits: the answer is the tens digit of a later year."""
    text, slots = span(rng, held_out)
    tens = rng.randrange(1, 9)
    texts = [text.format(**slots, Y=start) for start in (f"{tens}{rng.randrange(10)}", "01")]
    return example(texts, str(rng.randrange(tens + 1, 10)), str(rng.randrange(0, tens)), ".")


def successor(rng: Random, held_out: bool) -> Example:
    """What comes next among months, days or numbers."""
    items: Sequence[str] = rng.choice([MONTHS, DAYS, NUMBERS])
    opening, count = SEQUENCES.pick(rng, held_out)
    length = int(count)
    last = len(items) - length if items is NUMBERS else len(items)
    starts = two(rng, range(last)) if last > 1 else (0, 0)
    opening = opening.format(N=rng.choice(NAMES))
    texts = [
        join(opening, " ".join(f"{items[(start + step) % len(items)]}," for step in range(length))) for start in starts
    ]
    answer, distractor = (f" {items[(start + length) % len(items)]}" for start in starts)
    return example(texts, answer, distractor, ".")
