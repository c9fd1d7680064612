"""Reports and presentations of some findings, in an order; and the check of a report from a file."""

from collections.abc import Sequence
from functools import partial

import streamlit as st

from explorer.core.errors import ExplorerError
from explorer.core.times import now
from explorer.findings.files import report_files
from explorer.findings.finding import Finding
from explorer.findings.report import Report, read_report
from explorer.resources import pages_directory
from explorer.ui import session
from explorer.ui.findings_store import STORE
from explorer.ui.html import say
from explorer.ui.replay_panel import replay_panel
from explorer.ui.share_panel import share_panel

FILES = {"report.html": "text/html", "report.json": "application/json", "report.md": "text/markdown", "notebook.ipynb": "application/x-ipynb+json"}  # fmt: skip


def report_panel(every: Sequence[Finding]) -> None:
    st.subheader("Report and presentation", anchor=False)
    claims = {each.id: each.claim for each in every}
    left, right = st.columns(2, gap="medium")
    with left:
        st.multiselect(
            "Findings, in this order (none: all)",
            list(claims),
            format_func=lambda name: claims.get(name, name),
            **session.bound("steps", [each for each in session.bench().steps if each in claims]),
        )
        title = st.text_input("Title", "Findings", key="report_title", max_chars=200)
        question = st.text_input("Question", key="report_question", max_chars=400)
        audit = st.toggle("With the goals of an audit, and what is not shown for each", key="report_audit")
    chosen = session.bench().steps or tuple(each.id for each in sorted(every, key=lambda each: each.made))
    with right:
        say("One HTML file that opens without a network, the numbers as JSON with a hash chain, Markdown, and a notebook that computes them again.")  # fmt: skip
        with st.container(horizontal=True):
            for name, kind in FILES.items():
                st.download_button(
                    name.replace("report.", "").upper() if name.startswith("report.") else "Notebook",
                    partial(content_of, name, chosen, title, question, audit),
                    name,
                    kind,
                    key=f"download_{name}",
                    on_click="ignore",
                    icon=":material/download:",
                )
        if st.button("Present them, step by step", key="present_them", icon=":material/slideshow:"):
            st.switch_page(pages_directory() / "present.py")
        share_panel(chosen)
        check_file()


def content_of(name: str, chosen: Sequence[str], title: str, question: str, audit: bool) -> str:
    try:
        found = tuple(STORE.get(each) for each in chosen)
        files = report_files(Report(title, found, question, "audit" if audit else "report", now()))
        return files[name] if name in files else files["notebook-1.ipynb"]
    except ExplorerError as error:
        return f"This report cannot be written: {error}"


def check_file() -> None:
    file = st.file_uploader("Check a report.json: was it altered, and do its numbers come out again?", type="json", key="report_file", max_upload_size=200)  # fmt: skip
    if file is None:
        return
    try:
        report = read_report(file.getvalue())
    except ExplorerError as error:
        st.error("This file is not checked.", icon=":material/error:")
        st.text(str(error))
        return
    replay_panel(report)
