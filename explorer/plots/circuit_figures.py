"""Circuits as graphs, layers upwards; their scores as charts.

A head, an MLP or the embedding is a node.  Where key-value heads serve several heads, and by position, keys and values are small
nodes of their own, joined by thin lines to the heads that use them.  Blue: corrupting it lowers the objective (it helps the answer);
orange: corrupting it raises the objective.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from explorer.circuits.circuit import Circuit, owner_of
from explorer.circuits.curves import FaithfulnessCurves
from explorer.core.places import PlacedEdge
from explorer.core.sites import Embed, Head, HeadPart, KeyValue, Logits, MlpIn, MlpOut, Receiver, Sender
from explorer.plots.graph import Graph, GraphEdge, GraphNode
from explorer.plots.lines import Lines, Series, limits
from explorer.plots.theme import BLUE, GREEN, GREY, ORANGE, position_label

DRAWN_AT_MOST = 3000
"""Edges that are drawn; weaker ones are counted."""
STEP_X, STEP_Y, WIDEST_STEP = 84.0, 50.0, 130.0
LOWEST, HIGHEST = 560, 900
WIDEST, THINNEST = 7.0, 0.8
SERIES_COLORS = (BLUE, ORANGE, GREEN, "#8f5bd1", "#c2457a", "#5b8a99")
GROUP_COLORS = ("#22a05a", "#8f5bd1", "#c2457a", "#b89b00", "#2aa5a0", "#7a5a3a")


@dataclass(frozen=True, eq=False)
class Details:
    """What a page knows of nodes beside the circuit."""

    hovers: Mapping[str, str] = field(default_factory=dict)
    thumbnails: Mapping[str, str] = field(default_factory=dict)
    marked: frozenset[str] = frozenset()
    """Names of nodes and edges that an intervention acts on."""
    frequency: Float[np.ndarray, "reader writer place"] | None = None
    """Bootstrap frequency of edges."""
    tokens: Sequence[str] = ()


def effects_of(circuit: Circuit) -> dict[str, float]:
    """A node's estimated contribution to the objective: the negated sum of the scores of all edges that leave it, in logits."""
    if circuit.scores is None:
        return {}
    total = -circuit.scores.sum((0, 2))
    return {str(writer): float(value) for writer, value in zip(circuit.graph.writers, total, strict=True)}


def circuit_graph(circuit: Circuit, details: Details | None = None, selected: str = "", signed: bool = True) -> Graph:
    """The picture of a circuit; at most `DRAWN_AT_MOST` edges, the strongest."""
    details = details or Details()
    drawn = strongest(circuit)
    apart = circuit.by_position or circuit.graph.info.n_heads != circuit.graph.info.n_kv_heads
    ends = [(edge, end_name(edge.edge.sender, edge), reader_name(edge.edge.receiver, edge, apart)) for edge in drawn]
    sites: dict[str, Sender | Receiver] = {}
    for edge, source, target in ends:
        sites[source] = edge.edge.sender
        sites[target] = (
            edge.edge.receiver
            if target.startswith("logits") or "KV" in target
            else owner_of(edge.edge.receiver, circuit.graph)[0]
        )
    inside = joints(circuit, sites) if apart else []
    rows, columns = rows_of(sites.values()), columns_of(sites, circuit)
    effects, scale = effects_of(circuit), strongest_effect(circuit)
    nodes = [
        node(name, site, rows, columns, effects.get(base_of(name), 0.0) / scale if signed else 0.0, circuit, details)
        for name, site in sites.items()
    ]
    largest = max((abs(circuit.score(edge)) for edge in drawn), default=0.0)
    edges = [edge_of(edge, source, target, circuit, largest, signed, details) for edge, source, target in ends]
    edges += [GraphEdge(f"{source}⊂{target}", source, target, 1.0, GREY, "", "inside") for source, target in inside]
    named = [(at, row_name(row)) for row, at in rows.items()]
    heads = () if not circuit.by_position else tuple(
        (at, position_label(details.tokens[place], place) if place < len(details.tokens) else str(place)) for place, at in position_places(columns).items()
    )  # fmt: skip
    nodes, groups = boxed(nodes, circuit)
    height = min(HIGHEST, max(LOWEST, round(0.85 * STEP_Y * len(rows))))
    return Graph(nodes, edges, named, heads, groups, selected, height)


