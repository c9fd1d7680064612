"""The Findings page: what was kept, found again by words and tags; one of them open; reports of some of them."""

import streamlit as st

from explorer.core.errors import FindingError
from explorer.findings.finding import Finding
from explorer.findings.ladder import RUNGS, rung
from explorer.findings.store import tags_of
from explorer.ui import desk, session
from explorer.ui.finding_detail import detail
from explorer.ui.findings_store import STORE
from explorer.ui.html import plain_label, say
from explorer.ui.report_panel import report_panel

DELETED = "_deleted_finding"
SHOWN = 200
COLORS = ("gray", "gray", "orange", "blue", "green", "green")


def findings_page() -> None:
    try:
        every = STORE.findings()
    except FindingError as error:
        desk.message("store_error", "Findings cannot be read.", error)
        return
    undo_bar()
    if not every:
        st.info(
            "Nothing is kept yet. On any page, press **Keep as finding** in the sidebar: it keeps the view, its numbers and all that is "
            "needed to compute them again, under a claim in your words.",
            icon=":material/bookmark:",
        )
        return
    left, right = st.columns([2, 3], gap="medium")
    with left:
        listed(every)
    with right:
        opened = session.bench().finding
        if opened in {each.id for each in every}:
            detail(opened)
        else:
            st.caption(
                "Open a finding: its evidence, the checks that passed and failed, and the next one to run stand here."
            )
    report_panel(every)


def listed(every: list[Finding]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input("Search", key="finding_search", placeholder="Words of claims, notes, tags, components")
        tag = st.selectbox("Tag", ["all", *tags_of(every)], key="finding_tag", width=140)
    found = STORE.findings(words, "" if tag == "all" else tag) if words or tag != "all" else every
    say(f"{len(found)} of {len(every)} findings" + (f"; the first {SHOWN} are shown" if len(found) > SHOWN else ""))
    for finding in found[:SHOWN]:
        row(finding)
    if not found:
        st.caption("No finding has these words. Search for fewer, or choose another tag.")


def row(finding: Finding) -> None:
    number = rung(finding)
    chosen = finding.id == session.bench().finding
    with st.container(border=True, key=f"finding_{finding.id}", gap="xsmall"):
        st.button(
            plain_label(finding.claim),
            key=f"open_finding_{finding.id}",
            type="primary" if chosen else "tertiary",
            wrap=True,
            **session.calling(open_finding, finding.id),
        )
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge(f"{number} {RUNGS[number]}", color=COLORS[number])  # type: ignore[arg-type]
            say(" · ".join([finding.model, finding.view, finding.changed[:16], *finding.tags]))


def open_finding(name: str) -> None:
    session.update(finding=name)


def undo_bar() -> None:
    """What was deleted last, to be brought back."""
    gone = st.session_state.get(DELETED)
    if gone is None:
        return
    name, claim = gone
    with st.container(horizontal=True, vertical_alignment="center", key="deleted_bar"):
        say(f"Deleted: {claim}")
        st.button("Undo", key="restore", icon=":material/undo:", **session.calling(restore, name))


def restore(name: str) -> None:
    try:
        STORE.restore(name)
        session.update(finding=name)
    finally:
        st.session_state[DELETED] = None
