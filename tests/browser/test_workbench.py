"""Journeys of the workbench in Chromium: stacks that are edited, tokens that link heads, prompts, presets, exports, keys."""

import itertools
import json
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from benchmarks.browser import click_target, settle, target
from tests.browser.test_journeys import OPENING_PAIR, click_head, effect, wait_for_effect, zero_head

pytestmark = pytest.mark.browser
SMALL = "model=small-world&" + "&".join(f"{name}={quote(text)}" for name, text in OPENING_PAIR.items())


def lines(page: Page) -> list[str]:
    """The strip's lines, in order."""
    settle(page)
    rows = page.locator("[class*='st-key-entry_'][class*='_row'] label").all()
    return [row.inner_text() for row in rows]


def test_ablate_three_heads_reorder_edit_undo_and_redo(visit) -> None:
    page = visit(f"/attention?{SMALL}")
    for number, (layer, head) in enumerate(((0, 1), (1, 4), (2, 2))):
        click_head(page, layer, head)
        zero_head(page)
        expect(page.locator(f".st-key-entry_{number}_row")).to_contain_text(f"L{layer}H{head} · zero")
        settle(page)
    assert lines(page) == ["L0H1 · zero", "L1H4 · zero", "L2H2 · zero"]
    before = effect(page)
    own = page.locator("[class*='st-key-entry_'][class*='_row'] .ce-caption").all_inner_texts()
    assert len(own) == 3 and all(text[0] in "+-" for text in own)

    page.locator(".st-key-entry_2_edit button").first.click()
    page.locator(".st-key-move_up button").first.click()
    expect(page.locator(".st-key-entry_1_row")).to_contain_text("L2H2")
    assert lines(page) == ["L0H1 · zero", "L2H2 · zero", "L1H4 · zero"] and effect(page) == before
    editor = page.locator(".st-key-entry_editor")
    editor.get_by_text("corrupt", exact=True).click()
    expect(page.locator(".st-key-entry_1_row")).to_contain_text("L2H2 · zero · corrupt only")
    expect(page.locator("body")).to_contain_text("Acts on the corrupt prompt; the pages show the clean one")
    settle(page)
    shared = page.url
    for _ in range(2):
        page.locator(".st-key-undo button").first.click()
        settle(page)
        page.wait_for_timeout(300)
    assert lines(page) == ["L0H1 · zero", "L1H4 · zero", "L2H2 · zero"] and effect(page) == before
    for _ in range(2):
        page.locator(".st-key-redo button").first.click()
        settle(page)
        page.wait_for_timeout(300)
    assert lines(page) == ["L0H1 · zero", "L2H2 · zero · corrupt only", "L1H4 · zero"] and page.url == shared
    page.locator("body").press("z")  # the keys do the same
    expect(page.locator(".st-key-entry_1_row")).not_to_contain_text("corrupt only")


def linked(page: Page) -> list[str]:
    """What each attention heatmap marks as the token that is pointed at."""
    return [canvas.get_attribute("data-linked") or "" for canvas in page.locator("canvas.ce-over[data-linked]").all()]


def test_pointing_at_a_token_links_all_heads_and_a_click_locks_it(visit) -> None:
    page = visit(f"/attention?{SMALL}&head=L1H4&pinned=L0H1,L2H2")
    page.wait_for_selector(".st-key-pinned_L2H2 canvas[data-plot]")
    page.wait_for_timeout(500)
    assert set(linked(page)) == {""}
    x, y = target(page, "head_large", 9, 3)
    page.mouse.move(x, y)
    page.wait_for_timeout(300)
    assert len(linked(page)) >= 4 and set(linked(page)) == {"9,3"}  # the grid, the large one and both pinned
    page.mouse.move(5, 5)
    page.wait_for_timeout(300)
    assert set(linked(page)) == {""}
    click_target(page, "head_large", 9, 3)
    page.wait_for_url("**position=9**")
    settle(page)
    page.mouse.move(5, 5)
    page.wait_for_timeout(400)
    assert "9,3" in linked(page)
    page.locator(".st-key-head_large canvas").first.focus()
    page.keyboard.press("Escape")
    expect(page.locator(".st-key-effect")).to_be_visible()
    page.wait_for_function("() => !location.search.includes('position=')")


