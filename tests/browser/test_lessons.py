"""Lessons in Chromium: each is completed by doing what it says, and by nothing less."""

import re
from urllib.parse import parse_qs

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import explorer as ex
from benchmarks.browser import click_target, settle
from explorer.lessons.lesson import Ask, Choose, Lesson, Step, shipped
from tests.browser.test_circuits import click_node, graph, scores
from tests.browser.test_journeys import click_head, effect, zero_head

pytestmark = pytest.mark.browser
LESSONS = shipped()
HEAD = re.compile(r"L(\d+)H(\d+)")


def done(page: Page) -> int:
    settle(page)
    found = re.search(r"(\d+) of \d+ steps done", page.locator(".st-key-lesson_panel").inner_text())
    assert found is not None
    return int(found[1])


def go_to(page: Page, title: str) -> None:
    page.get_by_role("link", name=title, exact=True).first.click()
    expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    settle(page)


def begin(page: Page, url: str, lesson: Lesson, learner: str) -> None:
    page.goto(f"{url}/learn")
    field = page.get_by_role("textbox", name="Whose progress")
    field.fill(learner)
    field.press("Enter")
    settle(page)
    page.locator(f".st-key-begin_{lesson.key} button").click()
    page.wait_for_selector(".st-key-lesson_panel")
    page.wait_for_selector(".st-key-effect", timeout=120_000)
    settle(page)


def numbers_of(name: str) -> tuple[int, int]:
    found = HEAD.match(name)
    assert found is not None
    return int(found[1]), int(found[2])


def do_step(page: Page, step: Step, start: str) -> None:
    """Everything that a step's checks ask for, by clicking."""
    ablated = [check.rest.split() for check in step.checks if check.kind == "ablated"]
    if ablated:
        ablate(page, ablated)
    for check in step.checks:
        match check.kind:
            case "head":
                if not any(name == check.rest for name, *_ in ablated):
                    go_to(page, "Attention")
                    click_head(page, *numbers_of(check.rest))
            case "place":
                go_to(page, "Patching")
                click_target(page, "sweep_denoising", *numbers_of(check.rest))
                expect(page.locator(".st-key-cell_panel")).to_contain_text(check.rest)
            case "choice" if check.rest.startswith("direction"):
                go_to(page, "Patching")
                page.locator(".st-key-w_direction").get_by_text(check.rest.split(" = ")[1], exact=True).click()
            case "kept":
                keep(page, check.rest)
            case "rung":
                climb(page)
            case "faithfulness":
                go_to(page, "Circuits")
                page.wait_for_selector(".ce-graph[data-shown]")
                click_node(page, "L0H2")
                page.get_by_role("button", name="Remove", exact=False).first.click()
    for check in step.checks:
        if check.kind == "on":
            go_to(page, check.rest)


def ablate(page: Page, wanted: list[list[str]]) -> None:
    """Clear the list, then ablate what is wanted, beside the heads' patterns."""
    go_to(page, "Attention")
    if page.locator(".st-key-entry_0_row").count():
        page.locator(".st-key-clear button").first.click()
        expect(page.locator(".st-key-entry_0_row")).to_have_count(0)
    for number, (name, how) in enumerate(wanted):
        click_head(page, *numbers_of(name))
        if how == "zero":
            zero_head(page)
        else:
            page.locator(".st-key-act_head_choices").get_by_role("button", name=how.capitalize(), exact=True).click()
        expect(page.locator(f".st-key-entry_{number}_row")).to_contain_text(f"{name} · {how}")
        settle(page)


def keep(page: Page, place: str) -> None:
    go_to(page, "Attention")
    click_head(page, *numbers_of(place))
    page.locator(".st-key-keep button").first.click()
    page.locator(".st-key-keep_claim textarea").fill(f"{place} carries the repeated name")
    expect(page.locator(".st-key-keep_places input")).to_have_value(place)
    page.get_by_role("button", name="Keep", exact=True).click()
    expect(page.get_by_text("Kept: open it in Findings")).to_be_visible()
    settle(page)


def climb(page: Page) -> None:
    go_to(page, "Findings")
    page.wait_for_selector(".st-key-finding_detail")
    page.locator(".st-key-run_rest button").click()
    expect(page.locator(".st-key-run_again")).to_be_visible(timeout=60_000)


def answer(page: Page, ask: Ask | Choose, start: str, name: str) -> None:
    box = page.locator(f".st-key-lesson_panel .st-key-ask_{name}")
    if isinstance(ask, Choose):
        box.locator("label", has_text=ask.options[ask.right]).last.click()
    else:
        box.locator("input").first.fill(f"{value_of(page, ask, start):.3f}")
        box.locator("input").first.press("Enter")
    settle(page)
    box.get_by_role("button", name="Check").click()
    settle(page)


