"""What stays on this machine between visits: named presets, the runs that were looked at, steps of lessons; one SQLite file.

Both hold addresses, so an old entry opens as an old address does.  Write-ahead logging lets many browsers write at once.
"""

import json
import sqlite3
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from explorer.core.errors import ShelfError
from explorer.core.times import now
from explorer.models.cache import data_directory, sqlite_file

KEPT_RUNS = 500
LONGEST_NAME = 80
BEGUN = -1
"""The step of a lesson that says when it was begun."""
TABLES = """
create table if not exists presets (name text primary key, address text not null, made text not null);
create table if not exists lesson_steps (learner text not null, lesson text not null, step integer not null, made text not null,
    primary key (learner, lesson, step));
create table if not exists runs (id integer primary key, address text not null, summary text not null, made text not null);
"""


@dataclass(frozen=True)
class Kept:
    """A row of the shelf."""

    id: int
    name: str
    address: str
    summary: dict[str, Any]
    made: str
    """Time, UTC, to the second."""


def opened() -> AbstractContextManager[sqlite3.Connection]:
    """The shelf in a transaction; `ShelfError` where it cannot be read or written."""
    return sqlite_file(data_directory() / "workbench.sqlite", TABLES, ShelfError, timeout=5.0)


def save_preset(name: str, address: str) -> None:
    """Keep an address under a name; an older preset of that name is replaced."""
    shown = " ".join(name.split())
    if not 1 <= len(shown) <= LONGEST_NAME:
        raise ShelfError(f"A preset's name has 1 to {LONGEST_NAME} characters; this one has {len(shown)}.")
    with opened() as connection:
        connection.execute("insert or replace into presets values (?, ?, ?)", (shown, address, now()))


def delete_preset(name: str) -> None:
    with opened() as connection:
        connection.execute("delete from presets where name = ?", (name,))


def presets() -> list[Kept]:
    """All presets, by name."""
    with opened() as connection:
        rows = connection.execute("select rowid, name, address, made from presets order by name").fetchall()
    return [Kept(number, name, address, {}, made) for number, name, address, made in rows]


def note_run(address: str, summary: dict[str, Any]) -> None:
    """Add a run to the history, unless it is the one noted last; the oldest beyond `KEPT_RUNS` go."""
    with opened() as connection:
        last = connection.execute("select address from runs order by id desc limit 1").fetchone()
        if last == (address,):
            return
        row = (address, json.dumps(summary), now())
        connection.execute("insert into runs (address, summary, made) values (?, ?, ?)", row)
        connection.execute("delete from runs where id <= (select max(id) from runs) - ?", (KEPT_RUNS,))


def runs() -> list[Kept]:
    """The history, newest first."""
    with opened() as connection:
        rows = connection.execute("select id, address, summary, made from runs order by id desc").fetchall()
    return [Kept(number, "", address, json.loads(summary), made) for number, address, summary, made in rows]


def clear_runs() -> None:
    with opened() as connection:
        connection.execute("delete from runs")


def finish_step(learner: str, lesson: str, step: int) -> None:
    """Note that a learner has done a step of a lesson."""
    with opened() as connection:
        connection.execute("insert or ignore into lesson_steps values (?, ?, ?, ?)", (learner, lesson, step, now()))


def finished_steps(learner: str) -> dict[str, set[int]]:
    """Numbers of the steps that a learner has done, by lesson."""
    with opened() as connection:
        rows = connection.execute(
            "select lesson, step from lesson_steps where learner = ? and step >= 0", (learner,)
        ).fetchall()
    found: dict[str, set[int]] = {}
    for lesson, step in rows:
        found.setdefault(lesson, set()).add(step)
    return found


def begin_lesson(learner: str, lesson: str) -> None:
    """Note when a learner began a lesson, the first time."""
    finish_step(learner, lesson, BEGUN)


def lesson_begun(learner: str, lesson: str) -> str:
    """When a learner began a lesson (UTC); empty where nobody noted it."""
    with opened() as connection:
        row = connection.execute(
            "select made from lesson_steps where learner = ? and lesson = ? and step = ?", (learner, lesson, BEGUN)
        ).fetchone()
    return "" if row is None else str(row[0])


def forget_lesson(learner: str, lesson: str) -> None:
    with opened() as connection:
        connection.execute("delete from lesson_steps where learner = ? and lesson = ?", (learner, lesson))
