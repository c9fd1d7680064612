"""How long a click takes, measured in headless Chromium against a real server.

    python -m benchmarks.ui [--clicks 12] [--model smollm2 small-world]

Start: from the command to the first page with its prediction.  Click: from the mouse button to the last change of what any
chart or table shows (the values of every visible chart are summed on each animation
frame), beside the same for a page of one button and one number.  Memory: the server's resident set.  Reported, never asserted.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
from playwright.sync_api import sync_playwright

from benchmarks.browser import FLAGS, find_chromium, free_port, server, settle, target, wait_until_healthy

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


Times = dict[str, list[float]]
PAIR = "&".join(
    f"{name}={quote(text)}"
    for name, text in (
        ("clean", "When Mary and John went to the store, John gave a drink to"),
        ("corrupt", "When Mary and John went to the store, Mary gave a drink to"),
        ("answer", " Mary"), ("distractor", " John"),
    )
)  # fmt: skip
SHAPES = {"smollm2": (30, 9), "small-world": (4, 8)}


def opened(page: Any, address: str, wait_for: str) -> None:
    page.goto(address)
    page.wait_for_selector(".st-key-effect", timeout=120_000)
    page.wait_for_selector(wait_for, timeout=120_000)
    settle(page)
    page.wait_for_timeout(1500)


def attention_clicks(page: Any, url: str, model: str, n: int) -> Times:
    """Open heads, ablate them, undo, read another destination; each on a head that was not ablated before."""
    n_layers, n_heads = SHAPES[model]
    opened(page, f"{url}/attention?model={model}&{PAIR}", ".st-key-head_grid canvas[data-plot]")
    times: Times = {
        "open a head": [],
        "zero-ablate it, all patterns": [],
        "undo": [],
        "choose a destination and source": [],
    }
    zero = page.locator(".st-key-act_head_choices").get_by_role("button", name="Zero")
    for number in range(n):
        for name, key, row, column in (
            ("open a head", "head_grid", (7 * number + 2) % n_layers, (2 * number + number // n_layers) % n_heads),
            ("choose a destination and source", "head_large", 4 + number % 9, number % 5),
        ):
            x, y = target(page, key, row, column)
            page.mouse.move(x - 2, y)
            page.wait_for_timeout(200)
            times[name].append(timed(page, lambda x=x, y=y: page.mouse.click(x, y)))  # type: ignore[misc]
        times["zero-ablate it, all patterns"].append(timed(page, zero.click))
        times["undo"].append(timed(page, page.locator(".st-key-undo button").first.click))
    return times


def switches(page: Any, url: str, model: str, page_name: str, wait_for: str, n: int) -> list[float]:
    """Switch an intervention on: another head each time, so that nothing is cached."""
    n_layers, n_heads = SHAPES[model]
    times = []
    for number in range(n):
        layer, head = (7 * number + 3) % n_layers, (2 * number + 1 + number // n_layers) % n_heads
        opened(page, f"{url}/{page_name}&model={model}&{PAIR}&do=L{layer}H{head}:zero:off", wait_for)
        times.append(timed(page, page.locator(".st-key-entry_0_row label").first.click))
    return times


PAGES = (
    ("Prompt: prediction of both prompts", "?v=2", ".ce-bar"),
    ("Attention: all patterns", "attention?v=2", ".st-key-head_grid canvas[data-plot]"),
    ("Lens: every layer and position", "lens?v=2", ".st-key-lens_grid canvas[data-plot]"),
    ("Lens, tuned", "lens?lens=tuned", ".st-key-lens_grid canvas[data-plot]"),
    ("Lens on heads and MLPs", "lens?lens_of=heads+and+MLPs", ".st-key-component_grid canvas[data-plot]"),
    ("Attribution", "attribution?v=2", ".st-key-attribution_grid canvas[data-plot]"),
)


@contextlib.contextmanager
def empty_page() -> Iterator[str]:
    """The smallest Streamlit app, on a server of its own."""
    port, log = free_port(), Path(tempfile.mkstemp(suffix=".log")[1])
    options = {"server.port": port, "server.headless": True, "browser.gatherUsageStats": False}
    flags = [f"--{name}={str(value).lower()}" for name, value in options.items()]
    with log.open("w") as stream:
        command = [sys.executable, "-m", "streamlit", "run", str(Path(__file__).with_name("empty_page.py")), *flags]
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        try:
            wait_until_healthy(f"http://127.0.0.1:{port}", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def round_trips(browser: Any, n: int) -> list[float]:
    with empty_page() as url:
        page = browser.new_page(viewport={"width": 1280, "height": 1200})
        page.goto(url)
        page.wait_for_selector(".ce-table")
        page.wait_for_timeout(1500)
        times = [timed(page, page.get_by_role("button", name="Add").click) for _ in range(n)]
        page.close()
    return times


def report(name: str, values: list[float]) -> None:
    ordered = sorted(values)
    late = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    print(
        f"{name:42s} median {statistics.median(ordered):5.0f} ms, 95th percentile {late:5.0f} ms, n = {len(ordered)}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clicks", type=int, default=12)
    parser.add_argument("--model", nargs="+", choices=tuple(SHAPES), default=list(SHAPES))
    options = parser.parse_args()
    log = Path(tempfile.mkstemp(suffix=".log")[1])
    data = tempfile.mkdtemp()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS, headless=True)
        report("an empty page's own round trip", round_trips(browser, options.clicks))
        started = time.monotonic()
        with server(log, {"CIRCUIT_EXPLORER_DATA": data}) as (url, process_id):
            page = browser.new_page(viewport={"width": 1280, "height": 1200})
            page.add_init_script("localStorage.setItem('circuit-explorer-tour-seen', 'yes')")
            page.goto(url)
            page.wait_for_selector(".ce-bar", timeout=120_000)
            print(f"start to first page: {time.monotonic() - started:.1f} s")
            for model in options.model:
                print(model)
                every: list[float] = []
                found = attention_clicks(page, url, model, options.clicks)
                for name, path, wait_for in PAGES:
                    found[f"switch on ({name})"] = switches(page, url, model, path, wait_for, options.clicks)
                for name, values in found.items():
                    report(f"  {name}", values)
                    every += values
                report("  all interactions", every)
            print(f"server's resident memory: {psutil.Process(process_id).memory_info().rss / 1e9:.2f} GB")
        browser.close()


if __name__ == "__main__":
    main()
