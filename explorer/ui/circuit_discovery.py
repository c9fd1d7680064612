"""Finding a circuit from a page: known already, found at once, or asked for, with its cost, progress, cancel and resume."""

import streamlit as st

from explorer.circuits.discovery import Discovery, DiscoverySpec, write_spec
from explorer.circuits.edge_scores import TITLES, EdgeScores, Method
from explorer.engine.timing import seconds_of_a_run
from explorer.jobs.store import Stored
from explorer.ui import session
from explorer.ui.circuit_state import FOUND, Chosen, known_scores, spec_of
from explorer.ui.desk import Desk
from explorer.ui.html import in_time, say
from explorer.ui.service import SERVICE

AT_ONCE_UP_TO = 1e11
"""Work that a page does without being asked, in tokens times parameters: some 3 to 5 s on two cores, whatever else they do."""
LEAST_RUN = 5e7
"""The same of one forward pass at least: a tiny model takes its time too."""
RESUMABLE = ("interrupted", "cancelled", "failed")


def scores_of(desk: Desk, chosen: Chosen, method: Method) -> EdgeScores | None:
    """What the method says of every edge: known, found at once, or asked for; None until then, with a way to get it."""
    spec = spec_of(desk.bench, desk.model, chosen.pairs, method)
    found = known_scores(spec, desk.model)
    if found is not None:
        return found
    discovery = Discovery(desk.model, spec)
    each = max(LEAST_RUN, len(desk.tokens) * desk.model.info.n_parameters)
    if discovery.forwards() * each <= AT_ONCE_UP_TO:
        with st.spinner(f"{TITLES[method]} on {chosen.title}"):
            made: EdgeScores = FOUND.get(spec, discovery.run)
            return made
    job = SERVICE.store.same(write_spec(spec))
    stored = None if job is None else SERVICE.store.job(job)
    if stored is not None and SERVICE.status(stored.id) is not None:
        watch(stored)
        return None
    offer(spec, chosen, discovery, discovery.forwards() * seconds_of_a_run(desk.model, desk.tokens.ids), stored)
    return None


def offer(spec: DiscoverySpec, chosen: Chosen, discovery: Discovery, seconds: float, stored: Stored | None) -> None:
    """The cost, and a button that starts or goes on with the work."""
    left = seconds if stored is None else seconds * (1 - stored.done / max(1, stored.pairs))
    if stored is not None and stored.state in RESUMABLE and stored.error:
        st.error("The work stopped.", icon=":material/error:")
        st.text(stored.error)
    with st.container(horizontal=True, vertical_alignment="center", key="discover_offer"):
        if stored is not None and stored.state in RESUMABLE:
            st.button("Go on", type="primary", icon=":material/play_arrow:", key="discover_resume", on_click=SERVICE.resume, args=(stored.id,))  # fmt: skip
        else:
            title = f"{TITLES[spec.method]}: {chosen.title}"
            units = sum(len(piece) for piece in discovery.pieces())
            st.button("Discover", type="primary", icon=":material/play_arrow:", key="discover", **session.calling(submit, spec, title, units))  # fmt: skip
        memory = (
            discovery.runs.row_bytes(max(discovery.runs.lengths)) * 30 / 1e6
        )  # measured: 30 times what all writers write on one prompt
        say(
            f"{TITLES[spec.method]} over {discovery.n_edges:,} edges on {chosen.title}: about {discovery.forwards():,.0f} forward "
            f"passes, {in_time(left)}, up to {memory:,.0f} MB. It goes on when the page is left, and can be stopped and resumed."
        )


def submit(spec: DiscoverySpec, title: str, units: int) -> None:
    SERVICE.submit(spec, title, units)


def watch(stored: Stored) -> None:
    """Progress, time left and cancel, until the work is done."""

    @st.fragment(run_every=0.5)
    def progress() -> None:
        running = SERVICE.status(stored.id)
        if running is None:
            st.rerun()
            return
        with st.container(horizontal=True, vertical_alignment="center", key="discover_progress"):
            st.progress(
                min(1.0, running.fraction), f"{running.stage}: {running.done:,} of {running.pairs:,}, {running.left}"
            )
            st.button("Cancel", key="discover_cancel", on_click=SERVICE.cancel, args=(stored.id,))

    progress()
