"""Dictionaries of the tiny models, and an empty place for the user's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_dictionaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CIRCUIT_EXPLORER_DATA", str(tmp_path / "data"))
    yield tmp_path / "data"
