"""Replay of a report in the page: what was altered, and which numbers come out again."""

import hashlib
from collections.abc import Callable, Sequence

import pandas as pd
import streamlit as st

from explorer.engine.model import Model
from explorer.findings.finding import Finding
from explorer.findings.replay import Row, replay
from explorer.findings.report import Report
from explorer.models.info import Progress
from explorer.ui.html import say
from explorer.ui.on_request import on_request
from explorer.ui.service import pooled


def replay_panel(report: Report) -> None:
    say(f"{report.title}: {len(report.findings)} findings, written {report.made} UTC.")
    if report.problems:
        st.error("This report was altered after it was written.", icon=":material/gpp_bad:")
        for problem in report.problems:
            st.text(f"• {problem}")
    else:
        st.success("Its hash chain is whole: nothing was altered.", icon=":material/verified:")
    key = hashlib.sha256(repr([each.id for each in report.findings]).encode() + report.made.encode()).hexdigest()
    total = numbers_of(report.findings)
    rows = replayed("replay", f"Compute its {total:,} numbers again", key, report.findings)
    if rows is None:
        return
    agree = sum(row.agrees for row in rows)
    say(f"{agree:,} of {len(rows):,} numbers agree.")
    table = pd.DataFrame([{"agrees": row.agrees, "claim": row.claim, "measure": row.measure, "number": row.path, "then": row.then, "now": row.now, "tolerance": row.tolerance, "problem": row.problem} for row in rows])  # fmt: skip
    st.dataframe(table.sort_values("agrees", kind="stable"), hide_index=True, height=280)


def numbers_of(findings: Sequence[Finding]) -> int:
    return sum(len(each.numbers) for finding in findings for each in finding.measured)


def replayed(key: str, label: str, inputs: object, findings: Sequence[Finding]) -> list[Row] | None:
    """Every number again, once the button was pressed; None before."""
    total = max(1, numbers_of(findings))

    def work(progress: Progress, cancelled: Callable[[], bool]) -> list[Row]:
        rows: list[Row] = []
        for row in replay(findings, loaded):
            rows.append(row)
            progress(min(1.0, len(rows) / total), f"{len(rows):,} of {total:,} numbers")
            if cancelled():
                break
        return rows

    found: list[Row] | None = on_request(key, label, inputs, work)
    return found


def loaded(source: str, dtype: str) -> Model:
    """The pages' own model of that name; numbers of another precision than theirs are off, and shown so."""
    return pooled(source)
