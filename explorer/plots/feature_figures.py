"""Features on a prompt, attribution graphs and feature circuits as pictures; toy models of superposition."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from explorer.circuits.circuit import Group
from explorer.features.circuit import FeatureEffects
from explorer.features.graph import AttributionGraph, Node, Shown
from explorer.features.steering import DoseResponse
from explorer.features.superposition import Toy
from explorer.plots.graph import Graph, GraphEdge, GraphNode
from explorer.plots.heatmap import Heatmap, Mark
from explorer.plots.lines import Lines, Series, limits
from explorer.plots.theme import BLUE, GREEN, GREY, ORANGE, position_label, symmetric_limit, token_label
from explorer.training.dictionary_card import DENSITY_EDGES, density_counts, log_density

STEP_X, STEP_Y, LINE, NARROW = 78.0, 86.0, 34.0, 56.0
ROWS, ASPECT = (6, 4, 3, 2, 1), 2.2
"""How many nodes of one layer and position may stand side by side: the most at which the picture is no wider than so many times its height."""
CIRCUIT_X, CIRCUIT_Y = 78.0, 150.0
MOST_EDGES = 1500
WIDEST, THINNEST = 7.0, 0.8


def features_on_prompt(
    acts: Float[np.ndarray, "pos feature"],
    chosen: Sequence[int],
    tokens: Sequence[str],
    names: Sequence[str],
    *,
    difference: bool = False,
    marked: Sequence[int] = (),
    selected: tuple[int, int] | None = None,
) -> Heatmap:
    """Activations of some features (rows) at every token (columns); with `difference`, changed − baseline.

    Full colour is the largest behind the first token, whose activations are larger by orders of magnitude in many models.
    """
    values = acts[:, list(chosen)].T.astype(float)
    behind = values[:, 1:] if values.shape[1] > 1 else values
    limit = symmetric_limit(behind) if difference else max(1e-6, float(np.nanmax(behind, initial=0.0)))
    hovers = [
        f"{names[row]}\n{position_label(tokens[column], column)}\n{values[row, column]:+.3f}" if difference
        else f"{names[row]}\n{position_label(tokens[column], column)}\nactivation {values[row, column]:.3f}"
        for row in range(len(chosen)) for column in range(len(tokens))
    ]  # fmt: skip
    marks = [Mark(row, None, "ablated") for row, index in enumerate(chosen) if index in marked]
    if selected is not None:
        marks.append(Mark(*selected, "selected"))
    return Heatmap(
        values, -limit if difference else 0.0, limit, "diverging" if difference else "sequential",
        "changed − baseline" if difference else "activation", "token", "feature",
        [(number, position_label(text, number)) for number, text in enumerate(tokens)],
        [(number, name if len(name) <= 34 else name[:33] + "…") for number, name in enumerate(names)],
        hovers, 130 + 22 * len(chosen), False, marks=marks,
    )  # fmt: skip


def attribution_picture(
    shown: Shown,
    labels: Mapping[str, str],
    selected: str = "",
    groups: Sequence[Group] = (),
    marked: frozenset[str] = frozenset(),
) -> Graph:
    """A pruned attribution graph: positions along x, layers up; groups are drawn as one node.

    Blue edges raise what they reach, orange ones lower it; width is the share of their target's input.  Errors are grey diamonds of
    a size that follows their influence.
    """
    graph = shown.graph
    member = {name: f":{group.name}" for group in groups for name in group.nodes}
    drawn = [number for number in map(int, np.flatnonzero(shown.nodes)) if worth_drawing(shown, number)]
    ids = {number: member.get(graph.nodes[number].name, graph.nodes[number].name) for number in drawn}
    totals = np.abs(graph.edges).sum(1)
    joined: dict[tuple[str, str], float] = {}
    for target, source in zip(*np.nonzero(shown.edges), strict=True):
        ends = ids.get(int(source)), ids.get(int(target))
        if ends[0] is not None and ends[1] is not None and ends[0] != ends[1]:
            share = graph.edges[target, source] / max(totals[target], 1e-12)
            joined[ends[0], ends[1]] = joined.get((ends[0], ends[1]), 0.0) + float(share)
    strongest = sorted(joined.items(), key=lambda item: -abs(item[1]))[:MOST_EDGES]
    places, columns = laid_out(graph, drawn)
    nodes, seen = [], set()
    for number in drawn:
        id_ = ids[number]
        if id_ not in seen:
            seen.add(id_)
            mine = [other for other in drawn if ids[other] == id_]
            at = tuple(float(np.mean([places[other][axis] for other in mine])) for axis in (0, 1))
            nodes.append(node_picture(graph, number, id_, (at[0], at[1]), labels, len(mine), id_ in marked))
    edges = [
        GraphEdge(f"{source}->{target}", source, target, THINNEST + (WIDEST - THINNEST) * min(1.0, abs(share)), BLUE if share >= 0 else ORANGE,
                  f"{source} → {target}\n{share:+.1%} of its input")
        for (source, target), share in strongest
    ]  # fmt: skip
    layers = sorted({graph.nodes[number].layer for number in drawn})
    rows = [
        (min(places[number][1] for number in drawn if graph.nodes[number].layer == layer), row_name(graph, layer))
        for layer in layers
    ]
    heads = [
        (float(np.mean(columns[position])), position_label(text, position))
        for position, text in enumerate(graph.tokens)
        if position in columns
    ]
    height = int(min(900, max(520, max((y for _, y in places.values()), default=0.0) + STEP_Y)))
    return Graph(nodes, edges, rows, heads, {}, selected, height)


def worth_drawing(shown: Shown, number: int) -> bool:
    """Features and logits; tokens and errors that an edge is drawn from."""
    return shown.graph.nodes[number].kind in ("feature", "logit") or bool(shown.edges[:, number].any())


def row_name(graph: AttributionGraph, layer: int) -> str:
    if layer < 0:
        return "tokens"
    return "logits" if any(node.kind == "logit" and node.layer == layer for node in graph.nodes) else f"L{layer}"


Cells = dict[tuple[int, int], list[int]]
"""Drawn nodes by layer and position, the most influential first."""


def column_places(cells: Cells, wide: int) -> dict[int, tuple[float, float]]:
    """Left and right of each position's column: as wide as its fullest row needs, narrow where it holds no features."""
    counts: dict[int, int] = {}
    for (_, position), members in cells.items():
        counts[position] = max(counts.get(position, 1), min(wide, len(members)))
    places, x = {}, 0.0
    for position in sorted(counts):
        step = STEP_X if counts[position] > 1 else NARROW
        places[position] = (x, x + step * (counts[position] - 1))
        x += step * counts[position]
    return places