def test_ctrl_click_pins_a_head_beside_the_others(visit) -> None:
    page = visit(f"/attention?{SMALL}")
    x, y = target(page, "head_grid", 2, 3)
    page.keyboard.down("Control")
    page.mouse.click(x, y)
    page.keyboard.up("Control")
    page.wait_for_selector(".st-key-pinned_L2H3 canvas[data-plot]")
    assert "pinned=L2H3" in page.url
    page.get_by_role("button", name="Unpin L2H3").click()
    page.wait_for_function("() => !location.search.includes('pinned')")


def test_why_a_head_looks_there_adds_up(visit) -> None:
    page = visit(f"/attention?{SMALL}&head=L2H1")
    page.locator(".st-key-why_here summary").click()
    page.wait_for_selector(".st-key-score_parts canvas[data-plot]")
    expect(page.locator(".st-key-why_here")).to_contain_text("|sum − score|")
    expect(page.locator(".st-key-why_here")).to_contain_text("suppressed")


def test_the_causal_check_of_an_induction_head(visit) -> None:
    page = visit("/attention?head=L18H6")
    panel = page.locator(".st-key-causal_check")
    expect(panel).to_contain_text("L18H6 scores as induction: a pattern alone?")
    panel.get_by_role("button", name="Check it causally").click()
    expect(panel).to_contain_text(
        "Intervened: removed, misdirected, reproduced beyond every matched head", timeout=60_000
    )


def test_ablation_effects_colour_the_grid_and_are_marked_when_stale(visit) -> None:
    page = visit(f"/attention?{SMALL}&color=ablation+effect")
    page.get_by_role("button", name="Measure every head's effect").click()
    page.wait_for_function(
        "() => document.querySelector('.st-key-head_grid canvas')?.getAttribute('aria-label')?.includes('zero ablation')"
    )
    settle(page)
    zero_head(page)
    expect(page.locator("body")).to_contain_text("The inputs have changed since this was last measured")


def test_a_model_that_the_stack_does_not_fit_names_it(visit) -> None:
    page = visit("/attention?do=L23H3:zero&do=L1H2:zero&head=L23H3")
    wait_for_effect(page, "2.61")
    page.get_by_role("link", name="Prompt").click()
    settle(page)
    box = page.get_by_role("combobox", name="Model")
    box.click()
    box.fill("small-world-nano")
    page.get_by_role("option", name="small-world-nano").first.click()
    expect(page.locator(".st-key-entry_0_problem")).to_contain_text("has layers 0 to 3", timeout=60_000)
    expect(page.locator(".st-key-entry_0_row")).to_contain_text("L23H3 · zero")
    expect(page.locator(".st-key-entry_1_problem")).to_have_count(0)
    page.get_by_role("link", name="Attention").click()
    expect(page.locator("body")).to_contain_text("L23H3 is not a head of this model")


def test_the_pair_is_aligned_and_unequal_lengths_are_shown(visit) -> None:
    page = visit("/", wait_for=".strip")
    expect(page.locator(".differs")).to_have_count(1)
    expect(page.locator(".differs")).to_contain_text("·Mary")
    expect(page.locator("body")).to_contain_text("+6.12 ✓")
    box = page.get_by_role("textbox", name="Corrupt prompt")
    box.fill("When Mary and John went to the big store, Mary gave a drink to")
    box.press("Control+Enter")
    expect(page.locator(".st-key-length_warning")).to_contain_text("14 tokens, the corrupt one 15")
    expect(page.locator(".st-key-length_warning")).to_contain_text("·big")
    expect(page.locator(".differs")).to_have_count(2)


def test_an_example_of_the_gallery_says_where_it_works(visit) -> None:
    page = visit(f"/?{SMALL}", wait_for=".strip")
    page.locator(".st-key-gallery button").first.click()
    expect(page.locator("body")).to_contain_text("Works on: smollm2")
    page.get_by_role("button", name="Refusal").click()
    expect(page.locator(".ce-table:has(.ce-bar) tr").nth(1)).to_contain_text("·Sorry")


