"""A scatter of points as a value: drawn by plotly for notebooks, on a canvas for pages, where points can be clicked."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from explorer.plots.theme import BLUE, GREY, ORANGE, figure, safe


@dataclass(frozen=True, eq=False)
class Points:
    x: Float[np.ndarray, " point"]
    y: Float[np.ndarray, " point"]
    hovers: Sequence[str]
    """One plain text a point."""
    x_title: str
    y_title: str
    title: str = ""
    strong: Sequence[int] = ()
    """Points that stand out."""
    faint: Sequence[int] = ()
    diagonal: bool = False
    """Whether the line y = x is drawn, and both axes are alike."""
    vectors: bool = False
    """Whether each point ends a line from the origin, and both axes have one scale."""
    x_ticks: Sequence[tuple[float, str]] | None = None
    """Where x is no number: places and their names."""
    band: tuple[float, float] | None = None
    """A range of y that is shaded, such as a control's."""
    height: int = 300

    @property
    def ranges(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Limits of x and y, with some room; equal where there is a diagonal."""
        x, y = spread(self.x), spread(np.concatenate([self.y, self.band or ()]))
        if self.vectors:
            limit = max(map(abs, (*x, *y)))
            return (-limit, limit), (-limit, limit)
        if self.diagonal:
            x = y = (min(x[0], y[0]), max(x[1], y[1]))
        if self.x_ticks is not None:
            x = (min(at for at, _ in self.x_ticks) - 0.5, max(at for at, _ in self.x_ticks) + 0.5)
        return x, y


def spread(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room


def to_plotly(points: Points) -> go.Figure:
    """The same picture as a plotly figure."""
    drawn = figure(points.height, title={"text": safe(points.title), "font": {"size": 13}}, showlegend=False)
    (left, right), (low, high) = points.ranges
    if points.band is not None:
        drawn.add_hrect(*points.band, fillcolor=GREY, opacity=0.18, line_width=0)
    if points.diagonal:
        drawn.add_shape(
            type="line", x0=left, x1=right, y0=low, y1=high, line={"color": GREY, "width": 1, "dash": "dot"}
        )
    if points.vectors:
        for end_x, end_y in zip(points.x, points.y, strict=True):
            drawn.add_shape(type="line", x0=0, y0=0, x1=end_x, y1=end_y, line={"color": BLUE, "width": 1.5})
        drawn.update_yaxes(scaleanchor="x")
    colors = np.full(len(points.x), BLUE, dtype=object)
    colors[list(points.strong)], colors[list(points.faint)] = ORANGE, GREY
    texts = [safe(text).replace("\n", "<br>") for text in points.hovers]
    marker = {"size": 6, "color": colors.tolist(), "opacity": 0.75}
    drawn.add_trace(
        go.Scatter(x=points.x, y=points.y, mode="markers", marker=marker, customdata=texts, hovertemplate="%{customdata}<extra></extra>")
    )  # fmt: skip
    drawn.update_xaxes(title=safe(points.x_title), range=[left, right])
    if points.x_ticks is not None:
        drawn.update_xaxes(
            tickvals=[at for at, _ in points.x_ticks], ticktext=[safe(text) for _, text in points.x_ticks]
        )
    drawn.update_yaxes(title=safe(points.y_title), range=[low, high], showgrid=True, gridcolor="rgba(128,128,128,0.18)")
    return drawn
