"""The cache directory: converted weights live here, one folder a model."""

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_directory() -> Path:
    """`$CIRCUIT_EXPLORER_CACHE`, or the platform's cache directory."""
    chosen = os.environ.get("CIRCUIT_EXPLORER_CACHE")
    return Path(chosen) if chosen else user_cache_path("circuit-explorer")
