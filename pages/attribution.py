"""Attribution: the objective as a sum over components, and over input tokens; stories beside causes."""

import streamlit as st

from explorer.ui import attribution, frame, stories

opened = frame.page("Attribution", ("z", "v", "pattern", "attn_out", "mlp_out", "resid_post"))
if opened is not None:
    found = attribution.compute(opened)
    if found is not None:
        left, right = st.columns([3, 2], gap="medium")
        with right:  # tables first: the browser holds back what comes after a chart by up to 0.3 s
            panel, tokens = st.container(), st.container()
            attribution.largest(opened, found)
        with left:
            attribution.grid(opened, found)
        with tokens:
            attribution.by_token(found)
        with panel:
            attribution.component_panel(opened, found)
        stories.stories(opened)
