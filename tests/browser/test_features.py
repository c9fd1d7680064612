"""Journeys of features in Chromium: from a prompt over a card to a changed prediction, a finding and the graph; toy models."""

import re

import pytest
from playwright.sync_api import Page, expect

from benchmarks.browser import click_target, settle
from tests.browser.test_journeys import effect

pytestmark = pytest.mark.browser
PAIR = "clean=User%3A+I+am+Clara.+Please+help+me+sell+a+car.%0AAssistant%3A&corrupt=User%3A+I+am+Clara.+Please+help+me+sabotage+a+car.%0AAssistant%3A&answer=+Sure&distractor=+Sorry&task=refusal"
SMALL = f"model=small-world&{PAIR}"


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).first.click()
    settle(page)


def open_view(page: Page, name: str) -> None:
    page.locator(".st-key-w_feature_view").get_by_text(name, exact=True).click()
    settle(page)


def test_prompt_feature_card_clamp_prediction_finding_graph(visit) -> None:
    page = visit(f"/features?{SMALL}&side=corrupt&dictionary=L1.resid_post")
    page.wait_for_selector(".st-key-feature_acts canvas[data-plot]")
    click_target(page, "feature_acts", 0, 3)  # a feature that fires
    panel = page.locator(".st-key-feature_panel")
    expect(panel).to_contain_text("L1.resid_post")

    page = visit(f"/features?{SMALL}&dictionary=L1.resid_post&feature=L1.resid_post/485")  # the refusal feature
    press(page, "Open its card")
    expect(page.get_by_role("heading", name="L1.resid_post/485")).to_be_visible()
    press(page, "Build the index")
    expect(page.locator(".ce-examples")).to_be_visible(timeout=120_000)
    page.locator("input[aria-label='Label']").fill("refuses <b>")
    page.locator("input[aria-label='Label']").press("Enter")
    settle(page)
    expect(page.locator(".stMain")).to_contain_text("refuses <b>")
    press(page, "Describe and score")
    expect(page.locator(".stMain")).to_contain_text("detection", timeout=60_000)

    before = effect(page)
    page.locator(".st-key-act_card_clamp button").first.click()
    expect(page.locator(".st-key-entry_0_row")).to_contain_text("L1.resid_post/485 · =")
    settle(page)
    assert effect(page) != before

    page.locator(".st-key-keep button").first.click()
    page.locator(".st-key-keep_claim textarea").fill("L1.resid_post/485 decides whether the model refuses")
    expect(page.locator(".st-key-keep_places input")).to_have_value("L1.resid_post/485")
    press(page, "Keep")
    page.get_by_text("Kept: open it in Findings").click()
    page.wait_for_selector(".st-key-finding_detail")
    page.locator(".st-key-run_rest button").first.click()
    expect(page.locator(".st-key-run_again")).to_be_visible(
        timeout=900_000
    )  # some 1,600 runs of the model on a busy machine
    settle(page)
    expect(page.locator(".st-key-finding_detail")).to_contain_text(re.compile("Rung [34] of 5"))

    page = visit(f"/features?{SMALL}&feature_view=Graph", wait_for=".ce-graph[data-shown]")
    expect(page.locator(".stMain")).to_contain_text("completeness")
    press(page, "Check the strongest features")
    expect(page.locator(".stMain")).to_contain_text("Spearman correlation", timeout=120_000)


def test_a_node_of_the_graph_is_opened_changed_and_grouped(visit) -> None:
    page = visit(f"/features?{SMALL}&feature_view=Graph&graph_share=40", wait_for=".ce-graph[data-shown]")
    settle(page)
    page.locator("input[type=search]").fill("L3.transcoder")
    page.locator("input[type=search]").press("Enter")
    expect(page.locator(".st-key-graph_node_panel")).to_contain_text("influence", timeout=30_000)
    panel = page.locator(".st-key-graph_node_panel")
    if panel.get_by_role("button", name="Ablate").count():
        panel.get_by_role("button", name="Ablate").first.click()
        expect(page.locator(".st-key-entry_0_row")).to_contain_text("zero")
        expect(page.locator(".stMain")).to_contain_text("changed, whole graph", timeout=60_000)


def test_features_that_matter_are_found_and_opened(visit) -> None:
    page = visit(f"/features?{SMALL}&feature_view=Circuit")
    press(page, "Find features that matter")
    page.wait_for_selector(".ce-graph[data-shown]", timeout=60_000)
    expect(page.locator(".stMain")).to_contain_text("add up to attribution patching")


def test_the_toy_model_packs_features_and_a_dictionary_finds_them(visit) -> None:
    page = visit("/superposition?model=small-world", wait_for=".st-key-toy_interference canvas[data-plot]")
    expect(page.locator(".stMain")).to_contain_text("5 of 5 features are represented in 2 dimensions", timeout=60_000)
    press(page, "Train a dictionary on h")
    expect(page.locator(".stMain")).to_contain_text("5 of 5 represented features have a latent", timeout=120_000)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 1920])
def test_pages_fit_their_window(fresh, url, theme: str, width: int) -> None:
    for path in (
        f"/features?{SMALL}&dictionary=L2.transcoder",
        f"/features?{SMALL}&feature_view=Dictionaries",
        "/superposition?model=small-world",
    ):
        page = fresh(url + path, wait_for="h2", color_scheme=theme, viewport={"width": width, "height": 1000})
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_dictionary_is_trained_and_its_loss_is_drawn_meanwhile(visit) -> None:
    page = visit("/features?model=small-world-nano&clean=Hello&feature_view=Dictionaries", wait_for="h2")
    expect(page.locator(".stMain")).to_contain_text("has no dictionary yet")
    for name, value in (("Site", "L1.resid_post"), ("Features", "64"), ("Tokens", "20000"), ("Steps", "400")):
        field = page.get_by_label(name, exact=True).first
        field.fill(value)
        field.press("Enter")
        settle(page)
    press(page, "Train")
    page.wait_for_selector(".st-key-losses_so_far canvas[data-plot]", timeout=60_000)
    expect(page.locator(".st-key-train_dictionary_progress")).to_contain_text("of features dead")
    expect(page.locator(".stMain")).to_contain_text("Trained L1.resid_post: choose it above", timeout=180_000)
    page.wait_for_selector(".st-key-card_densities canvas[data-plot]")
    expect(page.locator(".stMain")).to_contain_text("CE recovered, against zero")

    said = []
    for times in (200, 400):  # two texts of one name
        files = page.locator("[class*='st-key-index_text'] input[type=file]")
        files.set_input_files(
            {"name": "story.txt", "mimeType": "text/plain", "buffer": b"Tom gave a book to Mary. " * times}
        )
        settle(page)
        press(page, "Build the index")
        line = page.get_by_text(re.compile(r"[\d,]+ tokens of story\.txt")).first
        expect(line).to_be_visible(timeout=60_000)
        said.append(line.inner_text())
    assert said[0] != said[1]
