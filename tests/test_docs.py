"""The documentation site: it builds without a warning, links lead somewhere, it fetches nothing, and it keeps up with the code."""

import html.parser
import re
import subprocess
import sys
from pathlib import Path

import pytest

import explorer as ex
from explorer.lessons.lesson import CONDITIONS, FACTS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


class Links(html.parser.HTMLParser):
    """Links, sources and ids of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attributes}
        self.ids |= {named[name] for name in ("id", "name") if name in named}
        if tag == "a" and "href" in named:
            self.links.append(named["href"])
        elif "src" in named:
            self.fetched.append(named["src"])
        elif tag == "link" and named.get("rel") not in ("canonical", "prev", "next"):
            self.fetched.append(named.get("href", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def pages(site: Path) -> dict[Path, Links]:
    found = {}
    for path in site.rglob("*.html"):
        found[path] = Links()
        found[path].feed(path.read_text())
    return found


@pytest.mark.slow
def test_the_glossary_is_on_the_site(site) -> None:
    assert "matched random control" in (site / "reference" / "glossary.html").read_text()


@pytest.mark.slow
def test_every_link_leads_somewhere_and_nothing_is_fetched(site) -> None:
    found = pages(site)
    assert len(found) >= 18
    for path, page in found.items():
        if path.name == "404.html":
            continue
        for source in page.fetched:
            assert not source.startswith(("http:", "https:", "//")), (path.name, source)
            assert (path.parent / source.partition("?")[0]).exists(), (path.name, source)
        for link in page.links:
            if link.startswith(("http:", "https:", "mailto:")):
                continue
            where, _, anchor = link.partition("#")
            there = (path.parent / where).resolve() if where not in ("", ".") else path
            if there.is_dir():
                there = there / "index.html"
            assert there.exists(), (path.name, link)
            assert not anchor or anchor.startswith("__") or anchor in found[there].ids, (path.name, link)


@pytest.mark.unit
def test_every_public_function_stands_in_the_reference() -> None:
    written = " ".join(path.read_text() for path in (DOCS / "reference").glob("*.md"))
    for name in ex.__all__:
        if name == "plots" or not callable(getattr(ex, name)) or isinstance(getattr(ex, name), type):
            continue
        if name in ("true_circuit", "plan_patching"):
            continue
        assert re.search(rf"\.{name}\b", written), f"{name} is missing in docs/reference"


@pytest.mark.unit
def test_the_language_of_lessons_is_that_of_the_code() -> None:
    written = (DOCS / "how-to" / "lessons.md").read_text()
    for kind in (*CONDITIONS, *FACTS):
        assert f"`{kind}" in written, kind


@pytest.mark.unit
def test_pictures_are_there_and_made_by_the_browser_tests() -> None:
    from tests.browser.test_screenshots import VIEWS

    named = set(re.findall(r"images/([a-z]+)\.png", " ".join(path.read_text() for path in DOCS.rglob("*.md"))))
    assert named == set(VIEWS) and all((DOCS / "images" / f"{name}.png").is_file() for name in named)
