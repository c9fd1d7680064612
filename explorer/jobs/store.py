"""Jobs and their results on disk: one SQLite file, a row a finished shard.

A job whose process is gone is `interrupted`: its finished shards stay, and it can be resumed.
"""

import json
import os
import sqlite3
import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import psutil
from safetensors.numpy import load, save

from explorer.core.errors import JobError
from explorer.core.times import now
from explorer.jobs.patching import Arrays
from explorer.models.cache import data_directory, sqlite_file

State = Literal["queued", "running", "done", "cancelled", "failed", "interrupted"]
KEPT_JOBS = 50
TABLES = """
create table if not exists jobs (id text primary key, title text not null, model text not null, spec text not null,
    state text not null, error text not null, owner text not null, made text not null, pairs integer not null);
create table if not exists shards (job text not null, number integer not null, pairs integer not null, result blob not null,
    primary key (job, number));
"""


@dataclass(frozen=True)
class Stored:
    """A job as it stands on disk."""

    id: str
    title: str
    model: str
    state: State
    error: str
    made: str
    """Time, UTC, to the second."""
    pairs: int
    """Units of work: pairs, or what a discovery visits."""
    done: int
    """Units whose results are there."""
    kind: str
    """Type of its plain value."""


def owner() -> str:
    """This process, told apart from another that gets its number later."""
    return f"{os.getpid()}:{psutil.Process().create_time():.2f}"


def alive(name: str) -> bool:
    number, _, started = name.partition(":")
    try:
        return f"{psutil.Process(int(number)).create_time():.2f}" == started
    except (psutil.Error, ValueError):
        return False


class Store:
    """The jobs of a data directory; safe to use from any thread and process."""

    def __init__(self, path: Path | None = None) -> None:
        self.given = path

    @property
    def path(self) -> Path:
        return self.given or data_directory() / "jobs.sqlite"

    def opened(self) -> AbstractContextManager[sqlite3.Connection]:
        """The file in a transaction; `JobError` where it cannot be read or written."""
        return sqlite_file(self.path, TABLES, JobError)

    def add(self, title: str, model: str, spec: Any, pairs: int) -> str:
        """A new job, queued by this process; the oldest finished ones beyond `KEPT_JOBS` go."""
        name = uuid.uuid4().hex[:10]
        made = now()
        with self.opened() as connection:
            row = (name, title, model, json.dumps(spec), "queued", "", owner(), made, pairs)
            connection.execute("insert into jobs values (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            old = connection.execute(
                "select id from jobs where state not in ('queued', 'running') order by made desc limit -1 offset ?",
                (KEPT_JOBS,),
            ).fetchall()
            for (gone,) in old:
                drop(connection, gone)
        return name

    def set_state(self, job: str, state: State, error: str = "") -> None:
        with self.opened() as connection:
            connection.execute(
                "update jobs set state = ?, error = ?, owner = ? where id = ?", (state, error, owner(), job)
            )

    def save(self, job: str, number: int, pairs: int, result: Arrays, replacing: bool = False) -> None:
        """Keep a finished shard; `replacing` those before it, which it goes on from."""
        with self.opened() as connection:
            if replacing:
                connection.execute("update shards set result = ? where job = ?", (save({}), job))
            connection.execute("insert or replace into shards values (?, ?, ?, ?)", (job, number, pairs, save(result)))

    def spec(self, job: str) -> Any:
        with self.opened() as connection:
            row = connection.execute("select spec from jobs where id = ?", (job,)).fetchone()
        if row is None:
            raise JobError(f"There is no job {job[:40]!r} on this machine.")
        return json.loads(row[0])

    def same(self, spec: Any) -> str | None:
        """The newest job of exactly this plain value."""
        with self.opened() as connection:
            row = connection.execute(
                "select id from jobs where spec = ? order by made desc, rowid desc limit 1", (json.dumps(spec),)
            ).fetchone()
        return None if row is None else str(row[0])

    def shards(self, job: str) -> dict[int, Arrays]:
        with self.opened() as connection:
            rows = connection.execute("select number, result from shards where job = ?", (job,)).fetchall()
        return {number: load(result) for number, result in rows}

    def finished(self, job: str) -> set[int]:
        """Numbers of the shards that are there."""
        with self.opened() as connection:
            return {number for (number,) in connection.execute("select number from shards where job = ?", (job,))}

    def jobs(self) -> list[Stored]:
        """All jobs, newest first; those whose process is gone are interrupted."""
        with self.opened() as connection:
            rows = connection.execute(
                "select id, title, model, state, error, made, pairs, owner, coalesce(json_extract(spec, '$.type'), ''), "
                "(select coalesce(sum(pairs), 0) from shards where job = jobs.id) from jobs order by made desc, rowid desc"
            ).fetchall()
        found = []
        for name, title, model, state, error, made, pairs, process, kind, done in rows:
            gone = state in ("queued", "running") and not alive(process)
            now = cast("State", "interrupted" if gone else state)
            found.append(Stored(name, title, model, now, error, made, pairs, done, kind))
        return found

    def job(self, name: str) -> Stored | None:
        return next((job for job in self.jobs() if job.id == name), None)

    def delete(self, job: str) -> None:
        with self.opened() as connection:
            drop(connection, job)


def drop(connection: sqlite3.Connection, job: str) -> None:
    connection.execute("delete from shards where job = ?", (job,))
    connection.execute("delete from jobs where id = ?", (job,))
