"""A line chart as a value: series over whole numbers such as layers, or over places; counts are drawn as bars.  Drawn by plotly for notebooks, on a canvas for pages."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from explorer.plots.theme import ORANGE, figure, safe


@dataclass(frozen=True, eq=False)
class Series:
    name: str
    values: Float[np.ndarray, " x"]
    color: str
    dashed: bool = False
    """The baseline's, beside the changed one's."""


@dataclass(frozen=True, eq=False)
class Lines:
    series: Sequence[Series]
    x_title: str
    y_title: str
    low: float
    high: float
    selected: int | None = None
    """An x that is marked."""
    height: int = 300
    reversed: bool = False
    """Whether small values stand on top (ranks)."""
    x_labels: Sequence[str] | None = None
    """Names of the places along x, where they are not numbers from 0 on."""
    places: Float[np.ndarray, " x"] | None = None
    """Where the values stand along x, where that is not 0, 1, 2 …"""
    bars: bool = False
    """Whether they are counts of bins of equal width, whose middles are the places."""
    dashed_name: str = "baseline"
    """What dashed lines are, in the legend."""


def limits(series: Sequence[Series]) -> tuple[float, float]:
    """A range that holds every value, with some room."""
    values = np.concatenate([each.values for each in series]) if series else np.zeros(1)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = 0.04 * (high - low) or 0.5
    return low - room, high + room


def to_plotly(lines: Lines) -> go.Figure:
    """The same picture as a plotly figure."""
    drawn = figure(lines.height, legend={"orientation": "h", "y": 1.2, "x": 0}, hovermode="x unified")
    for each in lines.series:
        x = np.arange(len(each.values)) if lines.places is None else lines.places
        if lines.bars:
            colors = [ORANGE if at == lines.selected else each.color for at in range(len(each.values))]
            drawn.add_trace(
                go.Bar(x=x, y=each.values, name=safe(each.name), marker={"color": colors}, hovertemplate="%{y:.3f}")
            )
            continue
        drawn.add_trace(
            go.Scatter(
                x=x,
                y=each.values,
                name=safe(each.name),
                mode="lines" if each.dashed else "lines+markers",
                line={
                    "color": each.color,
                    "dash": "dash" if each.dashed else "solid",
                    "width": 1.5 if each.dashed else 2.5,
                },
                marker={"size": 5},
                hovertemplate="%{y:.3f}",
            )
        )
    drawn.update_xaxes(title=safe(lines.x_title))
    if lines.x_labels is not None:
        drawn.update_xaxes(tickvals=list(range(len(lines.x_labels))), ticktext=[safe(text) for text in lines.x_labels])
    vertical = [lines.high, lines.low] if lines.reversed else [lines.low, lines.high]
    drawn.update_yaxes(title=safe(lines.y_title), range=vertical, showgrid=True, gridcolor="rgba(128,128,128,0.18)")
    return drawn
