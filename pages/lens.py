"""Lens: what each layer would predict, and how chosen tokens move through the layers."""

import streamlit as st

from explorer.ui import frame, lens

opened = frame.page("Lens")
if opened is not None:
    views = lens.compute(opened)
    if views is not None:
        left, right = st.columns([3, 2], gap="medium")
        with (
            right
        ):  # first the table, then the charts, then all else: the browser holds back what follows by up to 0.3 s
            tracks = st.container()
            draw_choices = lens.cell(opened, views)
        with left:
            lens.controls(opened)
            if opened.bench.lens_of == "stream":
                lens.stream_grid(opened, views)
            else:
                lens.component_grid(opened)
        with tracks:
            draw_controls = lens.trajectories(opened, views)
        draw_controls()
        draw_choices()
