"""Journeys of the patching page in Chromium: estimate to exact, keep, collect, paths, datasets that go on by themselves."""

import re
import time
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from benchmarks.browser import click_target, server, settle, target
from tests.browser.test_journeys import OPENING_PAIR, effect, wait_for_effect

pytestmark = pytest.mark.browser
TEXTS = "&".join(f"{name}={quote(text)}" for name, text in OPENING_PAIR.items())
SMALL = f"model=small-world&{TEXTS}"
EXACT = "Every cell is a patched run of its own"


def measured(page: Page, timeout: float = 60_000) -> None:
    expect(page.locator("body")).to_contain_text(EXACT, timeout=timeout)
    settle(page)


def hatched(page: Page, key: str) -> int:
    """Cells of a map that are estimates."""
    shown = page.locator(f".st-key-{key} canvas").first.get_attribute("data-shown") or ""
    return int(shown.split(" [")[0].rsplit(" ", 1)[1])


def test_an_estimate_then_exact_values_then_a_patch_is_kept(visit) -> None:
    page = visit(f"/patching?{TEXTS}", wait_for=".st-key-sweep_denoising canvas[data-plot]")
    measured(page)
    assert hatched(page, "sweep_denoising") == 0
    assert "r = +0." in (page.locator(".st-key-estimate_scatter canvas").get_attribute("data-shown") or "")
    click_target(page, "sweep_denoising", 23, 3)
    panel = page.locator(".st-key-cell_panel")
    # the last digit is the machine's
    expect(panel).to_contain_text(re.compile(r"L23H3: denoising \+6\.76\d logits, noising -7\.07\d"))
    expect(panel).to_contain_text("·Mary")
    x, y = target(page, "sweep_denoising", 20, 0)
    page.keyboard.down("Control")
    page.mouse.click(x, y)
    settle(page)
    click_target(page, "sweep_denoising", 29, 1)
    page.keyboard.up("Control")
    expect(page.locator(".st-key-collected_panel")).to_contain_text("joint patch")
    expect(page.locator(".st-key-collected_panel")).to_contain_text("L29H1")
    click_target(page, "sweep_denoising", 23, 3)
    expect(panel).to_contain_text("L23H3:")
    settle(page)
    page.locator(".st-key-keep_patch button").first.click()
    wait_for_effect(page, "+6.77")  # the corrupt prompt is shown, with L23H3 from the clean one
    assert effect(page)["logit diff."][2] == "+6.77"
    expect(page.locator(".st-key-entry_0_row")).to_contain_text("L23H3 · patch · corrupt only")
    page.locator(".st-key-undo button").first.click()
    expect(page.locator(".st-key-entry_0_row")).to_have_count(0)


def test_a_long_sweep_shows_estimates_leaves_the_page_alive_and_can_be_cancelled(visit) -> None:
    page = visit(
        f"/patching?{TEXTS}&by_position=True&patch_site=q", wait_for=".st-key-sweep_denoising canvas[data-plot]"
    )
    expect(page.locator(".st-key-sweep_progress")).to_contain_text("cells measured, about")
    assert hatched(page, "sweep_denoising") > 0
    start = time.monotonic()
    click_target(page, "sweep_denoising", 35, 13)
    expect(page.locator(".st-key-cell_panel")).to_contain_text("@13:")
    assert time.monotonic() - start < 8  # not a measurement: that it is answered while the sweep goes on
    page.locator(".st-key-sweep_cancel button").first.click()
    expect(page.locator(".st-key-sweep_start")).to_contain_text("cells exactly")
    expect(page.locator("body")).to_contain_text("hatched cells are estimates")
    page.locator(".st-key-sweep_start button").first.click()
    measured(page)


def test_opened_in_lens_and_attention_and_back(visit) -> None:
    page = visit(f"/patching?{SMALL}&place=L2H1@13", wait_for=".st-key-cell_panel")
    measured(page)
    page.locator(".st-key-open_attention button").first.click()
    expect(page.locator(".st-key-head_panel")).to_contain_text("L2H1")
    settle(page)
    page.get_by_role("link", name="Patching", exact=True).click()
    expect(page.locator(".st-key-cell_panel")).to_contain_text("L2H1@13:")
    settle(page)
    page.locator(".st-key-open_lens button").first.click()
    expect(page.locator("h2")).to_contain_text("Lens")


def test_a_sender_then_receivers(visit) -> None:
    page = visit(f"/patching?{SMALL}&patch_view=Paths", wait_for=".st-key-path_senders canvas[data-plot]")
    click_target(page, "path_senders", 1, 2)
    expect(page.locator(".st-key-path_panel")).to_contain_text("all paths = total effect")
    settle(page)
    click_target(page, "path_receivers", 1, 3)  # layers below the sender are left out: this is layer 2, head 3
    expect(page.locator(".st-key-path_panel")).to_contain_text("logits, L2H3.q")
    expect(page.locator(".st-key-receiver_L2H3_after canvas").first).to_be_visible()


