"""The findings store: SQLite in the data directory, or the database that `CIRCUIT_EXPLORER_DB` names.

Everything of one change is one transaction: with write-ahead logging, what was committed survives a killed process.  Arrays and figures
are kept once, under the hash of what they hold.
"""

import hashlib
import json
import os
import threading
import uuid
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
from safetensors.numpy import load, save
from sqlalchemy import Connection, Engine, create_engine, delete, event, func, insert, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from explorer.core.errors import ConflictError, FindingError
from explorer.core.times import now
from explorer.findings.finding import Finding, cleaned, finding_record, read_finding
from explorer.findings.schema import BLOBS, FINDINGS, USES, migrate
from explorer.models.cache import data_directory

LARGEST = 50_000_000
"""Bytes of arrays and figures in one finding."""
KEPT_DELETED = timedelta(days=30)
WAIT = 20
"""Seconds that a writer waits for another."""


def default_url() -> str:
    return os.environ.get("CIRCUIT_EXPLORER_DB") or f"sqlite:///{data_directory() / 'findings.sqlite'}"


class FindingStore:
    """Findings of a machine or a team; safe to use from any thread and process."""

    def __init__(self, url: str | None = None) -> None:
        self.given = url
        self.lock = threading.Lock()
        self.engines: dict[str, Engine] = {}

    @property
    def url(self) -> str:
        return self.given or default_url()

    def engine(self) -> Engine:
        """The database, brought up to date when it is first opened."""
        with self.lock:
            if self.url not in self.engines:
                made = connected(self.url)
                with made.begin() as connection:
                    migrate(connection)
                self.engines[self.url] = made
            return self.engines[self.url]

    @contextmanager
    def opened(self) -> Iterator[Connection]:
        """A transaction; `FindingError` where the database cannot be used, with nothing changed."""
        try:
            with self.engine().begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError, ImportError) as error:
            raise FindingError(unusable(self.url, error)) from error

    def add(self, finding: Finding) -> Finding:
        """Keep a new finding; what is returned has its id."""
        made = now()
        kept = replace(cleaned(finding), id=uuid.uuid4().hex[:12], made=made, changed=made, revision=1)
        check_size(kept)
        with self.opened() as connection:
            connection.execute(insert(FINDINGS).values(**row_of(kept), deleted=""))
            put_parts(connection, kept)
        return kept

    def save(self, finding: Finding) -> Finding:
        """Keep a change.  `ConflictError` where the finding was changed or deleted since it was read; then nothing is changed."""
        kept = replace(cleaned(finding), changed=now(), revision=finding.revision + 1)
        check_size(kept)
        with self.opened() as connection:
            done = connection.execute(
                update(FINDINGS)
                .where(FINDINGS.c.id == kept.id, FINDINGS.c.revision == finding.revision, FINDINGS.c.deleted == "")
                .values(**row_of(kept))
            )
            if done.rowcount == 0:
                there = connection.execute(select(FINDINGS.c.deleted).where(FINDINGS.c.id == kept.id)).scalar()
                raise ConflictError(
                    "Somebody deleted this finding meanwhile." if there != "" else
                    "Somebody changed this finding meanwhile. Your words are still in the form: load the newer one, compare, and save again."
                )  # fmt: skip
            connection.execute(delete(USES).where(USES.c.finding == kept.id))
            put_parts(connection, kept)
            drop_unused(connection)
        return kept

    def get(self, name: str) -> Finding:
        """A finding with its arrays and figures; `FindingError` where there is none."""
        with self.opened() as connection:
            row = connection.execute(
                select(FINDINGS.c.record).where(FINDINGS.c.id == name, FINDINGS.c.deleted == "")
            ).scalar()
            if row is None:
                raise FindingError(f"There is no finding {name[:40]!r} in this store.")
            blobs = connection.execute(
                select(USES.c.part, USES.c.path, BLOBS.c.content)
                .join(BLOBS, BLOBS.c.hash == USES.c.hash)
                .where(USES.c.finding == name)
            ).all()
        arrays: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
        figures: dict[str, str] = {}
        for part, path, content in blobs:
            if path:
                arrays[part][path] = load(zlib.decompress(content))["array"]
            else:
                figures[part] = zlib.decompress(content).decode()
        return read_finding(json.loads(row), arrays, figures)

    def findings(self, search: str = "", tag: str = "") -> list[Finding]:
        """Findings as a list needs them (see `light`), the last changed first; those whose words hold every word of `search`."""
        chosen = select(FINDINGS.c.record).where(FINDINGS.c.deleted == "")
        for word in search.lower().split():
            chosen = chosen.where(FINDINGS.c.words.contains(word, autoescape=True))
        with self.opened() as connection:
            rows = connection.execute(chosen.order_by(FINDINGS.c.changed.desc(), FINDINGS.c.id)).scalars().all()
        found = [light(json.loads(row)) for row in rows]
        return [each for each in found if not tag or tag in each.tags]

    def count(self) -> int:
        with self.opened() as connection:
            return int(connection.execute(select(func.count()).where(FINDINGS.c.deleted == "")).scalar_one())

    def delete(self, name: str) -> None:
        """Put a finding aside; `restore` brings it back for 30 days."""
        old = now(KEPT_DELETED)
        with self.opened() as connection:
            connection.execute(update(FINDINGS).where(FINDINGS.c.id == name).values(deleted=now()))
            gone = FINDINGS.c.deleted.between("1", old)
            connection.execute(delete(USES).where(USES.c.finding.in_(select(FINDINGS.c.id).where(gone))))
            connection.execute(delete(FINDINGS).where(gone))
            drop_unused(connection)

    def restore(self, name: str) -> None:
        with self.opened() as connection:
            done = connection.execute(update(FINDINGS).where(FINDINGS.c.id == name).values(deleted=""))
            if done.rowcount == 0:
                raise FindingError("This finding is gone: what was deleted is kept for 30 days.")


