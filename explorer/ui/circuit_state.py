"""The circuit that the workbench describes: which pairs, what a method found on them, how much of it is kept, changes by hand.

What was found is kept in this process for all browsers, and in the store of jobs if it took long; so a link opens the same circuit.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from explorer.circuits.circuit import Circuit, among_nodes, empty
from explorer.circuits.discovery import STEPS, DiscoverySpec, write_spec
from explorer.circuits.edge_scores import TITLES, EdgeScores, Method
from explorer.circuits.editing import CircuitEdit, edited, parse_edit
from explorer.circuits.runs import CircuitRuns
from explorer.core.errors import JobError, PairError
from explorer.core.pairs import ContrastPair
from explorer.core.places import Place, parse_place
from explorer.core.sites import Head, HeadPart, KeyValue, MlpOut, Neuron
from explorer.engine.edge_graph import EdgeGraph
from explorer.engine.edges import graph_of
from explorer.engine.interventions import OnlyEdges, Stack
from explorer.engine.model import Model
from explorer.ui.service import SERVICE
from explorer.ui.state import Entry, Side, Workbench, needed, other_side
from explorer.ui.task_draws import PAIR_COUNT, PAIR_FILE, pairs_of

IMPORTED = "_imported_circuit"
PAIRS_AT_MOST = 200
"""Pairs of a file that a circuit is found on."""


class Shelf:
    """The last few values of a kind, shared by all browsers of this process."""

    def __init__(self, size: int) -> None:
        self.size, self.lock = size, threading.Lock()
        self.values: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any] | None = None) -> Any:
        with self.lock:
            if key in self.values:
                self.values.move_to_end(key)
                return self.values[key]
        if make is None:
            return None
        made = make()
        with self.lock:
            self.values[key] = made
            while len(self.values) > self.size:
                self.values.popitem(last=False)
        return made


FOUND, RUNS, ONLY = Shelf(8), Shelf(3), Shelf(8)
"""What methods found; pairs ready to run; and one object a circuit that runs alone, so that its runs are found again."""


@dataclass(frozen=True)
class Chosen:
    """Pairs that a circuit is found and scored on, and what they are."""

    pairs: tuple[ContrastPair, ...]
    title: str


def chosen_pairs(bench: Workbench, model: Model) -> Chosen:
    """Raises as `task_pairs`."""
    if bench.circuit_pairs == "this pair":
        return Chosen((bench.pair,), "this pair")
    if bench.circuit_pairs == "a file":
        if PAIR_FILE not in st.session_state:
            raise PairError("No file of pairs is loaded in this browser. Choose one above (a link does not hold it).")
        _, name, file = st.session_state[PAIR_FILE]
        pairs = file.pairs[: st.session_state.get(PAIR_COUNT, PAIRS_AT_MOST)]
        return Chosen(pairs, f"{len(pairs)} pairs of {name}")
    found = pairs_of(bench, model)
    pairs = found.right if bench.only_right else found.pairs
    held = ", held-out templates" if bench.held_out else ""
    return Chosen(pairs, f"{len(pairs)} pairs of {bench.task}{held}, seed {bench.task_seed}")


def spec_of(bench: Workbench, model: Model, pairs: tuple[ContrastPair, ...], method: Method) -> DiscoverySpec:
    """What the workbench asks for; fields that a method does not use keep their defaults, so that they change nothing."""
    plain = DiscoverySpec(
        bench.model, model.info.dtype, model.info.weight_hash, pairs, method, STEPS[method], bos=bench.bos
    )
    if method == "acdc":
        return replace(plain, threshold=bench.circuit_threshold)
    if method == "edge-pruning":
        return replace(plain, target=bench.circuit_target)
    return replace(plain, by_position=bench.circuit_positions)


def known_scores(spec: DiscoverySpec, model: Model) -> EdgeScores | None:
    """What was found for a spec, from this process or the store; None where it was not looked for yet."""
    found: EdgeScores | None = FOUND.get(spec)
    if found is None:
        try:
            job = SERVICE.store.same(write_spec(spec))
            stored = None if job is None else SERVICE.store.job(job)
        except JobError:  # nothing is kept on this machine: what is found at once needs no store
            return None
        if job is not None and stored is not None and stored.state == "done":
            result = SERVICE.result(job, model)
            found = None if result is None else FOUND.get(spec, lambda: result)
    return found


def runs_of(
    bench: Workbench, model: Model, pairs: tuple[ContrastPair, ...], entries: tuple[Entry, ...] = ()
) -> CircuitRuns:
    """The pairs, ready to be run under masks; with interventions where there are some.  Raises as `CircuitRuns`."""
    key = (model.identity, pairs, bench.bos, entries)

    def stack(pair: ContrastPair) -> Stack:
        return tuple(entry.intervention(pair) for entry in entries)

    found: CircuitRuns = RUNS.get(key, lambda: CircuitRuns(model, pairs, stack if entries else None, bench.bos))
    return found


def active_entries(bench: Workbench) -> tuple[Entry, ...]:
    """Interventions that act on a circuit's run: those that act on the clean prompt."""
    return tuple(entry for entry in bench.entries if entry.enabled and entry.acts_on("clean"))


