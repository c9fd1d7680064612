"""Work that starts by itself when its inputs change, in a thread of its own: shown when it is there, stopped when it is not wanted."""

import streamlit as st

from explorer.ui.on_request import QUICK, Job, Work, start


def live_work(key: str, inputs: object, work: Work, wait: float = QUICK) -> Job:
    """The job of some inputs, started if it is new; jobs of other inputs of this browser are stopped.

    `work` gets the function that shows progress and the one that says whether to stop.  A job that was stopped starts again.
    """
    jobs: dict[object, Job] = st.session_state.setdefault(f"_live_{key}", {})
    for other, job in jobs.items():
        if other != inputs and not job.done.is_set():
            job.stop.set()
    found = jobs.get(inputs)
    if found is None or (found.done.is_set() and found.stop.is_set()):
        start(jobs, inputs, work)
        found = jobs[inputs]
    found.done.wait(wait)
    return found


def under_way(key: str, *jobs: Job) -> None:
    """One line of progress for jobs that are not done; the page is drawn again when one of them ends."""
    waiting = [job for job in jobs if not job.done.is_set()]
    if not waiting:
        return

    @st.fragment(run_every=0.4)
    def progress() -> None:
        if any(job.done.is_set() for job in waiting):
            st.rerun()
        job = waiting[0]
        st.progress(min(1.0, job.fraction), f"{job.stage}, {job.left}")

    with st.container(key=f"{key}_progress"):
        progress()