def test_the_corrupt_prompt_can_be_shown_everywhere(visit) -> None:
    page = visit("/lens")
    page.get_by_role("radio", name="corrupt prompt").click()
    wait_for_effect(page, "-5.48")
    expect(page.locator(".st-key-effect")).to_contain_text("on the corrupt prompt")
    page.get_by_role("link", name="Attention").click()
    expect(page.locator(".st-key-effect")).to_contain_text("on the corrupt prompt")
    assert "side=corrupt" in page.url


def test_lens_kinds_modes_and_filters(visit) -> None:
    page = visit("/lens?do=L23H3:zero")
    page.get_by_role("radio", name="tuned").click()
    expect(page.locator("body")).to_contain_text("Tuned on")
    page.goto(page.url.replace("lens=tuned", "lens=tuned&lens_mode=KL+to+output&lens_from=20&lens_find=%C2%B7John"))
    page.wait_for_selector(".st-key-lens_grid canvas[data-plot]")
    settle(page)
    expect(page.locator("body")).to_contain_text("positions are hidden")
    expect(page.locator("body")).to_contain_text("20 of 30 layers are hidden")
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("() => !location.search.includes('lens_from')")
    page.goto(page.url.replace("lens_mode=KL+to+output", "lens_of=heads+and+MLPs"))
    page.wait_for_selector(".st-key-component_grid canvas[data-plot]")
    click_target(page, "component_grid", 23, 1)
    expect(page.locator(".st-key-component_panel")).to_contain_text("L23H1")


def test_stories_and_causes_on_one_screen(visit) -> None:
    page = visit(f"/attribution?{SMALL}")
    page.get_by_role("button", name="Compute gradients and measure every token").click()
    page.wait_for_selector(".st-key-stories canvas[data-plot]", timeout=60_000)
    expect(page.locator("body")).to_contain_text("Rank correlation with the measured effects over 15 tokens")
    expect(page.locator("body")).to_contain_text("the third is an intervention")


def test_a_preset_is_saved_and_a_run_reopened(visit, fresh, url) -> None:
    page = visit(f"/history?{SMALL}&do=L0H1:zero")
    page.get_by_role("textbox", name="Name").fill("my find")
    page.get_by_role("textbox", name="Name").press("Enter")
    page.get_by_role("button", name="Save preset").click()
    row = page.locator("[class*='st-key-preset_']:has-text('my find')").last
    expect(row).to_be_visible()
    other = fresh(f"{url}/history")
    other.locator("[class*='st-key-preset_']:has-text('my find')").last.get_by_role("button", name="Open").click()
    expect(other.locator(".st-key-entry_0_row")).to_contain_text("L0H1 · zero")
    assert "model=small-world" in other.url
    expect(other.locator("[data-testid=stDataFrame]").first).to_be_visible()


def test_pictures_data_and_notebook_can_be_saved(visit) -> None:
    page = visit(f"/attribution?{SMALL}")
    page.wait_for_selector(".st-key-attribution_grid canvas[data-plot]")
    chart = page.locator(".st-key-attribution_grid")
    chart.hover()
    for kind, start in (("PNG", b"\x89PNG"), ("SVG", b"<svg ")):
        with page.expect_download() as caught:
            chart.get_by_role("button", name=f"Save as {kind}").click()
        content = caught.value.path().read_bytes()
        assert content.startswith(start) and caught.value.suggested_filename == f"attribution_grid.{kind.lower()}"
    assert b"H3" in content and b"direct contribution" in content
    with page.expect_download() as caught:
        page.locator(".st-key-notebook button").first.click()
    notebook = json.loads(caught.value.path().read_text())
    assert "direct_logit_attribution" in json.dumps(notebook) and caught.value.suggested_filename == "attribution.ipynb"
    page.locator(".st-key-attribution_data button").first.click()
    with page.expect_download() as caught:
        page.locator(".st-key-attribution_csv button").first.click()
    assert caught.value.path().read_text().startswith("component,kind,baseline")
    with page.expect_download() as caught:
        page.locator(".st-key-attribution_json button").first.click()
    assert json.loads(caught.value.path().read_text())["provenance"]["model"] == "small-world"


