"""Tasks answered from the prompt alone: in-context recall, coloured objects, lists, repeated words."""

from collections.abc import Sequence
from random import Random

from explorer.models.zoo.frames import Example, Frames, a, example, fillers, join
from explorer.models.zoo.lexicon import CITIES, COLORS, FEMALE, NAMES, OBJECTS, PLACES, WORDS

THINGS_IN_PLACES = Frames(
    openings=(
        "the {A} is in the {V}.",
        "{M} put the {A} in the {V}.",
        "we saw the {A} at the {V}.",
        "you can find the {A} at the {V}.",
        "the {A} was left in the {V}.",
    ),
    cores=(
        "where is the {A}? The {A} is in the",
        "I found the {A} in the",
        "{M} looks for the {A} in the",
        "if you want the {A}, go to the",
        "the {A} is still at the",
    ),
)
PEOPLE_IN_CITIES = Frames(
    openings=(
        "{A} lives in {V}.",
        "{A} works in {V}.",
        "{A} has a house in {V}.",
        "{A} is in {V}.",
        "{A} stays in {V}.",
    ),
    cores=(
        "I want to visit {A}, so I go to",
        "you can meet {A} in",
        "where is {A}? {A} is in",
        "a letter to {A} goes to",
        "the home of {A} is in",
    ),
)
COLORED = Frames(
    openings=("on the table there is", "in the {P} I saw", "{M} has", "{M} bought", "we found"),
    cores=(
        "the color of the {A} is",
        "the {A} is",
        "what color is the {A}? It is",
        "{M} likes the {A}, which is",
        "as you know, the {A} is",
    ),
)
SHOPPING = Frames(
    openings=("{M} bought {one}, {two} and {three}.", "{M} has {one}, {two} and {three}.",
              "{M} found {one}, {two} and {three}.", "{M} took {one}, {two} and {three}.",
              "{M} sold {one}, {two} and {three}."),
    cores=("{T} put the {x}, the {y} and the", "{T} wanted the {x}, the {y} and the", "{T} liked the {x}, the {y} and the",
           "{T} cleaned the {x}, the {y} and the", "{T} showed me the {x}, the {y} and the"),
)  # fmt: skip
REPEATS = Frames(
    openings=("Repeat:", "{M} says:", "List:", "words:", "one more time:"),
    cores=("", "again:", "and {T} says:", "once more:", "now:"),
)


def recall(rng: Random, held_out: bool) -> Example:
    """Things in places, or people in cities, told above and asked below."""
    if rng.random() < 0.6:
        return table(rng, held_out, THINGS_IN_PLACES, OBJECTS, PLACES)
    return table(rng, held_out, PEOPLE_IN_CITIES, NAMES, CITIES)


def table(rng: Random, held_out: bool, frames: Frames[str], keys: Sequence[str], values: Sequence[str]) -> Example:
    opening, core = frames.pick(rng, held_out)
    count = rng.choice((2, 2, 3))
    rows = list(zip(rng.sample(keys, count), rng.sample(values, count), strict=True))
    name = rng.choice([name for name in NAMES if name not in dict(rows)])
    told = join(*(opening.format(A=key, V=value, M=name) for key, value in rows))
    between = fillers(rng, 2, [*dict(rows), name])
    asked = rng.sample(rows, count)
    texts = [join(told, between, core.format(A=key, M=name)) for key, _ in asked[:2]]
    more = [(f"{core.format(A=key, M=name)} {value}") for key, value in asked[1:]]
    return example(texts, f" {asked[0][1]}", f" {asked[1][1]}", tail(rng, more))


def tail(rng: Random, more: Sequence[str]) -> str:
    """The end of the sentence, and some of the other questions with their answers."""
    kept = more[: rng.randrange(len(more) + 1)]
    return "." + "".join(f" {text[0].upper()}{text[1:]}." for text in kept)


def colored_objects(rng: Random, held_out: bool) -> Example:
    """The colour of one of several things (Srivastava et al. 2022, reasoning about coloured objects)."""
    opening, core = COLORED.pick(rng, held_out)
    count = rng.choice((2, 2, 3))
    rows = list(zip(rng.sample(OBJECTS, count), rng.sample(COLORS, count), strict=True))
    slots = {"P": rng.choice(PLACES), "M": rng.choice(NAMES)}
    things = [f"a {color} {thing}" for thing, color in rows]
    told = join(opening.format(**slots), ", ".join(things[:-1]) + f" and {things[-1]}.")
    between = fillers(rng, 1, (slots["M"],))
    asked = rng.sample(rows, count)
    texts = [join(told, between, core.format(**slots, A=thing)) for thing, _ in asked[:2]]
    more = [f"{core.format(**slots, A=thing)} {color}" for thing, color in asked[1:]]
    return example(texts, f" {asked[0][1]}", f" {asked[1][1]}", tail(rng, more))


def shopping(rng: Random, held_out: bool) -> Example:
    """A list told twice in the same order."""
    opening, core = SHOPPING.pick(rng, held_out)
    one, two, three, other = rng.sample(OBJECTS, 4)
    name = rng.choice(NAMES)
    they = "she" if name in FEMALE else "he"
    texts = [
        join(opening.format(M=name, one=a(one), two=a(two), three=a(last)), core.format(T=they, x=one, y=two))
        for last in (three, other)
    ]
    return example(texts, f" {three}", f" {other}", ".")


def repeated_words(rng: Random, held_out: bool) -> Example:
    """Random words, then the same again: induction (Olsson et al. 2022)."""
    opening, core = REPEATS.pick(rng, held_out)
    length = rng.randrange(5, 13)
    *words, other = rng.sample(WORDS, length + 1)
    place = rng.randrange(1, length)
    speaker, second = rng.sample(NAMES, 2)
    heading, bridge = join(opening.format(M=speaker)), join(core.format(T=second))
    texts = []
    for word in (words[place], other):
        told = " ".join([*words[:place], word, *words[place + 1 :]])
        texts.append(" ".join(part for part in (heading, f"{told}.", bridge, *words[:place]) if part))
    rest = "".join(f" {word}" for word in words[place + 1 :])
    return example(texts, f" {words[place]}", f" {other}", f"{rest}.")
