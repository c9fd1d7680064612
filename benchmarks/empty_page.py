"""A Streamlit page with one button and one number: what a click costs before anything is computed or drawn."""

import streamlit as st

count = st.session_state.get("count", 0)


def add() -> None:
    st.session_state["count"] = count + 1


st.button("Add", on_click=add)
with st.container(key="effect"):
    st.html(f"<table class='ce-table'><tr><td>{count}</td></tr></table>")
