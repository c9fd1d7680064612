"""Prompt: the model, the contrast pair, its tokens, and what the model predicts."""

import streamlit as st

from explorer.ui import desk, editor, frame, session
from explorer.ui.continuation import continuation_panel
from explorer.ui.data import data_menu
from explorer.ui.html import prediction_table
from explorer.ui.tokens import token_strip

bench = desk.open_page("Prompt")
left, right = st.columns([3, 2], gap="large")
with left:
    editor.prompts(bench)
    beside = st.container()
with right:
    editor.model_picker(bench)
    model = desk.load(bench)
    if model is not None:
        editor.model_card(model)

frame.side_control(bench)
opened = desk.set_up(bench, model)
if opened is not None:
    editor.white_space_advice(opened)
    st.markdown(
        "**Tokens**",
        help="White space is visible: · is a space, ↵ a line break. Below each token: its position and id, and the other prompt's "
        "token; orange where they differ. Click one to read the prediction after it.",
    )
    with beside:
        editor.answer_note(opened)
        other = editor.pair_panel(opened)
    token_strip(
        opened.tokens, "token_strip", opened.position, lambda position: session.update(position=position), other
    )
    left, right = st.columns([3, 2], gap="large")
    with left:
        editor.position_heading(opened)
        st.html(prediction_table(opened.prediction.frame, opened.changed))
        data_menu("prediction", lambda: opened.prediction.frame, opened.prediction.provenance)
    with right:
        continuation_panel(opened)
frame.foot("Prompt", opened)
