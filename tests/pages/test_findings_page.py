"""Findings, Present and Learn through AppTest: empty, broken and foreign stores each leave a page that says what to do."""

import time
from dataclasses import replace

import pytest

from explorer.findings.finding import Finding
from explorer.findings.store import FindingStore
from tests.pages.conftest import words

pytestmark = pytest.mark.pages


@pytest.fixture
def url(tmp_path, monkeypatch) -> str:
    """A store of the test's own."""
    name = f"sqlite:///{tmp_path / 'findings.sqlite'}"
    monkeypatch.setenv("CIRCUIT_EXPLORER_DB", name)
    return name


def kept(url: str, **more) -> Finding:
    return FindingStore(url).add(
        Finding("A claim <b>with</b> *signs*", "small-world-nano", "0" * 64, "float32", **more)
    )


@pytest.mark.parametrize(("name", "said"), [("findings", "Nothing is kept yet"), ("present", "Nothing to present yet")])
def test_empty(open_page, url, name, said) -> None:
    app = open_page(name)
    assert not app.exception and said in words(app)


@pytest.mark.parametrize("name", ["findings", "present"])
def test_a_store_that_cannot_be_read(open_page, tmp_path, monkeypatch, name) -> None:
    (tmp_path / "findings.sqlite").write_bytes(b"this is no database but long enough to look like a file of one")
    monkeypatch.setenv("CIRCUIT_EXPLORER_DB", f"sqlite:///{tmp_path / 'findings.sqlite'}")
    app = open_page(name)
    assert not app.exception and app.error and "no findings store, or was damaged" in words(app)


def test_keep_says_why_a_store_cannot_be_written(open_page, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CIRCUIT_EXPLORER_DB", "postgresql+psycopg://ce:secret@127.0.0.1:1/none")
    app = open_page("findings")
    assert not app.exception and app.error and "secret" not in words(app)


def test_a_finding_of_another_model_opens_and_its_check_says_what_is_wrong(open_page, url) -> None:
    finding = kept(url, places=("L0H2",), task="ioi", view="Attention", address="model=small-world-nano")
    app = open_page("findings", finding=finding.id)
    assert not app.exception and "Rung 0 of 5, observed" in words(app)
    app.button(key="run_next").click().run()
    for _ in range(60):
        if "other weights now" in words(app):
            break
        time.sleep(0.3)
        app.run()
    assert "other weights now" in words(app) and not app.exception


def test_a_claim_without_components_says_how_it_can_be_tested(open_page, url) -> None:
    app = open_page("findings", finding=kept(url).id)
    assert not app.exception and "Name the components" in words(app)
    app = open_page("findings", finding=kept(url, places=("L0H2",)).id)
    assert "Choose the task whose pairs" in words(app)


def test_an_address_with_a_finding_that_is_gone(open_page, url) -> None:
    kept(url)
    app = open_page("findings", finding="0123456789ab", steps="0123456789ab")
    assert not app.exception and "Open a finding" in words(app)
    app = open_page("present", steps="0123456789ab")
    assert not app.exception and app.error and "There is no finding" in words(app)


def test_steps_follow_the_order_of_the_address(open_page, url) -> None:
    first, second = kept(url), FindingStore(url).add(replace(kept(url), claim="The second"))
    app = open_page("present", steps=f"{second.id},{first.id}")
    assert "The second" in words(app) and "1 of 2" in words(app)
    app.button(key="present_next").click().run()
    assert "&lt;b&gt;with&lt;/b&gt;" in words(app) and "2 of 2" in words(app)
    assert app.button(key="present_next").disabled


def test_a_lesson_that_is_not_there_and_one_that_is(open_page) -> None:
    pair = {"model": "small-world-nano", "clean": "Mary and John", "corrupt": ""}
    app = open_page("attention", **pair, lesson="no-such-lesson")
    assert not app.exception and "There is no lesson named no-such-lesson" in words(app)
    app = open_page("attention", **pair, lesson="1-attention")
    assert not app.exception and "Look at a head" in words(app) and "not yet" in words(app)
    app = open_page("learn")
    assert not app.exception and "What attention shows" in words(app)
