"""Changes of a circuit by hand, as short texts that an address can hold, applied in order to what a method found.

-L1H0, -L0H1->L1KV2.k      remove a node with all its edges, or an edge
+L1H0, +L0H1->L1KV2.k      pin: a node stays on its strongest path, an edge stays, whatever the size
!L1H0, !L0H1->L1KV2.k      keep only what lies on paths through it
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from explorer.circuits.circuit import (
    Circuit,
    Kept,
    Scores,
    on_a_path,
    owners,
    readers_of,
)
from explorer.core.errors import CircuitError, ExplorerError
from explorer.core.places import ARROW, PlacedEdge, parse_edge
from explorer.core.sites import Logits, parse_sender

Change = Literal["-", "+", "!"]
CHANGES: dict[Change, str] = {"-": "remove", "+": "pin", "!": "keep only"}


@dataclass(frozen=True)
class CircuitEdit:
    change: Change
    node: str = ""
    edge: PlacedEdge | None = None

    def __str__(self) -> str:
        return self.change + (self.node if self.edge is None else str(self.edge))


def parse_edit(text: str) -> CircuitEdit:
    """The edit of a text such as `-L1H0`; `CircuitError` or `StateError` for other text."""
    change, what = text[:1], text[1:]
    if change not in CHANGES:
        raise CircuitError(
            f"{text[:60]!r} is no change of a circuit. Expected - (remove), + (pin) or ! (keep only), then a node or edge."
        )
    if ARROW in what:
        return CircuitEdit(change, edge=parse_edge(what))
    return CircuitEdit(change, node="logits" if what == "logits" else str(parse_sender(what)))


def edited(circuit: Circuit, edits: tuple[CircuitEdit, ...]) -> tuple[Circuit, dict[CircuitEdit, str]]:
    """The circuit after all edits, isolated pieces left out and counted; and why edits do not fit this graph."""
    kept, problems = circuit.kept.copy(), {}
    for edit in edits:
        try:
            kept = changed(circuit, kept, edit)
        except ExplorerError as error:
            problems[edit] = str(error)
    connected = on_a_path(circuit.graph, kept) if edits else kept
    return replace(circuit, kept=connected, isolated=circuit.isolated + int(kept.sum() - connected.sum())), problems


def changed(circuit: Circuit, kept: Kept, edit: CircuitEdit) -> Kept:
    at = places_of(circuit, edit)
    match edit.change:
        case "-":
            return np.asarray(kept & ~at)
        case "+":
            if edit.edge is None and circuit.scores is not None:
                at = strongest_path(circuit, circuit.scores, edit.node)
            return np.asarray(kept | at)
    return through(circuit, kept, at)


def places_of(circuit: Circuit, edit: CircuitEdit) -> Kept:
    """The edges that an edit names: one, or all into and out of a node."""
    graph, at = circuit.graph, np.zeros_like(circuit.kept)
    if edit.edge is not None:
        reader, writer = graph.place(edit.edge.edge)
        where = edit.edge.position
        if where is not None and (not circuit.by_position or where >= at.shape[2]):
            raise CircuitError(f"{edit.edge}: this circuit has no position {where}.")
        at[reader, writer, slice(None) if where is None else where] = True
        return at
    if edit.node != "logits" and edit.node not in map(str, graph.writers):
        raise CircuitError(f"{edit.node}: {graph.info.title} has no such node.")
    at[:, [str(writer) == edit.node for writer in graph.writers]] = True
    at[readers_of(graph, {edit.node})] = True
    return np.asarray(at & graph.exists.numpy()[..., None])


def through(circuit: Circuit, kept: Kept, at: Kept) -> Kept:
    """The kept edges on a path that leads through one of some edges."""
    graph, owned = circuit.graph, owners(circuit.graph)
    chosen = kept & at
    up, down = np.asarray(chosen.any(2)), np.asarray(chosen.any(2))
    flat = np.asarray(kept.any(2))
    for reader in range(len(graph.readers)):  # forwards: edges behind a chosen one
        behind = (owned[:, up.any(1)]).any(1)
        up[reader] |= flat[reader] & behind
    for reader in reversed(range(len(graph.readers))):  # backwards: edges that lead to one
        senders = down.any(0)
        before = bool((owned[:, reader] & senders).any())
        if before:
            down[reader] |= flat[reader]
    return np.asarray(kept & (up | down)[..., None])


def strongest_path(circuit: Circuit, scores: Scores, node: str) -> Kept:
    """A path from the embedding through a node to the logits, by the strongest edge at each step."""
    graph, owned = circuit.graph, owners(circuit.graph)
    strength = np.where(circuit.graph.exists.numpy()[..., None], np.abs(scores), -1.0)
    path = np.zeros_like(circuit.kept)
    names = [str(writer) for writer in graph.writers]

    def take(candidates: Kept) -> tuple[int, int]:
        reader, writer, place = np.unravel_index(int(np.where(candidates, strength, -2.0).argmax()), strength.shape)
        path[reader, writer, place] = True
        return int(reader), int(writer)

    writer = names.index(node) if node in names else None
    while writer is not None:  # towards the logits
        out = np.zeros_like(path)
        out[:, writer] = graph.exists.numpy()[:, writer, None]
        reader, _ = take(out)
        if isinstance(graph.readers[reader], Logits):
            break
        writer = int(np.flatnonzero(owned[:, reader])[0])
    own = readers_for(circuit, node)
    while own.any():  # towards the embedding
        into = np.zeros_like(path)
        into[own] = graph.exists.numpy()[own][..., None]
        _, writer = take(into)
        own = owned[writer]
    return path


def readers_for(circuit: Circuit, node: str) -> np.ndarray:
    """The readers that feed a node, shared key-value heads included."""
    if node == "logits":
        found = np.zeros(len(circuit.graph.readers), dtype=bool)
        found[-1] = True
        return found
    names = [str(writer) for writer in circuit.graph.writers]
    return np.asarray(owners(circuit.graph)[names.index(node)])