def boxed(nodes: Sequence[GraphNode], circuit: Circuit) -> tuple[list[GraphNode], dict[str, str]]:
    """Groups as boxes around their nodes; as rings where a box would hold others."""
    made = {each.id: each for each in nodes}
    boxes = {}
    for number, group in enumerate(circuit.groups):
        inside = [each for each in nodes if base_of(each.id) in group.nodes]
        if not inside:
            continue
        left, right = min(each.x for each in inside), max(each.x for each in inside)
        top, bottom = min(each.y for each in inside), max(each.y for each in inside)
        others = [each for each in nodes if left <= each.x <= right and top <= each.y <= bottom and each not in inside]
        color = GROUP_COLORS[number % len(GROUP_COLORS)]
        for each in inside:
            made[each.id] = replace(each, ring=color) if others else replace(each, parent=group.name)
        if not others:
            boxes[group.name] = group.name
    return list(made.values()), boxes


def strongest(circuit: Circuit) -> list[PlacedEdge]:
    edges = circuit.edges
    if len(edges) <= DRAWN_AT_MOST or circuit.scores is None:
        return edges[:DRAWN_AT_MOST]
    order = np.argsort([-abs(circuit.score(edge)) for edge in edges], kind="stable")[:DRAWN_AT_MOST]
    return [edges[number] for number in sorted(order)]


def end_name(site: Sender | Receiver, edge: PlacedEdge) -> str:
    return str(site) if edge.position is None else f"{site}@{edge.position}"


def reader_name(reader: Receiver, edge: PlacedEdge, apart: bool) -> str:
    """The node at which an edge is drawn to end."""
    match reader:
        case Logits():
            return end_name(reader, edge)
        case KeyValue(layer, head, _):
            name = f"L{layer}KV{head}" if apart else f"L{layer}H{head}"
        case HeadPart(layer, head, _):
            name = f"L{layer}H{head}"
        case MlpIn(layer):
            name = f"L{layer}.mlp_out"
    return name if edge.position is None else f"{name}@{edge.position}"


def base_of(name: str) -> str:
    return name.partition("@")[0]


def joints(circuit: Circuit, sites: Mapping[str, Sender | Receiver]) -> list[tuple[str, str]]:
    """Which key-value head serves which heads that are drawn."""
    found = []
    for name, site in sites.items():
        if not isinstance(site, KeyValue):
            continue
        place = name.partition("@")[2]
        served = {str(owner) for owner in owner_of(site, circuit.graph)}
        for other in sites:
            base, _, there = other.partition("@")
            if base in served and (not place or int(there) >= int(place)):
                found.append((name, other))
    return found


Row = tuple[int, int]
"""Layer, and 0 for key-value heads, 1 for heads, 2 for the MLP."""


def row_of(site: Sender | Receiver) -> Row:
    match site:
        case Embed():
            return -1, 2
        case Logits():
            return 10**6, 0
        case KeyValue(layer, _, _):
            return layer, 0
        case MlpOut(layer) | MlpIn(layer):
            return layer, 2
    return site.layer, 1


def rows_of(sites: Iterable[Sender | Receiver]) -> dict[Row, float]:
    """Heights of the rows that hold something, from the bottom up (y grows downwards)."""
    used = sorted({row_of(site) for site in sites})
    heights, y = {}, 0.0
    for row in used:
        heights[row] = -y
        y += STEP_Y * (0.6 if row[1] == 0 and row[0] < 10**6 else 1.0)
    return heights


def row_name(row: Row) -> str:
    layer, part = row
    if layer < 0:
        return "embedding"
    if layer == 10**6:
        return "logits"
    return f"L{layer} {('keys, values', 'heads', 'MLP')[part]}"


def columns_of(sites: Mapping[str, Sender | Receiver], circuit: Circuit) -> dict[str, float]:
    """Where nodes lie across: by head, or by position and then head."""
    served = circuit.graph.info.n_heads // circuit.graph.info.n_kv_heads

    def order(site: Sender | Receiver) -> float:
        match site:
            case Head(_, head):
                return float(head)
            case KeyValue(_, head, _):
                return head * served + (served - 1) / 2
        return circuit.graph.info.n_heads + 0.5 if isinstance(site, MlpOut) else (circuit.graph.info.n_heads - 1) / 2

    keys = {name: (int(name.partition("@")[2] or 0), order(site)) for name, site in sites.items()}
    if not circuit.by_position:
        used = sorted({key for name, (_, key) in keys.items() if not isinstance(sites[name], Embed | Logits)}) or [0.0]
        ranks = {key: number for number, key in enumerate(used)}
        middle = (len(used) - 1) / 2
        height = STEP_Y * len({row_of(site) for site in sites.values()})
        step = min(WIDEST_STEP, max(STEP_X, 0.8 * height / len(used)))
        return {
            name: step * (middle if isinstance(sites[name], Embed | Logits) else ranks[key])
            for name, (_, key) in keys.items()
        }
    found: dict[str, float] = {}
    left = 0.0
    for place in sorted({place for place, _ in keys.values()}):
        here = [name for name, (at, _) in keys.items() if at == place]
        rows: dict[Row, list[str]] = {}
        for name in sorted(here, key=lambda name: keys[name][1]):
            rows.setdefault(row_of(sites[name]), []).append(name)
        width = max(len(names) for names in rows.values())
        for names in rows.values():
            for number, name in enumerate(names):
                found[name] = left + STEP_X * 0.8 * (number + (width - len(names)) / 2)
        left += STEP_X * 0.8 * width + 26
    return found


