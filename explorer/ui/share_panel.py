"""Read-only links: made, shown once, listed and withdrawn."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from explorer import access
from explorer.core.errors import AccessError
from explorer.ui import session
from explorer.ui.html import say

FRESH = "_fresh_share"


def share_panel(chosen: Sequence[str]) -> None:
    panel: Any = st.popover(
        "Read-only link", icon=":material/link:", key="share_panel", type="tertiary", on_change="rerun"
    )
    if not panel.open:
        return
    with panel:
        say(
            "Whoever has the link can look at these findings and step through them; no model runs for them, and they see nothing else."
        )
        title = st.session_state.get("report_title", "Findings")
        st.button(
            f"Make a link to {len(chosen)} findings", key="make_share", **session.calling(make, tuple(chosen), title)
        )
        if secret := st.session_state.get(FRESH):
            st.code(f"{(st.context.url or '').split('?')[0].rsplit('/', 1)[0]}/?share={secret}", language=None)
            say("Copy it now: it is not shown again.")
        try:
            links = access.shares()
        except AccessError as error:
            st.text(str(error))
            return
        for number, link in enumerate(links):
            with st.container(horizontal=True, vertical_alignment="center"):
                say(f"{link.title}: {len(link.findings)} findings, made {link.made} UTC")
                st.button("Withdraw", key=f"withdraw_{number}", type="tertiary", **session.calling(withdraw, link))


def make(chosen: tuple[str, ...], title: str) -> None:
    try:
        st.session_state[FRESH] = access.share(chosen, title)
    except AccessError as error:
        st.session_state[FRESH] = ""
        st.error(str(error))


def withdraw(link: access.Share) -> None:
    st.session_state[FRESH] = ""
    access.withdraw(link)
