"""The checks of a finding: passed, failed and not run, and the button that runs the next one."""

from functools import partial
from typing import Any

import streamlit as st

from explorer.core.errors import ExplorerError
from explorer.findings.evidence import PAIRS, each_check, sample_of
from explorer.findings.finding import Finding, Measured
from explorer.findings.ladder import MEANING, RUNG_OF, CheckName, checks_of, next_check, verdict
from explorer.models.info import Progress
from explorer.ui.findings_store import STORE
from explorer.ui.html import grid, say
from explorer.ui.on_request import Job, start, watch
from explorer.ui.service import pooled
from explorer.ui.terms import help_for

JOBS = "_finding_jobs"


def checks_panel(finding: Finding) -> None:
    names = checks_of(finding)
    if not names:
        say("Name the components that the claim is about (under Words), and its checks can be run.")
        return
    st.markdown("**Checks**", help=help_for("evidence ladder", "matched random control"))
    st.html(grid(["rung", "check", "outcome", "numbers"], [check_row(finding, name) for name in names], "ce-words"))
    jobs: dict[object, Job] = st.session_state.setdefault(JOBS, {})
    job = jobs.get(finding.id)
    if job is not None and not job.done.is_set():
        watch("finding_check", job)
        return
    if job is not None:
        take(finding, job)
    run_buttons(finding, jobs)


def check_row(finding: Finding, name: CheckName) -> list[str]:
    found = finding.check(name)
    if found is None:
        return [str(RUNG_OF[name]), name, "not run", MEANING[name]]
    judged = verdict(found, finding)
    return [str(RUNG_OF[name]), name, "✓ passed" if judged.passed else "✗ failed", judged.sentence]


def run_buttons(finding: Finding, jobs: dict[object, Job]) -> None:
    if not finding.task:
        say("Choose the task whose pairs the checks run on, under Words.")
        return
    following = next_check(finding)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if following is not None:
            st.button(
                f"Run the next check: {following}",
                key="run_next",
                type="primary",
                icon=":material/play_arrow:",
                help=f"{MEANING[following].capitalize()}. On {PAIRS} pairs of {finding.task} that the model gets right.",
                on_click=begin,
                args=(jobs, finding, (following,)),
            )
        rest = tuple(name for name in checks_of(finding) if finding.check(name) is None)
        if len(rest) > 1:
            st.button(f"Run all {len(rest)}", key="run_rest", on_click=begin, args=(jobs, finding, rest))
        if not rest:
            st.button("Run all again", key="run_again", type="tertiary", icon=":material/refresh:", on_click=begin, args=(jobs, finding, checks_of(finding)))  # fmt: skip


def begin(jobs: dict[object, Job], finding: Finding, names: tuple[CheckName, ...]) -> None:
    start(jobs, finding.id, partial(run_them, finding, names))


def run_them(
    finding: Finding, names: tuple[CheckName, ...], progress: Progress, cancelled: Any
) -> tuple[list[Measured], str]:
    """The checks one after the other, kept as they come; those that cannot be run are named."""
    progress(0.01, f"loading {finding.model}")
    model = pooled(finding.model)
    sample = sample_of(model, finding.task)
    done: list[Measured] = []
    problems = []
    for name, found in each_check(model, finding, sample, names, progress=progress, cancelled=cancelled):
        if isinstance(found, Measured):
            done.append(found)
        else:
            problems.append(f"{name}: {found}")
    if cancelled():
        problems.append("Cancelled: what was under way is not kept.")
    return done, " ".join(problems)


def take(finding: Finding, job: Job) -> None:
    """Keep what a job found, once; say what it could not do."""
    if job.error:
        st.error("The check could not be run.", icon=":material/error:")
        st.text(job.error)
        return
    done, problems = job.result
    if not done:
        if problems:
            st.text(problems)
        return
    for found in done:
        finding = finding.with_check(found)
    try:
        STORE.save(finding)
    except ExplorerError as error:
        st.error("The checks could not be kept.", icon=":material/error:")
        st.text(str(error))
        return
    job.result = [], problems  # they are kept: what is left to say is what could not be run
    st.rerun()
