"""A server and a headless Chromium for measuring the app from outside."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str | None:
    """A Chromium on PATH, or the one that Playwright installed."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(name):
            return found
    cache = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH", Path.home() / ".cache" / "ms-playwright"))
    return next((str(path) for path in sorted(cache.glob("chromium-*/chrome-linux*/chrome"))), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def server(log: Path, environment: dict[str, str] | None = None, *arguments: str) -> Iterator[tuple[str, int]]:
    """`circuit-explorer serve` on a free port, with further arguments: its address and process id."""
    port = free_port()
    command = [sys.executable, "-m", "explorer.cli", "serve", "--port", str(port), *arguments]
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        )
        try:
            wait_until_healthy(f"http://127.0.0.1:{port}", process, log)
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_healthy(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=1).read()
            return
        except OSError:
            if process.poll() is not None:
                raise RuntimeError(f"the server ended:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.1)
    raise RuntimeError("the server did not start within 60 s")


def settle(page: Any, timeout: float = 60_000) -> None:
    """Wait until the app's script has run and its page is connected."""
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=timeout)


def target(page: Any, key: str, row: int, column: int) -> tuple[float, float]:
    """Where the middle of a heatmap's target lies in the window, in pixels; waits until it is drawn."""
    page.wait_for_selector(f".st-key-{key} canvas[data-plot]")
    x, y = page.evaluate(
        """([key, row, column]) => {
            const canvas = document.querySelector(`.st-key-${key} canvas`);
            const box = canvas.getBoundingClientRect(), plot = JSON.parse(canvas.dataset.plot);
            const line = plot.upwards ? plot.rows - 1 - row : row;
            return [box.left + plot.left + (column + 0.5) * plot.stepX, box.top + plot.top + (line + 0.5) * plot.stepY];
        }""",
        [key, row, column],
    )
    return float(x), float(y)


def click_target(page: Any, key: str, row: int, column: int) -> None:
    x, y = target(page, key, row, column)
    page.mouse.move(x - 2, y)
    page.mouse.click(x, y)