def value_of(page: Page, ask: Ask, start: str) -> float:
    """What a learner reads on screen; where that is a hover or a colour, the same from the Python face."""
    if ask.fact in ("effect", "changed"):
        return float(effect(page)["logit diff."][2 if ask.fact == "effect" else 1])
    if ask.fact == "edges":
        return float(graph(page, "shown").split(", ")[1].split()[0])
    if ask.fact == "faithfulness":
        return float(scores(page)["faithfulness"][0])
    params = {name: found[-1] for name, found in parse_qs(start).items()}
    pair = ex.ContrastPair(params["clean"], params["corrupt"], params["answer"], params["distractor"])
    model = ex.load_model(params["model"])
    if ask.fact == "layer of answer":
        ranks = ex.logit_lens(model, pair.clean, answer=pair.answer).answer_rank
        return float(np.flatnonzero(ranks[:, -1] == 1)[0])
    layer, head = numbers_of(ask.rest)
    if ask.fact == "patch":
        return float(ex.activation_patching(model, pair, direction=ask.rest.split()[1]).raw[layer, head])
    found = ex.attention(model, pair.clean)
    if ask.fact == "score":
        return float(found.scores[ask.rest.partition(" ")[2]][layer, head])
    dest, source = map(int, ask.rest.split()[1:])
    return float(found.patterns[layer, head, dest, source])


@pytest.mark.parametrize("key", LESSONS)
def test_a_lesson_is_completed_by_doing_what_it_says(page, url, watch, key) -> None:
    watch(page)
    lesson, start = LESSONS[key], ""
    begin(page, url, lesson, f"learner of {key}")
    for number, step in enumerate(lesson.steps):
        assert done(page) == number
        if step.start:
            start = step.start
            if number:
                page.locator(f".st-key-lesson_start_{number} button").first.click()
                settle(page)
                page.wait_for_selector(".st-key-effect", timeout=120_000)
                settle(page)
        do_step(page, step, start)
        for place, ask in enumerate(step.asks):
            answer(page, ask, start, f"{number}_{place}")
        expect(page.locator(".st-key-lesson_panel")).to_contain_text(f"{number + 1} of {len(lesson.steps)} steps done", timeout=30_000)  # fmt: skip
    expect(page.locator(".st-key-lesson_panel")).to_contain_text("Lesson done")
    page.goto(f"{url}/learn")  # another visit: progress is kept under the name
    field = page.get_by_role("textbox", name="Whose progress")
    field.fill(f"learner of {key}")
    field.press("Enter")
    card = page.locator(f".st-key-lesson_{key}")
    expect(card).to_contain_text(f"{len(lesson.steps)} of {len(lesson.steps)} steps")


def keep_without_the_lesson(page: Page) -> None:
    """A finding of somebody else's about the head that a lesson asks for: it must not count."""
    other = page.context.browser.new_page()  # type: ignore[union-attr]
    other.goto(page.url.partition("?")[0] + "attention?model=small-world-nano&head=L0H2&clean=Mary+and+John&corrupt=")
    other.wait_for_selector(".st-key-effect")
    settle(other)
    other.locator(".st-key-keep button").first.click()
    other.locator(".st-key-keep_claim textarea").fill("somebody else's")
    other.get_by_role("button", name="Keep", exact=True).click()
    expect(other.get_by_text("Kept: open it in Findings")).to_be_visible()
    other.close()


@pytest.mark.parametrize("key", ["1-attention", "6-ioi", "8-fooled"])
def test_a_lesson_is_not_completed_by_skipping(page, url, watch, key) -> None:
    """Walking through the pages, guessing wrongly, and answers without the work: no step is done."""
    watch(page)
    lesson = LESSONS[key]
    begin(page, url, lesson, f"skipper of {key}")
    keep_without_the_lesson(page)
    for title in ("Attention", "Lens", "Findings", "Prompt"):
        go_to(page, title)
    panel = page.locator(".st-key-lesson_panel")
    for hint in lesson.steps[0].hints:
        panel.locator(".st-key-lesson_hint button").click()
        expect(panel).to_contain_text(hint)
    assert panel.locator(".st-key-lesson_hint").count() == 0
    if lesson.steps[0].asks and isinstance(lesson.steps[0].asks[0], Ask):
        box = panel.locator("[class*='st-key-ask_']").first
        box.locator("input").fill("0.5")
        box.locator("input").press("Enter")
        box.get_by_role("button", name="Check").click()
        expect(panel).to_contain_text("First do what stands above")
    assert done(page) == 0
    page.reload()
    page.wait_for_selector(".st-key-lesson_panel")
    assert done(page) == 0 and lesson.steps[1].title not in page.locator(".st-key-lesson_panel").inner_text()


def test_a_teacher_adds_a_lesson_and_is_told_what_is_wrong_in_one(page, url, watch) -> None:
    watch(page)
    page.goto(f"{url}/learn")
    page.get_by_text("Write a lesson").click()
    wrong = b"# T\n\n## S\n```lesson\ncheck: dance\n```\n"
    page.locator(".st-key-lesson_file input").set_input_files(
        {"name": "my lesson.md", "mimeType": "text/markdown", "buffer": wrong}
    )
    expect(page.locator("body")).to_contain_text("Line 5: the check 'dance' is not known")
    good = b"# <b>Mine</b>\nAbout ![x](http://example.org/x.png).\n\n## One\nDo it.\n```lesson\nstart: model=small-world-nano\ncheck: on Lens\n```\n"
    page.locator(".st-key-lesson_file input").set_input_files(
        {"name": "My Lesson.md", "mimeType": "text/markdown", "buffer": good}
    )
    expect(page.locator("body")).to_contain_text("1 steps")
    page.reload()
    card = page.locator(".st-key-lesson_my-lesson")
    expect(card).to_contain_text("<b>Mine</b>")
    card.get_by_role("button", name="Start").click()
    page.wait_for_selector(".st-key-lesson_panel")
    go_to(page, "Lens")
    expect(page.locator(".st-key-lesson_panel")).to_contain_text("Lesson done")
