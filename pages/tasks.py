"""Tasks: contrast pairs drawn for this model, and which of them it gets right."""

import streamlit as st

from explorer.ui import desk, frame, session, tasks

bench = desk.open_page("Tasks")
model = desk.load(bench)
tasks.controls(bench)
if model is not None:
    results = tasks.measured(bench, model)
    if results is not None:
        tasks.summary(*results)
        st.toggle("Only pairs the model gets right", **session.bound("only_right", bench.only_right))
        tasks.table(bench, *results)
frame.foot("Tasks", desk.set_up(bench, model))
