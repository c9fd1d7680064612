"""Pictures of the documentation: taken by this test, so that they show the app as it is.

SCREENSHOTS=docs/images python -m pytest tests/browser/test_screenshots.py      writes them
"""

import os
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image
from playwright.sync_api import expect

from benchmarks.browser import settle
from tests.browser.test_features import PAIR
from tests.browser.test_findings import keep, run_all
from tests.browser.test_journeys import OPENING_PAIR

pytestmark = pytest.mark.browser
TEXTS = "&".join(f"{name}={quote(text)}" for name, text in OPENING_PAIR.items())
VIEWS = ("attention", "patching", "features", "graph", "findings", "present")
COLORS = 96


@pytest.fixture
def folder(tmp_path) -> Path:
    chosen = os.environ.get("SCREENSHOTS")
    return Path(chosen) if chosen else tmp_path


def picture(page, folder: Path, name: str, height: int = 900) -> None:
    page.set_viewport_size({"width": 1280, "height": height})
    page.locator(".assist .tour .close").click() if page.locator(".assist .tour:not([hidden])").count() else None
    settle(page)
    page.wait_for_timeout(1200)
    path = folder / f"{name}.png"
    page.screenshot(path=path)
    image = Image.open(path)
    assert image.size == (1280, height)
    image.convert("RGB").quantize(COLORS).save(path, optimize=True)
    assert 10_000 < path.stat().st_size < 400_000


def test_pictures(visit, folder) -> None:
    page = visit(f"/attention?{TEXTS}&head=L24H4&do=L24H4:zero")
    page.wait_for_selector(".st-key-head_large canvas[data-plot]")
    picture(page, folder, "attention", 1000)
    page = visit(f"/patching?{TEXTS}&place=L23H3")
    page.wait_for_selector(".st-key-sweep_denoising canvas[data-plot]")
    page.wait_for_timeout(6000)  # exact values have replaced the estimates
    picture(page, folder, "patching", 1000)
    page = visit(f"/attention?model=small-world-nano&{TEXTS}&head=L0H2")
    keep(page, "L0H2 carries which name was told twice", "ioi")
    page.get_by_text("Kept: open it in Findings").click()
    page.wait_for_selector(".st-key-finding_detail")
    run_all(page)
    expect(page.locator(".st-key-finding_detail")).to_contain_text("Rung 4 of 5")
    picture(page, folder, "findings")
    name = re.search(r"finding=(\w+)", page.url)[1]  # type: ignore[index]
    visit(f"/present?model=small-world-nano&steps={name}", wait_for=".ce-claim")
    picture(page, folder, "present")


def test_pictures_of_features(visit, folder) -> None:
    small = f"model=small-world&{PAIR}"
    page = visit(
        f"/features?{small}&side=corrupt&dictionary=L1.resid_post&feature=L1.resid_post/485&do=L1.resid_post/485:zero"
    )
    page.wait_for_selector(".st-key-feature_acts canvas[data-plot]")
    picture(page, folder, "features", 1000)
    page = visit(f"/features?{small}&side=corrupt&feature_view=Graph&graph_share=50", wait_for=".ce-graph[data-shown]")
    picture(page, folder, "graph", 1000)