def test_keys_tour_and_copy_link(url, fresh) -> None:
    page = fresh(url)
    tour = page.locator(".assist .tour")
    expect(tour).to_be_visible()  # the first visit of this browser
    expect(tour).to_contain_text("1 of 8")
    for _ in range(8):
        tour.locator(".next").click()
    expect(tour).to_be_hidden()
    page.reload()
    page.wait_for_selector(".st-key-effect")
    settle(page)
    expect(tour).to_be_hidden()
    page.locator(".assist .show-tour").click()
    expect(tour).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("body").press("?")
    expect(page.locator(".assist .keys")).to_contain_text("undo, redo")
    page.keyboard.press("Escape")
    expect(page.locator(".assist .keys")).to_be_hidden()
    page.locator(".assist .copy").click()
    expect(page.locator(".assist .copy")).to_have_text("Copied")
    assert page.locator(".assist .copy").get_attribute("data-copied") == page.url


LONG = "the store and the drink " * 51


@pytest.mark.parametrize(
    "path",
    ["/", "/attention", "/attention?weighting=contribution", "/lens", "/lens?lens_of=heads+and+MLPs", "/attribution"],
)
def test_prompts_of_256_tokens_work_on_every_page(visit, path) -> None:
    joint = "&" if "?" in path else "?"
    page = visit(f"{path}{joint}clean={quote(LONG)}&answer={quote(' Mary')}&distractor={quote(' John')}")
    settle(page)
    assert (
        page.locator("[data-testid=stException]").count() == 0
        and page.locator(".stAlert:has-text('cannot')").count() == 0
    )
    said = page.locator("[data-testid=stMain]").inner_text()
    titles = " ".join(canvas.get_attribute("aria-label") or "" for canvas in page.locator("canvas[aria-label]").all())
    if path != "/":
        assert "hidden" in said or "strongest of" in titles or "promotes most" in said or "each cell" in titles


def test_a_prompt_of_100_kb_is_refused_in_place(visit) -> None:
    page = visit("/", wait_for=".strip")
    box = page.get_by_role("textbox", name="Clean prompt")
    box.fill("word " * 20_000)
    box.press("Control+Enter")
    expect(page.locator(".st-key-prompt_error")).to_contain_text("this model's context holds 8,192", timeout=60_000)
    box.fill("The capital of France is")
    box.press("Control+Enter")
    expect(page.locator(".ce-table:has(.ce-bar) tr").nth(1)).to_contain_text("·Paris")


def test_right_to_left_and_emoji_tokens_stand_in_order(visit) -> None:
    text = "שלום عالم 👩‍👩‍👧 hello"
    for path in ("/", "/attention", "/lens", "/attribution"):
        page = visit(f"{path}?clean={quote(text)}&corrupt=&answer={quote(' Mary')}")
        settle(page)
        assert page.locator("[data-testid=stException]").count() == 0
    page = visit(f"/?clean={quote(text)}")
    expect(page.locator(".strip .token").first).to_be_visible()
    positions = [int(token.get_attribute("data-position")) for token in page.locator(".strip .token").all()]
    lefts = [token.bounding_box() for token in page.locator(".strip .token").all()]
    assert positions == sorted(positions) and len(positions) > 8
    assert all(a["y"] < b["y"] or a["x"] < b["x"] for a, b in itertools.pairwise(lefts))


def test_two_tabs_on_one_address_do_not_disturb_each_other(url, fresh) -> None:
    pages = [fresh(f"{url}/attention?{SMALL}&do=L0H1:zero") for _ in range(2)]
    before = effect(pages[1])
    pages[0].locator(".st-key-entry_0_row label").first.click()
    wait_for_effect(pages[0], "–")
    pages[0].locator(".st-key-entry_0_remove button").first.click()
    expect(pages[0].locator(".st-key-entry_0_row")).to_have_count(0)
    assert effect(pages[1]) == before and "do=L0H1" in pages[1].url
