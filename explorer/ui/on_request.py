"""Work that is done when it is asked for: a button, progress with the time left, cancel, and a mark once its inputs changed.

The work runs in a thread of its own, so that the page and other browsers stay responsive; its result stays in the session.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from explorer.core.errors import ExplorerError
from explorer.jobs.turns import Rank, give_way, taking_turn
from explorer.models.info import Progress

KEEP = 6
"""Results of one kind that are kept, for inputs that come back."""


QUICK = 0.2
"""Seconds within which work is done without showing progress."""


STOPPED = "Cancelled."
KEPT_SO_FAR = "Cancelled. What was done so far is kept; start it again to go on."


Work = Callable[[Progress, Callable[[], bool]], Any]
"""Work that tells its progress, and stops early where it is told to."""


@dataclass
class Job:
    """One piece of work, under way or done."""

    inputs: object
    fraction: float = 0.0
    stage: str = "Starting"
    result: Any = None
    error: str | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    started: float = field(default_factory=time.monotonic)

    def run(self, work: Work) -> None:
        try:
            with taking_turn(Rank.LIVE):
                self.result = work(self.show, self.cancelled)
        except ExplorerError as error:
            self.error = str(error)
        except Exception as error:  # a library's own failure must reach the page as a sentence
            self.error = f"The work failed ({type(error).__name__}: {error})."
        finally:
            self.done.set()

    def cancelled(self) -> bool:
        give_way(Rank.LIVE)
        return self.stop.is_set()

    def show(self, fraction: float, stage: str) -> None:
        self.fraction, self.stage = fraction, stage

    @property
    def left(self) -> str:
        """Time left, in words."""
        spent = time.monotonic() - self.started
        return f"about {spent * (1 - self.fraction) / self.fraction:.0f} s left" if self.fraction > 0.02 else "…"


def on_request(
    key: str,
    label: str,
    inputs: object,
    work: Work,
    *,
    help: str = "",
    stale: str = "",
    meanwhile: Callable[[], None] | None = None,
) -> Any:
    """The result for `inputs`, once the button was pressed; else None.

    A result of other inputs is not shown; `stale` says that there is one (in a sentence), so that nobody misses it.  `meanwhile`
    draws what the work has found so far, below its progress.
    """
    jobs: dict[object, Job] = st.session_state.setdefault(f"_jobs_{key}", {})
    job = jobs.get(inputs)
    if job is not None and job.done.wait(QUICK) and job.error is None:
        return job.result
    if job is None or job.done.is_set():
        if job is not None:
            st.error("This could not be done.", icon=":material/error:")
            st.text(str(job.error))
        elif jobs:
            st.caption(stale or "The inputs have changed since this was last measured.")
        st.button(
            label,
            key=f"{key}_start",
            icon=":material/play_arrow:",
            help=help,
            on_click=start,
            args=(jobs, inputs, work),
        )
        return None
    watch(key, job, meanwhile)
    return None


class StoppedError(ExplorerError):
    """Work that the user stopped."""


def stopping(show: Progress, cancelled: Callable[[], bool], said: str = STOPPED) -> Progress:
    """Progress that stops the work when it was cancelled, which is `said`."""

    def tell(fraction: float, stage: str) -> None:
        show(fraction, stage)
        if cancelled():
            raise StoppedError(said)

    return tell


def finished(key: str) -> list[tuple[Any, Any]]:
    """Inputs and results of work of this kind that this session has done, the newest first."""
    jobs: dict[Any, Job] = st.session_state.get(f"_jobs_{key}", {})
    return [(inputs, job.result) for inputs, job in reversed(jobs.items()) if job.done.is_set() and job.error is None]


def start(jobs: dict[object, Job], inputs: object, work: Work) -> None:
    for old in list(jobs)[: max(0, len(jobs) - KEEP + 1)]:
        jobs.pop(old).stop.set()
    jobs[inputs] = job = Job(inputs)
    threading.Thread(target=job.run, args=(work,), daemon=True).start()


def watch(key: str, job: Job, meanwhile: Callable[[], None] | None = None) -> None:
    """Progress, time left and cancel, twice a second until the work is done."""

    @st.fragment(run_every=0.4)
    def progress() -> None:
        if job.done.is_set():
            st.rerun()
        with st.container(horizontal=True, vertical_alignment="center", key=f"{key}_progress"):
            st.progress(min(1.0, job.fraction), f"{job.stage}, {job.left}")
            st.button("Cancel", key=f"{key}_cancel", on_click=job.stop.set)
        if meanwhile is not None:
            meanwhile()

    progress()
