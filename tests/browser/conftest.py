"""A real server with the default model, and a real Chromium that fails a test on any error or foreign request."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, Page

from benchmarks.browser import FLAGS, find_chromium, server, settle

CHROMIUM = find_chromium()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM is None:
        for item in items:
            if "browser" in item.keywords and "tests/browser" in str(item.path):
                item.add_marker(pytest.mark.skip(reason="no Chromium on this machine, and none could be installed"))


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    return {
        **browser_type_launch_args,
        "executable_path": CHROMIUM,
        "headless": True,
        "args": [*FLAGS, "--force-color-profile=srgb"],
    }


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args):
    return {
        **browser_context_args,
        "viewport": {"width": 1280, "height": 1200},
        "reduced_motion": "reduce",
        "locale": "en-GB",
    }


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with server(folder / "log.txt", {"CIRCUIT_EXPLORER_DATA": str(folder / "data")}) as (address, _):
        yield address


@pytest.fixture
def watch(url: str) -> Iterator[Callable[[Page], Page]]:
    """Watch a page for JavaScript errors, exceptions on the page, and requests that leave this machine."""
    pages, troubles = [], []

    def follow(page: Page) -> Page:
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: troubles.append(f"dialog: {dialog.message}"))
        local = (url, url.replace("http", "ws"), "data:", "blob:")
        page.on("request", lambda request: None if request.url.startswith(local) else troubles.append(request.url))
        pages.append(page)
        return page

    yield follow
    assert troubles == []
    for page in pages:
        if not page.is_closed():
            assert page.locator("[data-testid=stException]").all_inner_texts() == []


@pytest.fixture
def visit(page: Page, url: str, watch) -> Callable[..., Page]:
    """Open an address in this test's browser and wait for the page."""
    watch(page)

    def go(path: str = "/", wait_for: str = ".st-key-effect") -> Page:
        page.goto(path if path.startswith("http") else url + path)
        page.wait_for_selector(wait_for)
        settle(page)
        return page

    return go


@pytest.fixture
def fresh(browser, browser_context_args, watch) -> Iterator[Callable[..., Page]]:
    """Open an address in a browser of its own."""
    contexts: list[BrowserContext] = []

    def go(address: str, wait_for: str = ".st-key-effect", **options) -> Page:
        context = browser.new_context(**{**browser_context_args, **options})
        contexts.append(context)
        page = watch(context.new_page())
        page.goto(address)
        page.wait_for_selector(wait_for)
        settle(page)
        return page

    yield go
    for context in contexts:
        context.close()
