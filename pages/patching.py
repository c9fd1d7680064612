"""Patching: an estimate at once, exact values streaming in, paths, mediation, and error bars over a dataset."""

import streamlit as st

from explorer.ui import datasets, desk, frame, mediation, patching, paths, session
from explorer.ui.patch_views import view_control

bench = desk.open_page("Patching")
with st.container(horizontal=True):
    view_control(bench)
    frame.side_control(bench)
opened = desk.set_up(bench, desk.load(bench), ("resid_post",))
frame.foot("Patching", opened)
if opened is not None:
    match session.bench().patch_view:
        case "Sweep":
            patching.sweep_view(opened)
        case "Paths":
            paths.paths_view(opened)
        case "Mediation":
            mediation.mediation_view(opened)
        case "Dataset":
            datasets.dataset_view(opened)
