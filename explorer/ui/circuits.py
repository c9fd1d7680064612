"""The Circuits page: what is looked for and on which pairs, what it costs, work under way; then the view that is open."""

from typing import get_args

import streamlit as st

from explorer.circuits.edge_scores import TITLES, EdgeScores
from explorer.core.errors import ExplorerError
from explorer.engine.edge_graph import EdgeGraph
from explorer.engine.edges import graph_of
from explorer.ui import datasets, session, tasks
from explorer.ui.circuit_discovery import scores_of
from explorer.ui.circuit_files import files_view
from explorer.ui.circuit_graph import graph_view
from explorer.ui.circuit_size import size_view
from explorer.ui.circuit_stability import stability_view
from explorer.ui.circuit_state import Chosen, chosen_pairs, shown_circuit
from explorer.ui.desk import Desk, message
from explorer.ui.html import say
from explorer.ui.state import CircuitPairs, CircuitView
from explorer.ui.task_draws import pairs_of
from explorer.ui.terms import help_for

METHODS: dict[str, str] = {str(method): title for method, title in TITLES.items()} | {"by hand": "By hand, or a file"}


def circuits_page(desk: Desk) -> None:
    """Everything below the page's title."""
    try:
        graph = graph_of(desk.model)
        controls(desk, graph)
        chosen = chosen_pairs(desk.bench, desk.model)
        if not chosen.pairs:
            st.info(
                "The model gets none of these pairs right, so there is nothing to find a circuit of.",
                icon=":material/info:",
            )
            return
        scores = None if desk.bench.circuit_method == "by hand" else scores_of(desk, chosen, desk.bench.circuit_method)
    except ExplorerError as error:
        message("circuit_error", "No circuit can be found like this.", error)
        return
    if desk.bench.circuit_method != "by hand" and scores is None:
        return
    try:
        opened(desk, chosen, scores, graph)
    except ExplorerError as error:
        message("circuit_view_error", "This view cannot be shown.", error)


def opened(desk: Desk, chosen: Chosen, scores: EdgeScores | None, graph: EdgeGraph) -> None:
    shown = shown_circuit(desk.bench, scores, graph)
    match desk.bench.circuit_view:
        case "Graph":
            graph_view(desk, chosen, shown)
        case "Size":
            size_view(desk, chosen, shown)
        case "Stability":
            stability_view(desk, chosen, shown)
        case "Files":
            files_view(desk, chosen, shown)


def view_control() -> None:
    st.segmented_control(
        "View", get_args(CircuitView), required=True, label_visibility="collapsed",
        help="**Graph**: draw, cut and score a circuit. **Size**: faithfulness against size, all methods. **Stability**: other pairs, "
        "other methods. **Files**: take a circuit in or out, compare two.",
        **session.bound("circuit_view", session.bench().circuit_view),
    )  # fmt: skip


def controls(desk: Desk, graph: EdgeGraph) -> None:
    bench = desk.bench
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Found by", list(METHODS), format_func=METHODS.__getitem__, width=200,
            help=help_for("EAP", "mask gradient", "exact edge patching", "ACDC", "edge pruning"),
            **session.bound("circuit_method", bench.circuit_method),
        )  # fmt: skip
        st.segmented_control(
            "On", get_args(CircuitPairs), required=True, help="The contrast pair of the Prompt page, or a dataset.",
            **session.bound("circuit_pairs", bench.circuit_pairs),
        )  # fmt: skip
        if bench.circuit_method == "acdc":
            st.number_input("Threshold τ", 0.0, 100.0, step=0.001, format="%.4f", width=130, help=help_for("ACDC"), **session.bound("circuit_threshold", bench.circuit_threshold))  # fmt: skip
        elif bench.circuit_method == "edge-pruning":
            st.number_input("Edges to keep", 1, graph.n_edges, width=130, help=help_for("edge pruning"), **session.bound("circuit_target", min(bench.circuit_target, graph.n_edges)))  # fmt: skip
        elif bench.circuit_method != "by hand":
            st.toggle(
                "By position", help="Every position of the reader is an edge of its own; prompts of one length.",
                **session.bound("circuit_positions", bench.circuit_positions),
            )  # fmt: skip
    if bench.circuit_pairs == "a file":
        datasets.from_file(desk)
    if bench.circuit_pairs == "a task":
        tasks.controls(bench)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.toggle("Only pairs the model gets right", **session.bound("only_right", bench.only_right))
            drawn = pairs_of(bench, desk.model)
            say(f"The model gets {len(drawn.right)} of {len(drawn.pairs)} right.")
