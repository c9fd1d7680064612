"""Which view of the patching page is open."""

from typing import get_args

import streamlit as st

from explorer.ui import session
from explorer.ui.state import PatchView, Workbench

MEANING = (
    "**Sweep**: every activation of a kind, on this pair. **Paths**: from a sender to receivers. **Mediation**: how much of an "
    "effect goes through a component. **Dataset**: many pairs, with intervals and controls."
)


def view_control(bench: Workbench) -> None:
    st.segmented_control(
        "View", get_args(PatchView), required=True, label_visibility="collapsed", help=MEANING,
        **session.bound("patch_view", bench.patch_view),
    )  # fmt: skip
