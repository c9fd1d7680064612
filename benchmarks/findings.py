"""Findings: the time of a check, of an audit and its replay, and of the store with many findings.

python -m benchmarks.findings [smollm2]
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from explorer.engine.model import load_model
from explorer.findings.audit import audit
from explorer.findings.evidence import run_check, sample_of
from explorer.findings.files import report_files
from explorer.findings.finding import Finding
from explorer.findings.ladder import OF_COMPONENTS
from explorer.findings.replay import replay
from explorer.findings.store import FindingStore

HEADS = {"smollm2": "L23H3", "small-world-nano": "L0H2"}
MANY = 500


def timed(name: str, work: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    found = work()
    print(f"{name:<58} {time.perf_counter() - started:8.2f} s", flush=True)
    return found


def main(key: str) -> None:
    model = load_model(key)
    sample = timed("pairs of ioi for checks, 20 and 20 held out", lambda: sample_of(model, "ioi"))
    finding = Finding("claim", key, model.info.weight_hash, model.info.dtype, places=(HEADS[key],), task="ioi")
    for name in OF_COMPONENTS:
        found = timed(f"check of {HEADS[key]}: {name}", partial(run_check, model, finding, name, sample))
        finding = finding.with_check(found)
    report = timed("audit, quick suite", lambda: audit(model, "quick"))
    rows = timed("replay of it", lambda: list(replay(report.findings, lambda source, dtype: model)))
    print(f"{sum(row.agrees for row in rows)} of {len(rows)} numbers agree")
    files = timed("report as HTML, JSON, Markdown and notebook", lambda: report_files(report))
    print(", ".join(f"{name} {len(text) / 1e6:.1f} MB" for name, text in files.items()))
    with tempfile.TemporaryDirectory() as folder:
        store = FindingStore(f"sqlite:///{Path(folder) / 'findings.sqlite'}")
        timed(f"keep {MANY} findings with their checks", lambda: [store.add(replace(finding, claim=f"claim {number}")) for number in range(MANY)])  # fmt: skip
        timed("list them", store.findings)
        first = timed("search them", lambda: store.findings("claim 77"))[0]
        timed("open one", lambda: store.get(first.id))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "small-world-nano")
