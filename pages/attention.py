"""Attention: every head as a thumbnail or a number, heads side by side, why a head looks there; click a head to act on it."""

import streamlit as st

from explorer.ui import attention, frame, why_here

opened = frame.page("Attention", ("pattern", "resid_post"))
if opened is not None:
    views = attention.compute(opened)
    if views is not None:
        left, right = st.columns([1, 1], gap="medium")
        with left:
            attention.controls(opened)
            attention.grid(opened, views)
        with right:
            attention.one_head(opened, views)
            why_here.causal_check(opened, views)
        attention.side_by_side(opened, views)
        why_here.why_here(opened, views)
        attention.head_types(opened, views)
