"""A report of findings: JSON that can be checked and replayed, and the same in words as HTML and Markdown.

The JSON holds a hash chain: each entry's SHA-256 covers the entry and the hash before it, the first one the head of the report; so a
change of any number shows, and which entry it is in.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from explorer.core.errors import ReportError
from explorer.core.provenance import versions
from explorer.core.times import now
from explorer.findings.finding import Finding, finding_record, read_finding
from explorer.findings.ladder import RUNGS, checks_of, limits, passed, rung, verdict

FORMAT, VERSION = "circuit-explorer report", 1
LARGEST = 200_000_000
HEAD = ("format", "version", "title", "question", "kind", "made", "versions")


@dataclass(frozen=True, eq=False)
class Report:
    title: str
    findings: tuple[Finding, ...]
    question: str = ""
    kind: str = "report"
    """"report", or "audit": with the goals of an audit and what is not shown for each."""
    made: str = ""
    problems: tuple[str, ...] = ()
    """What the hash chain says was altered."""


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def linked(previous: str, value: Any) -> str:
    return hashlib.sha256(previous.encode() + canonical(value)).hexdigest()


def to_json(report: Report) -> dict[str, Any]:
    """The record of a report, with its hash chain."""
    head = {"format": FORMAT, "version": VERSION, "title": report.title, "question": report.question, "kind": report.kind, "made": report.made or now(), "versions": versions()}  # fmt: skip
    chain = linked("", head)
    entries = []
    for finding in report.findings:
        entry = {"finding": finding_record(finding), "evidence": evidence_record(finding)}
        before, chain = chain, linked(chain, entry)
        entries.append(entry | {"previous": before, "hash": chain})
    return head | {"entries": entries, "hash": chain}


def evidence_record(finding: Finding) -> dict[str, Any]:
    """The rung, and every check with its outcome; derived from the numbers, for readers without this program."""
    judged = {
        name: verdict(found, finding) for name in checks_of(finding) if (found := finding.check(name)) is not None
    }
    return {
        "rung": rung(finding),
        "name": RUNGS[rung(finding)],
        "checks": [{"check": name, "passed": each.passed, "sentence": each.sentence} for name, each in judged.items()],
        "not_run": [name for name in checks_of(finding) if name not in judged],
        "limits": limits(finding),
    }


def read_report(content: bytes) -> Report:
    """A report from a file, with what was altered in it.  `ReportError` for a file that is none, or a newer version's."""
    if len(content) > LARGEST:
        raise ReportError(f"This file has {len(content) / 1e6:,.0f} MB; a report has at most {LARGEST / 1e6:,.0f}.")
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ReportError(
            "This file is no JSON. A report is the report.json that Circuit Explorer wrote beside report.html."
        ) from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ReportError(
            "This file is no report of Circuit Explorer: its 'format' is missing. Choose the report.json beside report.html."
        )
    if record.get("version") != VERSION:
        raise ReportError(
            f"This report has version {str(record.get('version'))[:20]}; this program reads version {VERSION}. Update circuit-explorer."
        )
    try:
        entries = list(record["entries"])
        findings = tuple(read_finding(entry["finding"], {}, {}) for entry in entries)
        problems = altered(record, findings)
        return Report(
            str(record["title"]), findings, str(record["question"]), str(record["kind"]), str(record["made"]), problems
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReportError(f"This report cannot be read: {error!r}.") from error


def altered(record: dict[str, Any], findings: Sequence[Finding]) -> tuple[str, ...]:
    """Entries whose hash does not fit what they hold, and breaks between entries."""
    found = []
    chain = linked("", {name: record[name] for name in HEAD})
    for number, (entry, finding) in enumerate(zip(record["entries"], findings, strict=True)):
        name = f"Entry {number + 1} ({finding.claim[:80]})"
        if entry["previous"] != chain:
            found.append("The head of the report was altered." if number == 0 else f"{name}: entries before it were altered, left out or moved.")  # fmt: skip
        held = {key: entry[key] for key in ("finding", "evidence")}
        if linked(entry["previous"], held) != entry["hash"]:
            found.append(f"{name} was altered after the report was written.")
        elif outcome(evidence_record(finding)) != outcome(entry["evidence"]):
            found.append(f"{name}: what is said of its checks does not follow from their numbers.")
        chain = entry["hash"]
    if chain != record["hash"]:
        found.append("Entries at the end were altered or left out.")
    return tuple(found)


def outcome(evidence: dict[str, Any]) -> tuple[Any, ...]:
    """What follows from the numbers, without the words it is said in."""
    return evidence["rung"], [(each["check"], each["passed"]) for each in evidence["checks"]]


def headline(finding: Finding) -> str:
    """The claim's rung in words: how far it is shown."""
    good = len(passed(finding))
    run = sum(finding.check(name) is not None for name in checks_of(finding))
    number = rung(finding)
    return f"Rung {number} of 5, {RUNGS[number]}" + (
        f"; {good} of {run} checks passed" if run else "; no check was run"
    )
