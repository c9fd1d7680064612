"""Where files of this machine live: converted weights, which can be made again, and what users keep."""

import os
from pathlib import Path

from platformdirs import user_cache_path, user_data_path


def cache_directory() -> Path:
    """`$CIRCUIT_EXPLORER_CACHE`, or the platform's cache directory."""
    chosen = os.environ.get("CIRCUIT_EXPLORER_CACHE")
    return Path(chosen) if chosen else user_cache_path("circuit-explorer")


def data_directory() -> Path:
    """`$CIRCUIT_EXPLORER_DATA`, or the platform's data directory: presets, history, and lenses that were trained here."""
    chosen = os.environ.get("CIRCUIT_EXPLORER_DATA")
    return Path(chosen) if chosen else user_data_path("circuit-explorer")
