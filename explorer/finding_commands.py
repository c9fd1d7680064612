"""The commands of findings: audit, replay, report."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from explorer.commands import read_bytes, write_json, write_text
from explorer.core.errors import FindingError
from explorer.models.info import Progress


def audit(options: argparse.Namespace) -> int:
    """Run a suite on a model, and write the report."""
    from explorer.engine.model import load_model
    from explorer.findings.audit import audit as run
    from explorer.findings.report import headline

    check_folder(options.out)
    model = load_model(options.model)
    report = run(model, options.suite, task=options.task, seed=options.seed, progress=teller())
    if sys.stderr.isatty():
        print(file=sys.stderr)
    for finding in report.findings:
        print(f"{headline(finding):<52} {finding.claim}")
    write_report(report, options.out)
    return 0


def teller() -> Progress:
    """Share done, time left and stage, on a terminal."""
    started = time.monotonic()

    def tell(share: float, words: str) -> None:
        if sys.stderr.isatty():
            left = (time.monotonic() - started) * (1 - share) / share if share > 0.02 else 0.0
            print(f"\r{share:>4.0%}, about {left:.0f} s left  {words[:80]:<80}", end="", file=sys.stderr)

    return tell


def report(options: argparse.Namespace) -> int:
    """Write a report of kept findings."""
    from explorer.core.times import now
    from explorer.findings.report import Report
    from explorer.findings.store import FindingStore

    store = FindingStore()
    names = options.finding or [each.id for each in store.findings(tag=options.tag)]
    if not names:
        raise FindingError("There is no finding to report. Keep one on any page of the app, or name another --tag.")
    check_folder(options.out)
    kind = "audit" if options.goals else "report"
    write_report(
        Report(options.title, tuple(store.get(name) for name in names), options.question, kind, now()), options.out
    )
    return 0


def check_folder(folder: Path) -> None:
    """Make it; an error before the work and not behind it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FindingError(f"{folder} cannot be made ({error}). Name another folder with --out.") from error


def write_report(report: Any, folder: Path) -> None:
    """report.html, report.json, report.md, and a notebook for each model."""
    from explorer.findings.files import report_files

    for name, content in report_files(report).items():
        write_text(folder / name, content)
    print(f"{folder / 'report.html'} and report.json; check it with: circuit-explorer replay {folder / 'report.json'}")


def replay(options: argparse.Namespace) -> int:
    """Run every number of a report again; 0 only if all agree and nothing was altered."""
    from explorer.findings.replay import replay as run
    from explorer.findings.report import read_report

    found = read_report(read_bytes(options.report))
    for problem in found.problems:
        print(f"ALTERED  {problem}")
    rows = []
    for row in run(found.findings, loaded):
        rows.append(row)
        if row.problem:
            print(f"not run  {row.claim[:60]} · {row.measure}: {row.problem}")
        elif not row.agrees or options.all:
            word = "agree  " if row.agrees else "DIFFER "
            print(f"{word}  {row.claim[:60]} · {row.measure} · {row.path}: {row.then} then, {row.now} now, tolerance {row.tolerance:.1e}", flush=True)  # fmt: skip
    agree = sum(row.agrees for row in rows)
    missing = sum(bool(row.problem) for row in rows)
    print(f"{agree:,} of {len(rows):,} numbers agree, {len(rows) - agree - missing:,} differ, {missing:,} could not be run" + (f"; {len(found.problems)} alterations" if found.problems else ""))  # fmt: skip
    write_json(
        options.json,
        {
            "altered": list(found.problems),
            "numbers": [
                {"claim": row.claim, "measure": row.measure, "number": row.path, "then": row.then, "now": row.now, "tolerance": row.tolerance, "agrees": row.agrees, "problem": row.problem}
                for row in rows
            ],
        },
    )  # fmt: skip
    return 0 if agree == len(rows) and not found.problems else 1


def loaded(source: str, dtype: str) -> Any:
    from explorer.core.errors import ReportError
    from explorer.engine.model import load_model
    from explorer.findings.notebook import TOLERANCES

    if dtype not in TOLERANCES:
        raise ReportError(f"The report names the precision {dtype[:20]!r}; choose {', '.join(TOLERANCES)}.")
    return load_model(source, dtype=dtype)  # type: ignore[arg-type]
