"""Attention: every head as a thumbnail, one head large, and head types; click a head to act on it."""

import streamlit as st

from explorer.ui import attention, desk

bench = desk.open_page("Attention")
opened = desk.set_up(bench, desk.load(bench))
if opened is not None:
    views = attention.compute(opened)
    if views is not None:
        left, right = st.columns([1, 1], gap="medium")
        with left:
            attention.grid(opened, views)
        with right:
            attention.one_head(opened, views)
        attention.head_types(views)
