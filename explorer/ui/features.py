"""The Features page: which dictionary and which view, then the view that is open."""

from typing import get_args

import streamlit as st

from explorer.core.errors import ExplorerError
from explorer.ui import session
from explorer.ui.desk import Desk, message
from explorer.ui.feature_card import card_view
from explorer.ui.feature_circuit import circuit_view
from explorer.ui.feature_dictionaries import dictionaries_view
from explorer.ui.feature_find import find_view
from explorer.ui.feature_graph import graph_view
from explorer.ui.feature_prompt import prompt_view
from explorer.ui.feature_state import opened, places_of, shown_place
from explorer.ui.show import show_control
from explorer.ui.state import FeatureView, Workbench
from explorer.ui.terms import help_for

OF_ONE = ("On this prompt", "Find", "Feature")
"""Views of one dictionary."""


def view_control(bench: Workbench) -> None:
    st.segmented_control(
        "View", get_args(FeatureView), required=True, label_visibility="collapsed",
        help="**On this prompt**: what fires here. **Find**: by token, label or density. **Feature**: one feature's card, to read and act on. "
        "**Circuit**: what features do to the objective. **Graph**: attribution graph of this prompt. **Dictionaries**: cards, training, index.",
        **session.bound("feature_view", bench.feature_view),
    )  # fmt: skip


def features_page(desk: Desk) -> None:
    """Everything below the page's title."""
    bench = desk.bench
    if bench.feature_view in OF_ONE:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            dictionary_control(desk)
            if bench.feature_view == "On this prompt":
                show_control(desk)
    try:
        match bench.feature_view:
            case "On this prompt":
                prompt_view(opened(desk))
            case "Find":
                find_view(opened(desk))
            case "Feature":
                card_view(opened(desk))
            case "Circuit":
                circuit_view(desk)
            case "Graph":
                graph_view(desk)
            case "Dictionaries":
                dictionaries_view(desk)
    except ExplorerError as error:
        message("feature_error", "This cannot be shown.", error)


def dictionary_control(desk: Desk) -> None:
    places = places_of(desk.model)
    if places:
        st.selectbox(
            "Dictionary", places, width=260, help=help_for("sparse dictionary", "transcoder"),
            **session.bound("dictionary", shown_place(desk.bench, desk.model)),
        )  # fmt: skip
