"""Lens: what each layer would predict, and how chosen tokens move through the layers."""

import streamlit as st

from explorer.ui import frame, lens
from explorer.ui.canvas import draw_charts

opened = frame.page("Lens")
if opened is not None:
    views = lens.compute(opened)
    if views is not None:
        left, right = st.columns([3, 2], gap="medium")
        with left:
            lens.controls(opened)
            if opened.bench.lens_of == "stream":
                lens.stream_grid(opened, views)
            else:
                lens.component_grid(opened)
        with right:
            lens.trajectories(opened, views)
            lens.cell(opened, views)
draw_charts()
