"""Learn: guided lessons that use the real pages, each step checked against the learner's own run."""

import streamlit as st

st.write("soon")
