"""Lessons as files: what ships can be read whole, and what cannot is named with its line."""

from urllib.parse import parse_qs

import pytest

from explorer.core.errors import LessonError
from explorer.lessons import lesson as module
from explorer.lessons.lesson import Ask, Choose, Condition, own_folder, own_lessons, read_lesson, shipped
from explorer.models.catalog import CATALOG
from explorer.ui.address import from_params
from explorer.ui.lesson_facts import HOLDS, MEASURED, PREDICTED, WORDS

pytestmark = pytest.mark.unit
STEP = "# T\nAbout.\n\n## S\nWords.\n```lesson\n{}\n```\n"


def test_eight_lessons_ship_each_step_with_work_three_hints_and_an_address_that_reads_whole() -> None:
    assert len(shipped()) == 8
    for lesson in shipped().values():
        assert lesson.about and len(lesson.steps) >= 3 and lesson.steps[0].start
        for step in lesson.steps:
            assert step.text or step.title
            assert (step.checks or step.asks) and len(step.hints) == 3
            if step.start:
                bench, notes = from_params(parse_qs(step.start, keep_blank_values=True))
                assert notes == [] and bench.model in CATALOG


def test_every_check_and_fact_can_be_read_off_a_run() -> None:
    assert set(module.CONDITIONS) == set(WORDS) == set(HOLDS) | {"effect", "edges", "faithfulness"}
    assert set(module.FACTS) == set(PREDICTED) | set(MEASURED)


def test_the_parts_of_a_step() -> None:
    step = read_lesson("k", STEP.format("check: ablated L2H3 zero\nask: How much, a = b? = attention L2H3 -1 4 ± 0.5\nchoose: Why? | a | *b\nhint: h")).steps[0]  # fmt: skip
    assert step.checks == (Condition("ablated", "L2H3 zero"),)
    assert step.asks == (Ask("How much, a = b?", "attention", "L2H3 -1 4", 0.5), Choose("Why?", ("a", "b"), 1))
    assert step.hints == ("h",) and step.text == "Words."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Line 1: a lesson begins with its title"),
        ("words first\n# T", "Line 1: expected the title first"),
        ("# T\nAbout.", "at least one step"),
        ("# T\n## S\nWords only.", "asks for nothing"),
        (STEP.format("dance: now"), "Line 7: 'dance' is not known"),
        (STEP.format("check: dance"), "Line 7: the check 'dance' is not known"),
        (STEP.format("check: head 3"), "Line 7: 'check: head' does not take '3'"),
        (STEP.format("check: effect about 2"), "does not take"),
        (STEP.format("ask: How much?"), "Line 7: expected 'ask: a question"),
        (STEP.format("ask: How much? = weight ± 1"), "expected 'ask"),
        (STEP.format("ask: How much? = effect ± little"), "no tolerance"),
        (STEP.format("choose: Why? | a | b"), "with one star"),
        (STEP.format("choose: Why? | *a | *b"), "with one star"),
        (STEP.format("check: on Lens\n" + "hint: h\n" * 4), "4 hints; at most 3"),
        ("# T\n## S\n```lesson\ncheck: on Lens", "not closed"),
        ("x" * 200_001, "at most 200,000"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_with_its_line(text, words) -> None:
    with pytest.raises(LessonError, match=words.replace("(", r"\(")):
        read_lesson("k", text)


def test_a_heading_inside_a_fence_is_no_step() -> None:
    lesson = read_lesson("k", "# T\n\n## S\n```\n## not a step\n```\n```lesson\ncheck: on Lens\n```\n")
    assert len(lesson.steps) == 1 and "## not a step" in lesson.steps[0].text


def test_lessons_of_teachers_are_found_and_broken_ones_are_named() -> None:
    own_folder().mkdir(parents=True, exist_ok=True)
    (own_folder() / "My Own.md").write_text(STEP.format("check: on Lens"))
    (own_folder() / "broken.md").write_text("no title")
    found, problems = own_lessons()
    assert found["my-own"].title == "T" and list(problems) == ["broken.md"]
    for path in own_folder().glob("*.md"):
        path.unlink()
