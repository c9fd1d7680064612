"""A graph as a value: nodes with places, edges between them.  Drawn by plotly for notebooks, by a canvas that takes clicks for pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import plotly.graph_objects as go

from explorer.plots.theme import figure, safe


@dataclass(frozen=True)
class GraphNode:
    id: str
    label: str
    x: float
    y: float
    color: str
    hover: str
    size: float = 30.0
    parent: str = ""
    """The group whose box it is shown in."""
    ring: str = ""
    """The colour of its group, where a box would hold others too."""
    marked: bool = False
    """Whether an intervention acts on it."""
    thumbnail: str = ""
    """An attention pattern: rows of digits 0 to 9, parted by line breaks."""
    shape: str = ""
    """`diamond` for what is no component, such as an error; empty for a box around the label."""


@dataclass(frozen=True)
class GraphEdge:
    id: str
    source: str
    target: str
    width: float
    color: str
    hover: str
    kind: str = ""
    """q, k, v, mlp_in, logits; "inside" for what is no edge of the circuit but shows to whom a reader belongs."""
    marked: bool = False


@dataclass(frozen=True, eq=False)
class Graph:
    nodes: Sequence[GraphNode]
    edges: Sequence[GraphEdge]
    rows: Sequence[tuple[float, str]]
    """Names of the rows and where they lie."""
    columns: Sequence[tuple[float, str]] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    """Groups that nodes name as their parents: id to label."""
    selected: str = ""
    height: int = 620


def to_plotly(graph: Graph) -> go.Figure:
    """The same picture as a plotly figure."""
    drawn = figure(graph.height, showlegend=False)
    places = {node.id: (node.x, -node.y) for node in graph.nodes}
    for edge in graph.edges:
        (x, y), (to_x, to_y) = places[edge.source], places[edge.target]
        drawn.add_trace(
            go.Scatter(
                x=[x, to_x], y=[y, to_y], mode="lines", line={"width": edge.width, "color": edge.color}, opacity=0.6,
                hoverinfo="skip",
            )
        )  # fmt: skip
    drawn.add_trace(
        go.Scatter(
            x=[places[node.id][0] for node in graph.nodes],
            y=[places[node.id][1] for node in graph.nodes],
            mode="markers+text",
            text=[safe(node.label) for node in graph.nodes],
            textfont={"size": 10},
            marker={"size": [node.size * 0.8 for node in graph.nodes], "color": [node.color for node in graph.nodes]},
            customdata=[safe(node.hover).replace("\n", "<br>") for node in graph.nodes],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    drawn.update_xaxes(visible=False)
    drawn.update_yaxes(
        tickvals=[-y for y, _ in graph.rows], ticktext=[safe(name) for _, name in graph.rows], showgrid=False
    )
    return drawn
