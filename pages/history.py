"""History: named presets, and every run that was looked at, to reopen and compare."""

import streamlit as st

from explorer.core.errors import ShelfError
from explorer.ui import desk, frame, history

opened = frame.page("History")
try:
    st.subheader("Presets", anchor=False)
    history.presets_panel()
    st.subheader("Runs", anchor=False)
    history.runs_table()
except ShelfError as error:
    desk.message("shelf_error", "Presets and history cannot be read.", error)
