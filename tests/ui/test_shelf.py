"""Presets and history on disk: kept, replaced, trimmed, shared between writers, and refused in a sentence."""

import threading

import pytest

from explorer.core.errors import ShelfError
from explorer.ui import shelf

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("CIRCUIT_EXPLORER_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_presets_are_kept_by_name_replaced_and_deleted() -> None:
    shelf.save_preset("  two   words ", "v=2&clean=a")
    shelf.save_preset("another", "v=2&clean=b")
    shelf.save_preset("two words", "v=2&clean=c")
    assert [(kept.name, kept.address) for kept in shelf.presets()] == [
        ("another", "v=2&clean=b"),
        ("two words", "v=2&clean=c"),
    ]
    shelf.delete_preset("another")
    assert [kept.name for kept in shelf.presets()] == ["two words"]
    for name in ("", "   ", "x" * 81):
        with pytest.raises(ShelfError, match="1 to 80 characters"):
            shelf.save_preset(name, "v=2")


def test_runs_are_noted_once_newest_first_and_trimmed(monkeypatch) -> None:
    monkeypatch.setattr(shelf, "KEPT_RUNS", 5)
    for number in range(8):
        for _ in range(2):
            shelf.note_run(f"clean={number}", {"kl": float(number)})
    found = shelf.runs()
    assert [row.address for row in found] == [f"clean={number}" for number in (7, 6, 5, 4, 3)]
    assert found[0].summary == {"kl": 7.0}
    shelf.clear_runs()
    assert shelf.runs() == []


def test_many_writers_lose_nothing() -> None:
    shelf.save_preset("first", "")

    def write(number: int) -> None:
        for step in range(10):
            shelf.save_preset(f"{number}-{step}", "v=2")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(shelf.presets()) == 81


def test_a_shelf_that_cannot_be_used_says_what_to_do(data) -> None:
    data.mkdir()
    (data / "workbench.sqlite").write_bytes(b"this is no database, but it is long enough to be taken for one" * 20)
    with pytest.raises(ShelfError, match="or set CIRCUIT_EXPLORER_DATA"):
        shelf.presets()
