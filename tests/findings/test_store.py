"""The findings store, on SQLite and PostgreSQL: nothing committed is lost, and every trouble is a sentence."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select, text

from explorer.core.errors import ConflictError, FindingError
from explorer.findings import schema
from explorer.findings import store as store_module
from explorer.findings.finding import Finding, Measure, Measured, finding_record
from explorer.findings.schema import BLOBS
from explorer.findings.store import FindingStore, tags_of

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]


def small(claim: str, **more) -> Finding:
    return Finding(claim, "small-world-nano", "0" * 64, "float32", **more)


def with_array(claim: str, array: np.ndarray) -> Finding:
    return small(claim, views=(Measured(Measure("m", "prediction", {}, ()), {}, {"values": array}),))


def test_a_finding_comes_back_as_it_was_kept(store, checked) -> None:
    kept = store.add(checked)
    again = store.get(kept.id)
    assert finding_record(again) == finding_record(kept) and kept.revision == 1 and len(kept.id) == 12
    for one, other in zip(kept.measured, again.measured, strict=True):
        assert one.figure == other.figure and one.arrays.keys() == other.arrays.keys()
        assert all(np.array_equal(array, other.arrays[path]) and array.dtype == other.arrays[path].dtype for path, array in one.arrays.items())  # fmt: skip


def test_words_and_tags_find_it(store) -> None:
    store.add(small("Heads move names", tags=("IOI ", "ioi", " two  words"), places=("L23H3",), notes="100% sure_ly"))
    store.add(small("Neurons count", tags=("years",)))
    assert [each.claim for each in store.findings("NAMES heads")] == ["Heads move names"]
    assert [each.claim for each in store.findings("l23h3")] == ["Heads move names"]
    assert [each.claim for each in store.findings("100%")] == ["Heads move names"] and store.findings("%e%") == []
    assert [each.claim for each in store.findings(tag="years")] == ["Neurons count"]
    assert tags_of(store.findings()) == ["ioi", "two words", "years"] and store.count() == 2


def test_two_who_edit_one_finding_do_not_overwrite_each_other(store) -> None:
    kept = store.add(small("first"))
    mine, yours = store.get(kept.id), store.get(kept.id)
    store.save(replace(yours, claim="yours"))
    with pytest.raises(ConflictError, match="changed this finding meanwhile"):
        store.save(replace(mine, claim="mine"))
    assert store.get(kept.id).claim == "yours"
    store.delete(kept.id)
    with pytest.raises(ConflictError, match="deleted this finding meanwhile"):
        store.save(replace(yours, claim="again"))


def test_deleting_can_be_undone_and_old_deletions_go_with_their_arrays(store, monkeypatch) -> None:
    kept = store.add(with_array("to be deleted", np.arange(5.0)))
    store.delete(kept.id)
    assert store.count() == 0
    with pytest.raises(FindingError, match="no finding"):
        store.get(kept.id)
    store.restore(kept.id)
    assert np.array_equal(store.get(kept.id).views[0].arrays["values"], np.arange(5.0))
    store.delete(kept.id)
    with store.opened() as connection:
        connection.execute(text("update findings set deleted = '2020-01-01 00:00:00'"))
    store.delete("another")
    with pytest.raises(FindingError, match="gone"):
        store.restore(kept.id)
    with store.opened() as connection:
        assert connection.execute(select(BLOBS.c.hash)).all() == []


def test_equal_arrays_are_kept_once(store) -> None:
    for claim in ("one", "two"):
        store.add(with_array(claim, np.arange(100.0)))
    with store.opened() as connection:
        assert len(connection.execute(select(BLOBS.c.hash)).all()) == 1


def test_a_hundred_megabytes_are_refused_before_anything_is_kept(store) -> None:
    with pytest.raises(FindingError, match=r"100 MB of arrays.*may hold 50 MB.*narrower view.*Nothing was kept"):
        store.add(with_array("too large", np.zeros(12_500_000)))
    assert store.count() == 0


@pytest.mark.parametrize("claim", ["", "   ", "x" * 401])
def test_a_claim_is_a_sentence(store, claim) -> None:
    with pytest.raises(FindingError, match="1 to 400 characters"):
        store.add(small(claim))


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "'; drop table findings; --", "", "x" * 300])
def test_names_with_slashes_and_dots_are_only_names(store, name) -> None:
    store.add(small(f"claim about {name[:100] or 'nothing'}"))
    with pytest.raises(FindingError, match="no finding"):
        store.get(name)
    assert store.count() == 1


def test_fifty_writers_at_once_lose_nothing(store) -> None:
    problems: list[Exception] = []

    def write(number: int) -> None:
        try:
            for turn in range(3):
                store.add(with_array(f"writer {number} turn {turn}", np.full(50, float(number))))
        except Exception as error:  # whatever happens in a thread is the test's to see
            problems.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    found = store.findings()
    assert {each.claim for each in found} == {
        f"writer {number} turn {turn}" for number in range(50) for turn in range(3)
    }
    for each in found[:20]:
        number = float(each.claim.split()[1])
        assert (store.get(each.id).views[0].arrays["values"] == number).all()


WRITER = """
import sys
import numpy as np
from explorer.findings.finding import Finding, Measure, Measured
from explorer.findings.store import FindingStore
store, number = FindingStore(sys.argv[1]), 0
rng = np.random.default_rng(int(sys.argv[2]))
while True:
    view = Measured(Measure("m", "prediction", {}, ()), {"n": float(number)}, {"values": rng.random(20_000)})
    kept = store.add(Finding(f"claim {number}", "m", "0" * 64, "float32", views=(view,)))
    print(kept.id, flush=True)
    number += 1
