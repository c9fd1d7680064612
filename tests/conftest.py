"""Fixtures: tiny random models written to disk with a real tokenizer, the shipped model, and no network."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch

from explorer.engine.model import Model, load_model
from explorer.models.loading import read_tokenizer
from explorer.models.zoo.shipped import FILES
from tests.tiny import FAMILIES, write_model

PROMPT = "When Mary and John went to the store, John gave a drink to"
TWIN = "When Mary and John went to the store, Mary gave a drink to"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but this machine may be reached from a test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session", autouse=True)
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Presets, history and lenses of the user's stay out of tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CIRCUIT_EXPLORER_DATA", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session")
def tiny_directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A directory for each family, with random weights in float32."""
    root = tmp_path_factory.mktemp("tiny")
    return {family: write_model(family, root / family) for family in FAMILIES}


@pytest.fixture(scope="session")
def tiny_models(tiny_directories: dict[str, Path]) -> dict[str, Model]:
    """The same, loaded in float64."""
    return {family: load_model(str(path), dtype="float64") for family, path in tiny_directories.items()}


@pytest.fixture(params=["gpt2", "llama"])
def tiny(request: pytest.FixtureRequest, tiny_models: dict[str, Model]) -> Model:
    return tiny_models[request.param]


@pytest.fixture(scope="session")
def smollm2() -> Model:
    return load_model("smollm2")


@pytest.fixture(scope="session", autouse=True)
def two_threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture(scope="module")
def shipped_tokenizer() -> Iterator[None]:
    """Trainings take the tokenizer that ships, which training it (half a minute under type checks) would give."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("explorer.models.zoo.tokenizer.train", lambda: read_tokenizer(FILES / "small-world"))
        yield