def light(record: dict[str, Any]) -> Finding:
    """A finding with its numbers, and without calls' arguments, provenance, arrays and figures: those are most of it."""
    for each in (*record["views"], *record["checks"]):
        each["arguments"], each["provenance"] = {}, {}
    return read_finding(record, {}, {})


def connected(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database:
        from pathlib import Path

        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    made = create_engine(parsed, poolclass=NullPool, connect_args={"timeout": WAIT})

    @event.listens_for(made, "connect")
    def set_up(connection: Any, _: Any) -> None:
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=full")

    return made


def unusable(url: str, error: Exception) -> str:
    """What is wrong with the database, and what to do."""
    place = make_url(url).render_as_string(hide_password=True) if "://" in url else url
    words = str(getattr(error, "orig", None) or error).splitlines()[0][:200]
    low = words.lower()
    if "full" in low:
        advice = "The disk is full. Make room and try again; what was kept before is still there."
    elif "locked" in low or "busy" in low:
        advice = f"Another program has held it for more than {WAIT} seconds. Close that program and try again; nothing was lost."
    elif "not a database" in low or "malformed" in low:
        advice = "The file is no findings store, or was damaged. Move it away or set CIRCUIT_EXPLORER_DB to another; it was not touched."
    else:
        advice = "Check that the folder can be written or the server answers, or set CIRCUIT_EXPLORER_DB (for example sqlite:////path/findings.sqlite)."
    return f"The findings store {place} cannot be used ({words}). {advice}"


def check_size(finding: Finding) -> None:
    size = finding.nbytes()
    if size > LARGEST:
        raise FindingError(
            f"This finding holds {size / 1e6:,.0f} MB of arrays and figures; one may hold {LARGEST / 1e6:,.0f} MB. Keep a narrower view: one "
            "head instead of all, fewer layers or positions. Nothing was kept."
        )


def row_of(finding: Finding) -> dict[str, Any]:
    words = " ".join((finding.claim, finding.question, finding.notes, finding.model, finding.view, finding.task, *finding.tags, *finding.places))  # fmt: skip
    return {
        "id": finding.id,
        "revision": finding.revision,
        "words": words.lower(),
        "record": json.dumps(finding_record(finding)),
        "made": finding.made,
        "changed": finding.changed,
    }


def parts(finding: Finding) -> Iterator[tuple[str, str, bytes]]:
    """Part, path (empty for a figure) and bytes of all that is kept apart."""
    for group in ("views", "checks"):
        for number, each in enumerate(getattr(finding, group)):
            for path, array in each.arrays.items():
                yield f"{group}.{number}", path, save({"array": np.ascontiguousarray(array)})
            if each.figure:
                yield f"{group}.{number}", "", each.figure.encode()


def put_parts(connection: Connection, finding: Finding) -> None:
    there: set[str] = set()
    for part, path, content in parts(finding):
        name = hashlib.sha256(content).hexdigest()
        if name not in there:
            keep_blob(connection, name, content)
            there.add(name)
        connection.execute(insert(USES).values(finding=finding.id, part=part, path=path, hash=name))


def keep_blob(connection: Connection, name: str, content: bytes) -> None:
    """Once; two writers may come with the same one."""
    from sqlalchemy.dialects import postgresql, sqlite

    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    row = make(BLOBS).values(hash=name, content=zlib.compress(content, 6))
    connection.execute(row.on_conflict_do_update(index_elements=["hash"], set_={"hash": name}))


def drop_unused(connection: Connection) -> None:
    connection.execute(delete(BLOBS).where(BLOBS.c.hash.not_in(select(USES.c.hash))))


def tags_of(findings: Iterable[Finding]) -> list[str]:
    return sorted({tag for each in findings for tag in each.tags})
