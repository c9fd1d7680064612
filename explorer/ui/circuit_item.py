"""What was clicked in a circuit: a node, an edge or a group; what can be done with it, in the model and in the circuit."""

import numpy as np
import pandas as pd
import streamlit as st

from explorer.analyses.edge_reading import edge_reading
from explorer.circuits.circuit import Circuit, Group
from explorer.circuits.editing import Change
from explorer.core.errors import ExplorerError
from explorer.core.places import ARROW, PlacedEdge, parse_edge
from explorer.core.sites import Embed, HeadPart, KeyValue, parse_sender
from explorer.engine.contrasts import Side, objective
from explorer.engine.interventions import EdgePatch
from explorer.plots.circuit_figures import effects_of
from explorer.plots.theme import position_label
from explorer.ui import session
from explorer.ui.act import act
from explorer.ui.circuit_state import Shown
from explorer.ui.desk import Desk
from explorer.ui.groups import CIRCUIT_GROUPS
from explorer.ui.html import grid, say
from explorer.ui.state import EDGE_HOWS, stack_of
from explorer.ui.terms import help_for

LISTED = 8
WHAT: dict[Change, tuple[str, str, str]] = {
    "-": ("remove", "Remove from circuit", "Cut it out of the circuit; what is left on no path goes with it."),
    "+": ("pin", "Pin", "Keep it in the circuit, however small; a node with its strongest path."),
    "!": ("only", "Keep only", "Keep only what lies on paths through it."),
}


def open_item(name: str) -> None:
    """What a click on the graph opens: nodes by position open the node."""
    if name.startswith(":") or ARROW in name or not name:
        session.update(circuit_item=name)
        return
    base = name.partition("@")[0]
    if "KV" in base:
        return  # a key-value head is no writer: its edges can be opened, itself not
    session.update(circuit_item=base)


def add_group(nodes: tuple[str, ...]) -> None:
    """Show some nodes as one: heads and MLPs, wherever they stand."""
    names = tuple(
        dict.fromkeys(
            base for node in nodes if "KV" not in (base := node.partition("@")[0]) and base not in ("embed", "logits")
        )
    )
    CIRCUIT_GROUPS.join(names)


def item_panel(desk: Desk, shown: Shown, minimal: pd.DataFrame | None) -> None:
    name = desk.bench.circuit_item
    with st.container(border=True, key="circuit_item"):
        if not name:
            st.caption(
                "Click a node or an edge: ablate or patch it in the model, remove, pin or keep it in the circuit."
            )
            return
        try:
            if name.startswith(":"):
                CIRCUIT_GROUPS.panel(name[1:], dict(shown.circuit.labels), removal)
            elif ARROW in name:
                edge_panel(desk, shown, parse_edge(name))
            else:
                node_panel(desk, shown, name, minimal)
        except ExplorerError as error:
            say(str(error), f"{name}:")


def circuit_buttons(shown: Shown, what: str) -> None:
    at_work = {str(edit) for edit in shown.edits}
    with st.container(horizontal=True, key="circuit_acts"):
        for change, (name, label, help_text) in WHAT.items():
            done = f"{change}{what}" in at_work
            st.button(
                f"{label} ✓" if done else label, key=f"circuit_act_{name}", help=help_text, **session.calling(toggle, change, what),
            )  # fmt: skip


def toggle(change: Change, what: str) -> None:
    """Add a change, or take it back; a thing is either removed or pinned."""
    held = session.bench().circuit_edits
    wanted = f"{change}{what}"
    kept = tuple(each for each in held if each[1:] != what)
    session.update(circuit_edits=kept if wanted in held else (*kept, wanted))


def node_panel(desk: Desk, shown: Shown, name: str, minimal: pd.DataFrame | None) -> None:
    circuit = shown.circuit
    in_circuit = name in circuit.nodes
    heading(desk, circuit, name)
    facts = []
    if (effect := effects_of(circuit).get(name)) is not None:
        facts.append(f"estimated contribution {effect:+.3f} logits")
    losses = {} if minimal is None else dict(zip(minimal["node"], minimal["loss"], strict=True))
    if name in losses:
        facts.append(f"the circuit loses {losses[name]:+.1%} without it (measured)")
    if not in_circuit:
        facts.append("not in the circuit as it stands")
    say("; ".join(facts) + "." if facts else "")
    if name not in ("embed", "logits"):
        site = parse_sender(name)
        assert not isinstance(site, Embed)
        st.caption("In the model")
        act(desk, site, "circuit_node", choose=False)
    if name != "embed":
        st.caption("In the circuit")
        circuit_buttons(shown, name)
    edges_of(circuit, name)


def heading(desk: Desk, circuit: Circuit, name: str) -> None:
    """The name, and what the user calls it."""
    key = f"label_{name}"
    st.session_state[key] = circuit.labels.get(name, "")

    def take() -> None:
        text = str(st.session_state[key]).strip()
        others = tuple(pair for pair in session.bench().circuit_labels if pair[0] != name)
        session.update(circuit_labels=(*others, (name, text)) if text else others)

    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{name}**", width="content")
        if name not in ("embed", "logits"):
            st.text_input(
                "Call it", key=key, on_change=take, placeholder="call it …", max_chars=40, label_visibility="collapsed"
            )


