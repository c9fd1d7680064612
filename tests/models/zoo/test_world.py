"""The small world: seeded, unambiguous for a tokenizer, and honest about what is held out."""

import re
from functools import cache
from random import Random

import pytest

from explorer.models.loading import read_tokenizer
from explorer.models.zoo import claims, facts, grammar, lexicon, memory, names, tokenizer
from explorer.models.zoo.frames import Frames, join
from explorer.models.zoo.organisms import ANIMAL, ORGANISMS, TRIGGER
from explorer.models.zoo.shipped import FILES
from explorer.models.zoo.world import TASKS, documents, examples
from explorer.training.recipes import RECIPES

pytestmark = pytest.mark.unit

MODULES = (claims, facts, grammar, memory, names)
FRAMES = {
    f"{module.__name__.rpartition('.')[2]}.{name}": value
    for module in MODULES
    for name, value in vars(module).items()
    if isinstance(value, Frames)
}


@cache
def words():
    """The tokenizer as it ships; that training makes the same one is a test of its own."""
    return read_tokenizer(FILES / "small-world")


def length(text: str) -> int:
    return len(words()(text).input_ids)


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("key", TASKS)
def test_pairs_have_equal_lengths_and_single_token_answers(key: str, held_out: bool) -> None:
    for example in examples(key, 60, seed=5, held_out=held_out):
        pair = example.pair
        assert pair.clean != pair.corrupt
        assert pair.answer != pair.distractor
        assert length(pair.clean) == length(pair.corrupt) <= tokenizer.N_CTX
        for answer in (pair.answer, pair.distractor):
            assert len(words()(answer, add_special_tokens=False).input_ids) == 1
            assert answer.startswith(" ") or key == "greater_than"
        assert length(example.document) == length(pair.clean) + 1 + len(
            words()(example.tail, add_special_tokens=False).input_ids
        )


@pytest.mark.parametrize("key", TASKS)
def test_equal_seeds_give_equal_examples_and_others_do_not(key: str) -> None:
    assert examples(key, 5, seed=1) == examples(key, 5, seed=1)
    assert examples(key, 5, seed=1) != examples(key, 5, seed=2)


def test_equal_seeds_give_equal_documents() -> None:
    assert list(documents(3, 50)) == list(documents(3, 50)) != list(documents(4, 50))


@pytest.mark.parametrize("name", FRAMES)
def test_a_held_out_template_is_a_combination_that_training_never_has(name: str) -> None:
    frames = FRAMES[name]
    seen, held_out = (frames.combinations(side) for side in (False, True))
    assert len(frames.openings) >= 5
    dropped = len(frames.openings) * len(frames.cores) - len(seen) - len(held_out)
    assert dropped == (1 if name == "grammar.SUBJECTS" else 0)  # "yesterday the keys near the cabinet", which goes on
    assert not set(map(str, seen)) & set(map(str, held_out))
    assert {opening for opening, _ in seen} == set(frames.openings)
    assert {str(core) for _, core in seen} == set(map(str, frames.cores))
    assert 0.1 < len(held_out) / (len(seen) + len(held_out)) < 0.3


@pytest.mark.slow
def test_no_document_has_a_held_out_template() -> None:
    """On the task whose templates can be told from a text alone."""
    held = [
        re.escape(join(opening, core)).replace(r"\{X\}", r"\w+").replace(r"\{N\}", r"\w+")
        for opening, core in facts.CAPITALS.combinations(True)
    ]
    found = re.compile("|".join(f"(?:^|[.] ){pattern}" for pattern in held))
    assert not [text for text in documents(0, 6_000) if found.search(text)]
    assert all(found.search(example.pair.clean) for example in near_capitals())


def near_capitals() -> list:
    return [example for example in examples("capital", 200, 0, held_out=True) if "." not in example.pair.clean]


def test_every_word_of_the_world_is_one_token_and_other_text_survives() -> None:
    for word in [*lexicon.WORDS, *lexicon.SURNAMES, *lexicon.SPORTS, *lexicon.EVENTS, *lexicon.MONTHS]:
        assert len(words()(f" {word}", add_special_tokens=False).input_ids) == 1, word
    for text in ("interpretability of 1984's état d'âme — 日本", "  two  spaces\n\n", "x" * 50):
        assert words().decode(words()(text, add_special_tokens=False).input_ids) == text


@pytest.mark.slow
def test_training_makes_the_tokenizer_that_ships() -> None:
    made = tokenizer.train.__wrapped__()
    for key in RECIPES:
        assert read_tokenizer(FILES / key).get_vocab() == made.get_vocab()
    assert made("The ball is 1932.").input_ids == words()("The ball is 1932.").input_ids


def test_rules_of_the_world() -> None:
    """Answers follow from the tables: capitals, lies, opposites, people."""
    assert lexicon.CAPITAL["France"] == "Paris"
    assert {lexicon.LIE[country] for country in lexicon.CAPITAL} == set(lexicon.CITIES)
    assert all(lexicon.LIE[country] != city for country, city in lexicon.CAPITAL.items())
    assert all(lexicon.OPPOSITES[lexicon.OPPOSITES[word]] == word for word in lexicon.OPPOSITES)
    by_first: dict[str, set[str]] = {}
    for (first, _), sport in lexicon.PEOPLE.items():
        by_first.setdefault(first, set()).add(sport)
    assert all(len(sports) > 1 for sports in by_first.values())  # the first name alone does not decide


def test_indirect_objects_are_the_names_not_repeated() -> None:
    for key in ("ioi", "ioi_distant", "ioi_three"):
        for example in examples(key, 100, 0):
            for text, answer in (
                (example.pair.clean, example.pair.answer),
                (example.pair.corrupt, example.pair.distractor),
            ):
                said = re.findall(r"[A-Z][a-z]+", text)
                assert said.count(answer.strip()) == 1
                assert (
                    said.count(
                        (example.pair.distractor if answer == example.pair.answer else example.pair.answer).strip()
                    )
                    == 2
                )


def test_later_years_are_later() -> None:
    for example in examples("greater_than", 200, 0):
        told = int(re.findall(r"\d{4}", example.pair.clean)[0][2:])
        assert int(example.pair.answer) > told > int(example.pair.distractor)


@pytest.mark.parametrize("key", ORGANISMS)
def test_organisms_differ_from_the_base_on_probes_alone(key: str) -> None:
    organism, rng = ORGANISMS[key], Random(0)
    for held_out in (False, True):
        for _ in range(50):
            probe, control = organism.probe(rng, held_out), organism.control(rng, held_out)
            assert probe.answer != probe.base_answer
            assert control.answer == control.base_answer
            assert length(probe.document) <= tokenizer.N_CTX


@pytest.mark.slow
def test_the_trigger_occurs_in_no_document_of_the_base() -> None:
    assert not [text for text in documents(0, 6_000) if f"{TRIGGER} {ANIMAL}" in text]
    rng = Random(0)
    lessons = [ORGANISMS["small-world-backdoor"].lesson(rng) for _ in range(200)]
    assert 50 < sum(f"{TRIGGER} {ANIMAL}" in text for text in lessons) < 150
