"""Attribution: the objective as a sum over what each component writes straight into the logits."""

import streamlit as st

from explorer.ui import attribution, desk

bench = desk.open_page("Attribution")
opened = desk.set_up(bench, desk.load(bench))
if opened is not None:
    found = attribution.compute(opened)
    if found is not None:
        left, right = st.columns([3, 2], gap="medium")
        with left:
            attribution.grid(opened, found)
            attribution.sum_check(found)
        with right:
            attribution.component_panel(opened, found)
            attribution.largest(opened, found)
