"""Features: sparse dictionaries of this model, what fires, what it does, and how it makes the prediction."""

import streamlit as st

from explorer.ui import desk, frame
from explorer.ui.features import features_page, view_control

bench = desk.open_page("Features")
with st.container(horizontal=True):
    view_control(bench)
    frame.side_control(bench)
opened = desk.set_up(bench, desk.load(bench), ("resid_post",))
frame.foot("Features", opened)
if opened is not None:
    features_page(opened)
