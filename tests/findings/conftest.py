"""Findings to test with, and the databases they are kept in: SQLite, and PostgreSQL where one is at hand."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import explorer as ex
from explorer.findings.evidence import Sample, run_checks, sample_of
from explorer.findings.finding import Finding, Measure
from explorer.findings.functions import measured
from explorer.findings.store import FindingStore
from tests.conftest import PROMPT


@pytest.fixture(scope="session")
def nano():
    return ex.load_model("small-world-nano")


@pytest.fixture(scope="session")
def sample(nano) -> Sample:
    return sample_of(nano, "ioi", 10)


@pytest.fixture(scope="session")
def plain(nano) -> Finding:
    """A finding about L0H2 with one view with an array and a figure, no check."""
    arguments = {"prompt": PROMPT, "interventions": (ex.Ablate(ex.Head(1, 2)),)}
    views = (
        measured(nano, Measure("Prediction", "prediction", arguments | {"answer": " Mary", "distractor": " John"}, ("baseline.objective", "changed.objective", "kl"))),
        measured(nano, Measure("Attention of L0H2", "attention", arguments, ("patterns[0, 2, 14, 10]",), ("patterns[0, 2]",), {"layer": 0, "head": 2})),
    )  # fmt: skip
    return Finding("L0H2 carries the repeated name", nano.info.key, nano.info.weight_hash, nano.info.dtype, places=("L0H2",), task="ioi", view="Attention", tags=("ioi",), views=views)  # fmt: skip


@pytest.fixture(scope="session")
def checked(nano, plain, sample) -> Finding:
    """The same with all its checks."""
    return run_checks(nano, plain, sample)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory) -> Iterator[str]:
    """The URL of a PostgreSQL of its own; skipped where there is none on this machine."""
    if shutil.which("initdb") is None or shutil.which("pg_ctl") is None:
        pytest.skip("no PostgreSQL on this machine (initdb and pg_ctl are not on the PATH)")
    folder = Path(tempfile.mkdtemp(prefix="ce-pg-"))
    as_user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}

    def run(*command) -> None:
        subprocess.run(command, check=True, capture_output=True, **as_user)

    try:
        if as_user:  # it refuses to run as root
            shutil.chown(folder, "postgres", "postgres")
        run("initdb", "-D", folder / "data", "-A", "trust", "-U", "ce")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        run("pg_ctl", "-D", folder / "data", "-o", options, "-l", folder / "log", "-w", "start")
    except (OSError, LookupError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the PostgreSQL of this machine cannot be started ({error})")
    try:
        yield f"postgresql+psycopg://ce@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path) -> Iterator[FindingStore]:
    """An empty store of each kind."""
    if request.param == "sqlite":
        yield FindingStore(f"sqlite:///{tmp_path / 'findings.sqlite'}")
        return
    made = FindingStore(request.getfixturevalue("postgres"))
    from explorer.findings.schema import tables

    tables.drop_all(made.engine())
    made.engines.clear()
    yield made
    for engine in made.engines.values():
        engine.dispose()