def position_places(columns: Mapping[str, float]) -> dict[int, float]:
    """The middle of each position's column."""
    by_place: dict[int, list[float]] = {}
    for name, x in columns.items():
        by_place.setdefault(int(name.partition("@")[2]), []).append(x)
    return {place: (min(xs) + max(xs)) / 2 for place, xs in sorted(by_place.items())}


def strongest_effect(circuit: Circuit) -> float:
    there = [abs(value) for name, value in effects_of(circuit).items() if name != "embed"]
    return max(there, default=0.0) or 1.0


def blend(strength: float) -> str:
    """Blue above 0, orange below, grey at 0: solid colours, so that edges do not shine through."""
    ends = {True: (43, 127, 212), False: (224, 123, 0)}[strength >= 0]
    share = min(1.0, abs(strength)) ** 0.6
    red, green, blue = (round(150 + (value - 150) * share) for value in ends)
    return f"rgb({red},{green},{blue})"


def node(
    name: str,
    site: Sender | Receiver,
    rows: Mapping[Row, float],
    columns: Mapping[str, float],
    strength: float,
    circuit: Circuit,
    details: Details,
) -> GraphNode:
    base = base_of(name)
    small = isinstance(site, KeyValue)
    told = details.hovers.get(base, f"{base}: keys and values, read by the heads it is joined to" if small else base)
    label = circuit.labels.get(base, short(base))
    return GraphNode(
        name, label, columns[name], rows[row_of(site)], GREY if small or not isinstance(site, Head | MlpOut) else blend(strength),
        told, 22.0 if small else 34.0, marked=base in details.marked, thumbnail=details.thumbnails.get(base, ""),
    )  # fmt: skip


def short(name: str) -> str:
    return name.replace(".mlp_out", " MLP").replace(".attn_out", " attn")


def edge_of(
    edge: PlacedEdge, source: str, target: str, circuit: Circuit, largest: float, signed: bool, details: Details
) -> GraphEdge:
    score, name = circuit.score(edge), str(edge)
    there = np.isfinite(score) and largest > 0
    width = THINNEST + (WIDEST - THINNEST) * (abs(score) / largest) ** 0.5 if there else 1.5
    color = GREY if not (there and signed) else BLUE if score < 0 else ORANGE
    lines = [f"{edge.edge}" + ("" if edge.position is None else f" at position {edge.position}")]
    if there:
        lines.append(f"score {score:+.4f}" if signed else f"score {score:.4f}")
    if details.frequency is not None:
        reader, writer = circuit.graph.place(edge.edge)
        lines.append(f"in {details.frequency[reader, writer, edge.position or 0]:.0%} of resampled datasets")
    kind = "logits" if isinstance(edge.edge.receiver, Logits) else str(edge.edge.receiver).rpartition(".")[2]
    plain = str(PlacedEdge(edge.edge))
    return GraphEdge(
        name, source, target, width, color, "\n".join(lines), kind, name in details.marked or plain in details.marked
    )


def curve_lines(curves: FaithfulnessCurves) -> Lines:
    """Faithfulness by size for each ranking; random circuits dashed.  Sizes grow in about equal factors."""
    series, methods = [], list(dict.fromkeys(curves.frame["method"]))
    for number, name in enumerate(methods):
        rows = curves.frame[curves.frame["method"] == name].sort_values("chosen")
        random = name == "random"
        color = GREY if random else SERIES_COLORS[number % len(SERIES_COLORS)]
        series.append(Series(name, rows["faithfulness"].to_numpy(), color, dashed=random))
    sizes = [f"{count:,}" for count in sorted(set(curves.frame["chosen"]))]
    low, high = limits(series)
    return Lines(
        series,
        "edges kept, in about equal factors",
        "faithfulness",
        min(low, -0.05),
        max(high, 1.1),
        height=340,
        x_labels=sizes,
        dashed_name="random circuits",
    )
