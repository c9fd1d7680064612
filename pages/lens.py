"""Lens: what each layer would predict, and how answer and distractor move through the layers."""

import streamlit as st

from explorer.ui import desk, lens

bench = desk.open_page("Lens")
opened = desk.set_up(bench, desk.load(bench))
if opened is not None:
    views = lens.compute(opened)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        lens.grid(opened, views)
    with right:
        lens.trajectories(opened, views)
        lens.cell(opened, views)
