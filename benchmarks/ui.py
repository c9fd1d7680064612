"""How long a click takes, measured in headless Chromium against a real server.

    python benchmarks/ui.py [--clicks 12]

Start: from the command to the first page with its prediction.  Click: from the mouse button to the last change of what any
chart or table shows (the values of every visible chart are summed on each animation
frame).  Memory: the server's
resident set.  Reported, never asserted.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import sync_playwright

from benchmarks.browser import FLAGS, find_chromium, server, settle, target

WATCH = """() => {
  let before = null;
  const numbers = (grid) => {
    let total = 0, weight = 1;
    for (const row of grid ?? []) for (const value of row.length === undefined ? [row] : row) total += (weight = (weight * 31) % 1009) * (value || 0);
    return total;
  };
  const shown = (plot) => (plot._fullData ?? []).map((trace) => numbers(trace.z) + "," + numbers(trace.y)).join()
    + JSON.stringify(plot.layout?.shapes ?? "") + (plot.layout?.title?.text ?? "");
  const state = () => [...document.querySelectorAll(".js-plotly-plot")].filter((plot) => plot.offsetParent).map(shown).join("|")
    + [...document.querySelectorAll("canvas[data-shown]")].map((canvas) => canvas.dataset.shown).join("|")
    + document.querySelector(".st-key-effect").innerText + [...document.querySelectorAll(".ce-table")].map((t) => t.innerText).join();
  window.__clicked = null; window.__changed = null;
  document.addEventListener("pointerdown", () => { window.__clicked = performance.now(); before = state(); }, { capture: true, once: true });
  const loop = () => {
    if (window.__clicked !== null) { const now = state(); if (now !== before) { before = now; window.__changed = performance.now(); } }
    window.__frame = requestAnimationFrame(loop);
  };
  cancelAnimationFrame(window.__frame); loop();
}"""
QUIET = 1.2
"""Seconds without a change after which a click counts as answered."""


def timed(page: Any, click: Callable[[], None]) -> float:
    """Milliseconds from pointer down to the last change on the page."""
    page.evaluate(WATCH)
    click()
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        page.wait_for_timeout(200)
        clicked, changed, now = page.evaluate("() => [window.__clicked, window.__changed, performance.now()]")
        if changed is not None and now - changed > 1000 * QUIET:
            return float(changed - clicked)
    raise RuntimeError("nothing changed within 15 s of the click")


def attention_clicks(page: Any, url: str, n: int) -> dict[str, list[float]]:
    """Open heads, ablate them, undo; each on a head that was not ablated before."""
    page.goto(f"{url}/attention")
    page.wait_for_selector(".st-key-head_grid canvas[data-plot]")
    settle(page)
    page.wait_for_timeout(1500)
    times: dict[str, list[float]] = {"open a head": [], "zero-ablate it (Attention page)": [], "undo": []}
    for number in range(n):
        x, y = target(page, "head_grid", (7 * number + 2) % 30, (2 * number) % 9)
        page.mouse.move(x - 2, y)
        page.wait_for_timeout(200)
        times["open a head"].append(timed(page, lambda x=x, y=y: page.mouse.click(x, y)))  # type: ignore[misc]
        times["zero-ablate it (Attention page)"].append(timed(page, page.get_by_role("button", name="Zero").click))
        times["undo"].append(timed(page, page.locator(".st-key-undo button").first.click))
    return times


def switches(page: Any, url: str, path: str, name: str, n: int) -> dict[str, list[float]]:
    """Switch an intervention on: another head each time, so that nothing is cached."""
    times = []
    for number in range(n):
        page.goto(f"{url}{path}?do=L{(7 * number + 3) % 30}H{(2 * number + 1) % 9}:zero:off")
        page.wait_for_selector(".st-key-effect")
        settle(page)
        page.wait_for_timeout(1500)
        times.append(timed(page, page.locator(".st-key-entry_0_row label").first.click))
    return {name: times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clicks", type=int, default=12)
    n = parser.parse_args().clicks
    log = Path(tempfile.mkstemp(suffix=".log")[1])
    started = time.monotonic()
    with server(log) as (url, process_id), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS, headless=True)
        page = browser.new_page(viewport={"width": 1280, "height": 1200})
        page.goto(url)
        page.wait_for_selector(".ce-bar", timeout=120_000)
        print(f"start to first page: {time.monotonic() - started:.1f} s")
        times = attention_clicks(page, url, n)
        times |= switches(page, url, "/attention", "switch on (Attention page: all patterns)", n)
        times |= switches(page, url, "/lens", "switch on (Lens page: full lens)", n)
        times |= switches(page, url, "/", "switch on (Prompt page: prediction)", n)
        for name, values in times.items():
            ordered = sorted(values)
            print(
                f"{name:45s} median {statistics.median(ordered):5.0f} ms, slowest {ordered[-1]:5.0f} ms, n = {len(ordered)}"
            )
        print(f"server's resident memory: {psutil.Process(process_id).memory_info().rss / 1e9:.2f} GB")
        browser.close()


if __name__ == "__main__":
    main()
