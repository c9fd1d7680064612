"""Where files of this machine live: converted weights, which can be made again, and what users keep."""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path, user_data_path

from explorer.models.info import Progress


def cache_directory() -> Path:
    """`$CIRCUIT_EXPLORER_CACHE`, or the platform's cache directory."""
    chosen = os.environ.get("CIRCUIT_EXPLORER_CACHE")
    return Path(chosen) if chosen else user_cache_path("circuit-explorer")


def data_directory() -> Path:
    """`$CIRCUIT_EXPLORER_DATA`, or the platform's data directory: presets, history, and lenses that were trained here."""
    chosen = os.environ.get("CIRCUIT_EXPLORER_DATA")
    return Path(chosen) if chosen else user_data_path("circuit-explorer")


@contextmanager
def alone(folder: Path, tell: Progress, cancelled: Callable[[], bool] = lambda: False) -> Iterator[bool]:
    """Work in a folder while nobody else does, in this process or another; False if cancelled while waiting for its turn."""
    locks = data_directory() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]}.lock")
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0.3)
        except Timeout:
            tell(0.0, "Waiting: the same work is under way elsewhere")
            if cancelled():
                yield False
                return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def sqlite_file(path: Path, tables: str, error: type[Exception], timeout: float = 20.0) -> Iterator[sqlite3.Connection]:
    """A small store in a transaction, made if it is not there; `error`, with advice, where it cannot be read or written.

    `timeout`: seconds that it waits for another writer.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=timeout)) as connection:
            connection.execute("pragma journal_mode=wal")
            connection.executescript(tables)
            with connection:
                yield connection
    except (OSError, sqlite3.Error) as problem:
        raise error(
            f"{path} cannot be used ({problem}). Check that the disk has room and the folder can be written, or set "
            "CIRCUIT_EXPLORER_DATA to another folder."
        ) from problem