def top_of(bench: Workbench, scores: EdgeScores) -> int:
    """How many edges the workbench keeps."""
    if bench.circuit_by == "edges":
        return min(bench.circuit_top, scores.total)
    if scores.natural is not None and bench.circuit_keep == 100:
        return scores.natural
    return scores.top_for(bench.circuit_keep / 100)


@dataclass(frozen=True, eq=False)
class Shown:
    """The circuit on screen, with what it was made of."""

    circuit: Circuit
    scores: EdgeScores | None
    """None for a circuit by hand."""
    edits: tuple[CircuitEdit, ...]
    problems: dict[CircuitEdit, str]
    """Why changes do not fit this graph."""


def shown_circuit(bench: Workbench, scores: EdgeScores | None, graph: EdgeGraph) -> Shown:
    """Keep, then change by hand, then name."""
    base = scores.circuit(top_of(bench, scores)) if scores is not None else by_hand(bench, graph)
    edits = tuple(parse_edit(text) for text in bench.circuit_edits)
    made, problems = edited(base, edits)
    there = set(made.nodes)
    groups = tuple(
        replace(group, nodes=tuple(name for name in group.nodes if name in there)) for group in bench.circuit_groups
    )
    made = replace(
        made, groups=tuple(group for group in groups if len(group.nodes) > 0), labels=dict(bench.circuit_labels),
        notes=bench.circuit_notes,
    )  # fmt: skip
    return Shown(made, scores, edits, problems)


def by_hand(bench: Workbench, graph: EdgeGraph) -> Circuit:
    """An imported circuit of this model, or every edge among the places that were sent here."""
    imported = st.session_state.get(IMPORTED)
    if imported is not None and imported.graph.info.weight_hash == graph.info.weight_hash:
        return imported  # type: ignore[no-any-return]
    nodes = {name for text in bench.circuit if (name := node_of(parse_place(text), graph)) is not None}
    return among_nodes(graph, nodes) if nodes else Circuit(graph, empty(graph))


def node_of(place: Place, graph: EdgeGraph) -> str | None:
    """The node that a patched place belongs to; None for the stream itself."""
    match place.site:
        case Head() | MlpOut():
            return str(place.site)
        case HeadPart(layer, head, _):
            return str(Head(layer, head))
        case Neuron(layer, _):
            return str(MlpOut(layer))
        case KeyValue(layer, kv_head, _):
            served = graph.info.n_heads // graph.info.n_kv_heads
            return str(Head(layer, kv_head * served))
    return None


def title_of(bench: Workbench) -> str:
    return "by hand" if bench.circuit_method == "by hand" else TITLES[bench.circuit_method]


def only_edges(bench: Workbench, model: Model, side: Side) -> OnlyEdges | None:
    """The circuit as an intervention that lets nothing else through; None where it is not known yet.

    Raises `InterventionError` where the other prompt is missing, and as `chosen_pairs`.
    """
    pairs = chosen_pairs(bench, model).pairs
    graph = graph_of(model)
    scores = None
    if bench.circuit_method != "by hand":
        scores = known_scores(spec_of(bench, model, pairs, bench.circuit_method), model)
        if scores is None:
            return None
    circuit = shown_circuit(bench, scores, graph).circuit
    source = needed(bench.pair, other_side(side), "Running only a circuit")
    key = (model.identity, circuit.kept.tobytes(), circuit.kept.shape, source, bench.circuit_rest)
    found: OnlyEdges = ONLY.get(key, lambda: OnlyEdges(tuple(circuit.edges), source, bench.circuit_rest))
    return found
