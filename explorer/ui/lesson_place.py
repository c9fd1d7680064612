"""Where a lesson's panel stands: above the title of every page while a lesson is open; filled at the page's foot."""

from typing import Any

import streamlit as st

from explorer.ui.state import Workbench

PLACE = "_lesson_place"


def reserve(bench: Workbench) -> None:
    st.session_state[PLACE] = st.container(key="lesson") if bench.lesson else None


def place() -> Any:
    """The container; None where no lesson is open."""
    return st.session_state.get(PLACE)