def edges_of(circuit: Circuit, name: str) -> None:
    """The strongest edges of a node, each to be opened."""
    found = [
        edge for edge in circuit.edges
        if name in (str(edge.edge.sender), *circuit.owners(edge))
    ]  # fmt: skip
    found.sort(key=lambda edge: -abs(np.nan_to_num(circuit.score(edge))))
    if not found:
        return
    picked = st.selectbox(
        "Edges", [str(edge) for edge in found], index=None, placeholder=f"open one of its {len(found)} edges",
        format_func=lambda text: f"{text}   {circuit.score(parse_edge(text)):+.3f}", key=f"edges_of_{name}_{circuit.n_edges}",
        label_visibility="collapsed",
    )  # fmt: skip
    if picked is not None:
        session.update(circuit_item=picked)
        st.rerun()


def edge_panel(desk: Desk, shown: Shown, placed: PlacedEdge) -> None:
    circuit, edge = shown.circuit, placed.edge
    reader, writer = circuit.graph.place(edge)  # says where there is none
    st.markdown(
        f"**{edge.sender} → {edge.receiver}**" + ("" if placed.position is None else f" at position {placed.position}")
    )
    kept = bool(circuit.kept[reader, writer, placed.position or 0])
    facts = [] if kept else ["not in the circuit as it stands"]
    if shown.scores is not None:
        score = float(shown.scores.dense[reader, writer, placed.position or 0])
        facts.append(f"{'measured' if shown.scores.measured else 'estimate'} {score:+.4f}")
    if (exact := exact_effect(desk, placed)) is not None:
        facts.append(f"on this pair, corrupting it alone changes the objective by {exact:+.4f} logits (measured)")
    say("; ".join(facts) + ".")
    st.caption("In the model")
    edge_act(desk, placed)
    st.caption("In the circuit")
    circuit_buttons(shown, str(placed))
    with st.container(horizontal=True):
        for node in (str(edge.sender), *circuit.owners(placed)):
            st.button(
                node, key=f"to_{node}", type="tertiary", icon=":material/adjust:", **session.calling(open_item, node)
            )
    if isinstance(edge.receiver, HeadPart | KeyValue) and edge.receiver.kind in ("q", "k"):
        why_this_edge(desk, placed)


def edge_act(desk: Desk, placed: PlacedEdge) -> None:
    """Zero, mean, resample or patch an edge in the model."""
    positions = None if placed.position is None else (placed.position,)
    act(desk, placed.edge, "circuit_edge", positions, choices=EDGE_HOWS, choose=False)


def exact_effect(desk: Desk, placed: PlacedEdge) -> float | None:
    """What corrupting the edge alone does to the objective of this pair, under the interventions; None where it cannot be run."""
    pair = desk.bench.pair
    if not desk.answer or not desk.distractor or not pair.corrupt.strip():
        return None
    positions = None if placed.position is None else (placed.position,)
    try:
        tokens = desk.model.tokenize(pair.clean, desk.bench.bos)
        read = desk.model.single_token(desk.answer), desk.model.single_token(desk.distractor)
        stack = tuple(stack_of(desk.bench.entries, pair, "clean"))
        patched = (*stack, EdgePatch(placed.edge, pair.corrupt, positions))
        return objective(desk.model, Side(tokens, patched), read) - objective(desk.model, Side(tokens, stack), read)
    except ExplorerError:
        return None


def why_this_edge(desk: Desk, placed: PlacedEdge) -> None:
    """Which tokens' attention scores the edge moves: the head's row with and without it."""
    st.markdown("**Why this edge?**", help=help_for("edge reading"))
    try:
        stack = stack_of(desk.bench.entries, desk.bench.pair, "clean")
        found = edge_reading(desk.model, desk.bench.pair, placed.edge, interventions=stack, bos=desk.bench.bos)
    except ExplorerError as error:
        say(str(error))
        return
    rows = [
        [position_label(found.tokens.texts[row["source"]], row["source"]), f"{row['attention']:.3f}", f"{row['without']:.3f}", f"{row['moved']:+.2f}"]
        for row in found.frame.head(LISTED).to_dict("records")
    ]  # fmt: skip
    st.html(grid(["source", "attention", "without the edge", "score moved by"], rows))
    say(
        f"{found.head} from {position_label(found.tokens.texts[found.dest], found.dest)}, the destination it changes most. Moved: the "
        "attention score with the edge minus that with its corrupt value, relative to the row's mean. Measured, one run."
    )


def removal(group: Group) -> None:
    st.button("Remove from circuit", key="group_remove", **session.calling(remove_all, group.nodes))


def remove_all(nodes: tuple[str, ...]) -> None:
    held = session.bench().circuit_edits
    session.update(circuit_edits=tuple(dict.fromkeys((*held, *(f"-{node}" for node in nodes)))))