def row_places(cells: Cells, wide: int) -> dict[int, float]:
    """Top of each layer, which is as high as its fullest position needs; the last entry is the whole height."""
    places, top = {}, 0.0
    for layer in sorted({layer for layer, _ in cells}, reverse=True):
        places[layer] = top
        lines = max(-(-len(members) // wide) for (own, _), members in cells.items() if own == layer)
        top += STEP_Y + LINE * (lines - 1)
    return places


def laid_out(
    graph: AttributionGraph, drawn: Sequence[int]
) -> tuple[dict[int, tuple[float, float]], dict[int, tuple[float, float]]]:
    """Places of the nodes, and left and right of each position's column."""
    cells: Cells = {}
    for number in sorted(drawn, key=lambda each: -graph.influence[each]):
        cells.setdefault((graph.nodes[number].layer, graph.nodes[number].position), []).append(number)
    for wide in ROWS:
        columns, rows = column_places(cells, wide), row_places(cells, wide)
        if max(right for _, right in columns.values()) <= ASPECT * (max(rows.values()) + STEP_Y):
            break
    places = {}
    for (layer, position), members in cells.items():
        for place, number in enumerate(members):
            line, column = divmod(place, wide)
            places[number] = (columns[position][0] + STEP_X * column, rows[layer] + LINE * line)
    return places, columns


def node_picture(
    graph: AttributionGraph,
    number: int,
    id_: str,
    at: tuple[float, float],
    labels: Mapping[str, str],
    members: int,
    marked: bool,
) -> GraphNode:
    node, influence = graph.nodes[number], float(graph.influence[number])
    label, hover = texts_of(graph, node, labels)
    if id_.startswith(":"):
        label, hover = id_[1:], f"{id_[1:]}: {members} nodes"
    color = {"feature": BLUE, "error": GREY, "token": GREEN, "logit": ORANGE}[node.kind]
    size = 30.0 if node.kind != "error" else 10.0 + 26.0 * min(1.0, influence * 4)
    label = label if size > 24 else ""
    return GraphNode(
        id_,
        label,
        *at,
        color,
        f"{hover}\ninfluence {influence:.3f}",
        size,
        marked=marked,
        shape="diamond" if node.kind == "error" else "",
    )


def texts_of(graph: AttributionGraph, node: Node, labels: Mapping[str, str]) -> tuple[str, str]:
    match node.kind:
        case "feature":
            site = node.name.partition("@")[0]
            word = labels.get(site, "")
            return (
                word[:18] or f"{node.index}",
                f"{site} at {position_label(graph.tokens[node.position], node.position)}\n{word}\nactivation {node.value:.2f}",
            )
        case "error":
            return (
                "error",
                f"what L{node.layer}'s transcoder misses at {position_label(graph.tokens[node.position], node.position)}\nnorm {node.value:.2f}",
            )
        case "token":
            return token_label(
                graph.tokens[node.position]
            ), f"token {position_label(graph.tokens[node.position], node.position)}"
    name = graph.names[[other.index for other in graph.nodes if other.kind == "logit"].index(node.index)]
    return f"{token_label(name)} {node.value:.2f}", f"logit of {token_label(name)}\nprobability {node.value:.3f}"


def feature_circuit_picture(effects: FeatureEffects, labels: Mapping[str, str], selected: str = "") -> Graph:
    """Features of each place in a row, layers up, the error last.  Blue helps the answer; edges: how much of it comes through."""
    contributions = {place: effects.contribution(number) for number, place in enumerate(effects.places)}
    largest = max((float(np.abs(values).max()) for values in contributions.values()), default=1.0) or 1.0
    nodes, rows, edges = [], [], []
    height = CIRCUIT_Y * len(effects.places)
    for number, place in enumerate(effects.places):
        y = height - CIRCUIT_Y * number
        rows.append((y, place.partition(".")[0]))
        values = [float(contributions[place][index]) for index in effects.kept[number]]
        items = [
            (f"{place}/{index}", value, labels.get(f"{place}/{index}", "")[:16] or str(index))
            for index, value in zip(effects.kept[number], values, strict=True)
        ]
        items.append((f"{place}/error", -float(effects.errors[:, number].mean()), "error"))
        for column, (id_, value, label) in enumerate(items):
            error, size = id_.endswith("/error"), 14.0 + 26.0 * min(1.0, abs(value) / largest)
            nodes.append(
                GraphNode(
                    id_,
                    "" if error and size < 26 else label,
                    CIRCUIT_X * column,
                    y,
                    GREY if error else BLUE if value >= 0 else ORANGE,
                    f"{id_}\ncontribution {value:+.3f} logits",
                    size,
                    shape="diamond" if error else "",
                )
            )
    for number, matrix in enumerate(effects.edges):
        ups = [
            *(f"{effects.places[number]}/{index}" for index in effects.kept[number]),
            f"{effects.places[number]}/error",
        ]
        downs = [
            *(f"{effects.places[number + 1]}/{index}" for index in effects.kept[number + 1]),
            f"{effects.places[number + 1]}/error",
        ]
        peak = float(np.abs(matrix).max()) or 1.0
        for down, up in zip(*np.nonzero(np.abs(matrix) > 0.05 * peak), strict=True):
            value = -float(matrix[down, up])
            edges.append(
                GraphEdge(
                    f"{ups[up]}->{downs[down]}",
                    ups[up],
                    downs[down],
                    THINNEST + (WIDEST - THINNEST) * abs(value) / peak,
                    BLUE if value >= 0 else ORANGE,
                    f"{ups[up]} → {downs[down]}\n{value:+.3f} logits",
                )
            )
    return Graph(nodes, edges, rows, selected=selected, height=int(min(800, max(420, height + 120))))


def dose_lines(found: DoseResponse, what: str = "objective") -> Lines:
    """Objective, or KL on unrelated text, by dose: the feature, and the middle and 95 % of random features of equal norm."""
    own, random = (
        (found.objective, found.random_objective)
        if what == "objective"
        else (found.side_effect, found.random_side_effect)
    )
    series = [Series(str(found.feature), own, BLUE)]
    if len(random):
        low, middle, high = np.quantile(random, [0.025, 0.5, 0.975], axis=0)
        series += [
            Series("random, median", middle, GREY),
            Series("random, 2.5 %", low, GREY, True),
            Series("random, 97.5 %", high, GREY, True),
        ]
    title = "objective, logits" if what == "objective" else "KL on unrelated text, nats"
    return Lines(
        series,
        "dose",
        title,
        *limits(series),
        places=np.array(found.doses, dtype=float),
        dashed_name="95 % of random features",
    )


def histogram(
    counts: Int[np.ndarray, " bin"],
    edges: Float[np.ndarray, " edge"],
    x_title: str,
    what: str,
    selected: float | None = None,
) -> Lines:
    """Counts of bins of equal width, on a log10 scale (0 where there are none); the bin of `selected` is marked."""
    values = np.log10(1 + counts.astype(float))
    at = None if selected is None else int(np.clip(np.searchsorted(edges, selected, "right") - 1, 0, len(counts) - 1))
    return Lines(
        [Series(f"{what} (log10(1 + count))", values, BLUE)],
        x_title,
        "log10(1 + count)",
        0.0,
        max(1.0, 1.05 * float(values.max(initial=0))),
        selected=at,
        height=200,
        places=(edges[:-1] + edges[1:]) / 2,
        bars=True,
    )


def density_histogram(densities: Float[np.ndarray, " feature"], selected: float | None = None) -> Lines:
    """Features by how often they fire, in half decades; those that never do stand in the first."""
    return density_bars(density_counts(densities), None if selected is None else float(log_density(np.array(selected))))


def density_bars(counts: Int[np.ndarray, " bin"], selected: float | None = None) -> Lines:
    """The same of counts, as a card holds them; `selected` is a log10."""
    edges = np.array(DENSITY_EDGES)
    return histogram(counts, edges, "log10 of the share of tokens at which it fires", "features", selected)


def toy_interference(toy: Toy) -> Heatmap:
    """WᵀW of a toy model: 1 on the diagonal for features that are represented, what disturbs elsewhere."""
    values = toy.interference
    n = len(values)
    limit = symmetric_limit(values)
    labels = [(number, str(number)) for number in range(0, n, max(1, n // 20))]
    hovers = [f"features {row} and {column}\n{values[row, column]:+.3f}" for row in range(n) for column in range(n)]
    return Heatmap(
        values.astype(float),
        -limit,
        limit,
        "diverging",
        "WᵀW",
        "feature",
        "feature",
        labels,
        labels,
        hovers,
        360,
        False,
    )