def test_a_dataset_run_goes_on_when_the_page_is_left(visit, fresh, url) -> None:
    page = visit(f"/patching?{SMALL}&patch_view=Dataset&n_pairs=200", wait_for=".st-key-start_run")
    expect(page.locator(".st-key-new_run")).to_contain_text("patched runs and their control, about")
    page.locator(".st-key-start_run button").first.click()
    expect(page.locator("[class*='st-key-stored_run_']").first).to_contain_text("of 200 pairs")
    settle(page)
    page.get_by_role("link", name="Lens", exact=True).click()  # leave
    expect(page.locator("h2")).to_contain_text("Lens")
    page.close()
    other = fresh(f"{url}/patching?{SMALL}&patch_view=Dataset", wait_for=".st-key-new_run")
    run = other.locator("[class*='st-key-stored_run_']").first
    expect(run).to_contain_text("✓ done", timeout=180_000)
    settle(other)
    run.get_by_role("button", name="Show", exact=True).click()
    expect(other.locator("body")).to_contain_text("Strongest effects")
    expect(other.locator("body")).to_contain_text("Control (patched at a random position)")
    settle(other)
    points = other.locator(".st-key-strip_plot canvas")
    points.scroll_into_view_if_needed()
    box, at = (
        points.bounding_box(),
        other.evaluate("() => JSON.parse(document.querySelector('.st-key-strip_plot canvas').dataset.points)[7]"),
    )
    other.mouse.move(box["x"] + at[0], box["y"] + at[1])
    other.mouse.click(box["x"] + at[0], box["y"] + at[1])
    expect(other.locator(".st-key-picked_pair")).to_contain_text("corrupt:")
    settle(other)
    other.locator(".st-key-open_pair button").first.click()
    measured(other)


BAD = "clean,corrupt,answer,distractor\n" + "".join(
    f'"When Mary and John went to the {place}, {left} gave a drink to{more}","When Mary and John went to the {place}, {right} gave a drink to"," Mary"," John"\n'
    for place, left, right, more in (
        ("store", "John", "Mary", ""), ("school", "John", "Mary", ""), ("park", "John", "Mary", " them"),
        ("store", "John", "Mary", ""),
    )
)  # fmt: skip


def test_a_file_with_bad_rows_runs_the_others(visit) -> None:
    page = visit(f"/patching?{TEXTS}&patch_view=Dataset", wait_for=".st-key-new_run")
    page.locator(".st-key-new_run").get_by_text("a file", exact=True).click()
    settle(page)
    page.locator("input[type=file]").set_input_files(
        {"name": "<b>mine</b>.csv", "mimeType": "text/csv", "buffer": BAD.encode()}
    )
    expect(page.locator(".st-key-new_run")).to_contain_text("2 of 4 rows can be run; 1 cannot; 1 repeat")
    expect(page.locator(".st-key-new_run")).to_contain_text("<b>mine</b>.csv")
    page.locator(".st-key-new_run").get_by_text("1 rows cannot be run").click()
    expect(page.locator(".st-key-new_run")).to_contain_text("same number of tokens")
    expect(page.locator(".st-key-new_run")).to_contain_text("Repeated rows: 4")
    page.locator("input[type=file]").set_input_files(
        {"name": "x.csv", "mimeType": "text/csv", "buffer": b"clean,corrupt\na,b\n"}
    )
    expect(page.locator(".st-key-file_error")).to_contain_text("lacks answer, distractor")


def test_a_killed_server_offers_to_resume(browser, browser_context_args, tmp_path) -> None:
    """The process is killed in the middle of a run; the next one shows what is finished, and goes on."""
    import os
    import signal

    environment = {"CIRCUIT_EXPLORER_DATA": str(tmp_path / "data")}
    query = f"patching?model=small-world&{TEXTS}&patch_view=Dataset&n_pairs=500"
    with server(tmp_path / "one.txt", environment) as (address, process):
        page = opened(browser, browser_context_args, f"{address}/{query}")
        page.locator(".st-key-start_run button").first.click()
        expect(page.locator("[class*='st-key-stored_run_']").first).to_contain_text("left", timeout=60_000)
        os.kill(process, signal.SIGKILL)
        page.close()
    with server(tmp_path / "two.txt", environment) as (address, _):
        page = opened(browser, browser_context_args, f"{address}/{query}")
        run = page.locator("[class*='st-key-stored_run_']").first
        expect(run).to_contain_text("interrupted")
        done = int(run.inner_text().split(" of 500 pairs")[0].split()[-1])
        assert 0 < done < 500
        run.get_by_role("button", name="Resume").click()
        expect(page.locator("[class*='st-key-stored_run_']").first).to_contain_text("✓ done", timeout=240_000)
        page.close()


def opened(browser, options, address: str) -> Page:
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    page.wait_for_selector(".st-key-start_run")
    settle(page)
    return page
