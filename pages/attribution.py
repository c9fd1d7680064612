"""Attribution: the objective as a sum over components, and over input tokens; stories beside causes."""

import streamlit as st

from explorer.ui import attribution, frame, stories
from explorer.ui.canvas import draw_charts

opened = frame.page("Attribution", ("z", "v", "pattern", "attn_out", "mlp_out", "resid_post"))
if opened is not None:
    found = attribution.compute(opened)
    if found is not None:
        left, right = st.columns([3, 2], gap="medium")
        with left:
            attribution.grid(opened, found)
            attribution.sum_check(found)
        with right:
            attribution.component_panel(opened, found)
            attribution.by_token(found)
            attribution.largest(opened, found)
        stories.stories(opened)
draw_charts()
