"""Circuits: find one, draw it, cut it by hand while its scores follow, and see how far it can be believed."""

import streamlit as st

from explorer.ui import desk, frame
from explorer.ui.circuits import circuits_page, view_control

bench = desk.open_page("Circuits")
with st.container(horizontal=True):
    view_control()
    frame.side_control(bench)
opened = desk.set_up(bench, desk.load(bench), ("resid_post", "pattern"))
frame.foot("Circuits", opened)
if opened is not None:
    circuits_page(opened)
