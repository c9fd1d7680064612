"""The Files view: a circuit as JSON, GraphML or a list of edges; taking one in; two circuits set against each other."""

import json

import streamlit as st

from explorer.circuits.circuit import Circuit
from explorer.circuits.exchange import read_circuit, to_graphml, to_json
from explorer.circuits.stability import compare
from explorer.core.errors import ExplorerError
from explorer.ui import session
from explorer.ui.circuit_state import IMPORTED, Chosen, Shown
from explorer.ui.desk import Desk, message
from explorer.ui.html import grid, say

LISTED = 40


def files_view(desk: Desk, chosen: Chosen, shown: Shown) -> None:
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**Take this circuit with you**")
        say(f"{shown.circuit.n_edges:,} edges, {len(shown.circuit.nodes)} nodes, {len(shown.circuit.groups)} groups.")
        downloads(shown.circuit)
    with right:
        st.markdown("**Take a circuit in**")
        loaded = take_in(desk, shown)
    if loaded is not None:
        set_against(shown.circuit, loaded)


def downloads(circuit: Circuit) -> None:
    with st.container(horizontal=True):
        st.download_button("JSON", lambda: json.dumps(to_json(circuit), indent=1), "circuit.json", "application/json", key="circuit_json", on_click="ignore")  # fmt: skip
        st.download_button("GraphML", lambda: to_graphml(circuit), "circuit.graphml", "application/xml", key="circuit_graphml", on_click="ignore")  # fmt: skip
        st.download_button(
            "Edges (CSV)", lambda: as_csv(circuit), "circuit.csv", "text/csv", key="circuit_csv", on_click="ignore"
        )
    st.caption("JSON holds groups, labels, notes, scores and provenance; GraphML is read by networkx, Gephi and yEd.")


def as_csv(circuit: Circuit) -> str:
    rows = ["sender,receiver,score"]
    for edge in circuit.edges:
        at = "" if edge.position is None else f"@{edge.position}"
        rows.append(f"{edge.edge.sender},{edge.edge.receiver}{at},{circuit.score(edge):.6g}")
    return "\n".join(rows) + "\n"


def take_in(desk: Desk, shown: Shown) -> Circuit | None:
    """A file of a circuit, read against this model; what does not fit is named."""
    loaded = st.file_uploader(
        "Circuit", ["json", "graphml", "csv", "txt"], key="circuit_upload", label_visibility="collapsed",
        help="This application's JSON, GraphML, or a list of edges such as L0H1 -> L1KV2.k.",
    )  # fmt: skip
    if loaded is None:
        st.caption("JSON of this application, GraphML, or a list with an edge a line: L0H1 -> L1KV2.k")
        return None
    try:
        found, remarks = read_circuit(loaded.getvalue(), shown.circuit.graph)
    except ExplorerError as error:
        message("circuit_file_error", "This file is not taken in.", error)
        return None
    for remark in remarks:
        st.warning(remark, icon=":material/warning:")
    say(f"{found.n_edges:,} edges, {len(found.nodes)} nodes.", f"{loaded.name}:")
    st.button("Open it in the graph", type="primary", key="open_imported", **session.calling(open_imported, found))
    return found


def open_imported(circuit: Circuit) -> None:
    st.session_state[IMPORTED] = circuit
    session.update(
        circuit_method="by hand", circuit_view="Graph", circuit_edits=(), circuit_item="", circuit_groups=circuit.groups,
        circuit_labels=tuple(circuit.labels.items()), circuit_notes=circuit.notes[:2000],
    )  # fmt: skip


def set_against(first: Circuit, second: Circuit) -> None:
    st.markdown("**This circuit against the file**")
    try:
        found = compare(first, second)
    except ExplorerError as error:
        say(str(error))
        return
    frame = found.frame
    say(found.words("on screen", "in the file"))
    different = frame[frame["in_first"] != frame["in_second"]]
    rows = [
        [row["edge"], "✓" if row["in_first"] else "", "✓" if row["in_second"] else ""]
        for row in different.head(LISTED).to_dict("records")
    ]
    if rows:
        st.html(grid(["edge in one alone", "on screen", "in the file"], rows))
    if len(different) > LISTED:
        say(f"{len(different) - LISTED:,} more differ.")