"""


@pytest.mark.slow
def test_a_hundred_kills_at_random_moments_lose_no_committed_finding(tmp_path) -> None:
    """kill -9 while writing: what the writer had been told is kept is there, whole, and the store goes on."""
    url = f"sqlite:///{tmp_path / 'findings.sqlite'}"
    rng = random.Random(0)
    promised: list[str] = []
    kills = 0
    while kills < 100:
        many = [
            subprocess.Popen([sys.executable, "-c", WRITER, url, str(kills + number)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
            for number in range(4)
        ]  # fmt: skip
        for process in many:
            assert process.stdout is not None
            promised.append(process.stdout.readline().strip())  # it writes by now
        for process in many:
            time.sleep(rng.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            kills += 1
        for process in many:
            assert process.stdout is not None
            promised += [line.strip() for line in process.stdout.read().splitlines() if len(line.strip()) == 12]
            process.wait()
    store = FindingStore(url)
    there = {each.id for each in store.findings()}
    assert len(promised) >= 100 and set(promised) <= there
    for name in rng.sample(sorted(there), 30):
        assert store.get(name).views[0].arrays["values"].shape == (20_000,)
    with sqlite3.connect(tmp_path / "findings.sqlite") as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    assert store.add(small("afterwards")).id


def test_a_full_disk_says_so_and_keeps_what_was_there(tmp_path, monkeypatch) -> None:
    store = FindingStore(f"sqlite:///{tmp_path / 'findings.sqlite'}")
    first = store.add(small("kept before"))
    from sqlalchemy import event

    @event.listens_for(store.engine(), "connect")
    def small_disk(connection, _) -> None:
        pages = connection.execute("pragma page_count").fetchone()[0]
        connection.execute(f"pragma max_page_count={pages + 4}")

    with pytest.raises(FindingError, match=r"disk is full.*Make room.*still there"):
        store.add(with_array("too much", np.random.default_rng(0).random(50_000)))
    assert [each.id for each in store.findings()] == [first.id]


def test_a_locked_database_says_so_and_loses_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(store_module, "WAIT", 1)
    path = tmp_path / "findings.sqlite"
    store = FindingStore(f"sqlite:///{path}")
    store.add(small("kept before"))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("begin exclusive")
    try:
        with pytest.raises(FindingError, match=r"Another program has held it.*nothing was lost"):
            store.add(small("while locked"))
    finally:
        holder.execute("rollback")
        holder.close()
    store.add(small("afterwards"))
    assert {each.claim for each in store.findings()} == {"kept before", "afterwards"}


@pytest.mark.parametrize(
    "content", [b"this is no database, but long enough to look like a file", b"SQLite format 3\x00" + b"\xff" * 4096]
)
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path, content) -> None:
    path = tmp_path / "findings.sqlite"
    path.write_bytes(content)
    with pytest.raises(FindingError, match=r"no findings store, or was damaged"):
        FindingStore(f"sqlite:///{path}").findings()
    assert path.read_bytes() == content


def test_a_server_that_does_not_answer_says_so_without_the_password() -> None:
    with pytest.raises(FindingError) as caught:
        FindingStore("postgresql+psycopg://ce:secret@127.0.0.1:1/none").findings()
    assert "secret" not in str(caught.value) and "CIRCUIT_EXPLORER_DB" in str(caught.value)


def test_a_store_of_a_newer_version_is_refused_and_an_older_one_is_brought_up_to_date(tmp_path, monkeypatch) -> None:
    url = f"sqlite:///{tmp_path / 'findings.sqlite'}"
    kept = FindingStore(url).add(small("of the first version"))

    def second(connection) -> None:
        connection.execute(text("alter table findings add column colour text not null default 'blue'"))

    with monkeypatch.context() as newer:
        newer.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, second))
        store = FindingStore(url)
        assert store.get(kept.id).claim == "of the first version"
        with store.opened() as connection:
            assert connection.execute(text("select colour from findings")).scalar() == "blue"
    with pytest.raises(FindingError, match=r"version 2, and this version of circuit-explorer knows 1"):
        FindingStore(url).findings()


def test_a_migration_that_fails_changes_nothing(tmp_path, monkeypatch) -> None:
    url = f"sqlite:///{tmp_path / 'findings.sqlite'}"
    kept = FindingStore(url).add(small("still here"))

    def broken(connection) -> None:
        connection.execute(text("delete from findings"))
        connection.execute(text("select * from nowhere"))

    with monkeypatch.context() as newer:
        newer.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
        with pytest.raises(FindingError):
            FindingStore(url).findings()
    assert FindingStore(url).get(kept.id).claim == "still here"


def test_the_environment_names_the_database(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CIRCUIT_EXPLORER_DB", f"sqlite:///{tmp_path / 'team.sqlite'}")
    FindingStore().add(small("the team's"))
    assert (tmp_path / "team.sqlite").is_file()
