"""Where a result came from: enough to compute it again."""

import platform
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from typing import Any

PACKAGES = ("circuit-explorer", "torch", "transformers", "transformer-lens")


@cache
def versions() -> dict[str, str]:
    """Version of Python and of the packages that decide the numbers; read once, every result carries it."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@dataclass(frozen=True)
class Provenance:
    """Model, input and interventions of a result."""

    model: str
    """Catalog key, hub id or directory."""
    weight_hash: str
    """SHA-256 over the weight files."""
    backend: str
    self_check: float
    """Largest |Δ log-prob| between that backend and the bridge's own forward pass when the model was loaded."""
    dtype: str
    prompts: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...]
    interventions: tuple[Any, ...] = ()
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=versions)
