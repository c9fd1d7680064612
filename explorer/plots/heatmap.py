"""A heatmap as a value: what is drawn, what can be pointed at, and what colour means.

Two renderers read it: `to_plotly` for notebooks and export, and the canvas of ui/heatmap.py for the live pages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float, UInt8

from explorer.plots.theme import BLUE, GREEN, GREY, ORANGE, PALETTES, Palette, color_scale, figure, safe

MarkColor = Literal["selected", "ablated", "pinned", "row", "cell"]
MARK_COLORS: dict[MarkColor, str] = {"selected": BLUE, "ablated": ORANGE, "pinned": GREEN, "row": GREY, "cell": ORANGE}


@dataclass(frozen=True)
class Mark:
    """An outline around one target, or around a whole row of targets (`column` None)."""

    row: int
    column: int | None
    color: MarkColor
    opacity: float = 1.0


@dataclass(frozen=True, eq=False)
class Heatmap:
    """Values on a grid.  A *target* is what a pointer meets: one cell, or a block of cells such as a thumbnail."""

    values: Float[np.ndarray, "row column"]
    """NaN is left blank."""
    low: float
    high: float
    palette: Palette
    legend: str
    """What the colour means; empty where `title` says it."""
    x_title: str
    y_title: str
    x_labels: Sequence[tuple[int, str]]
    """Target column and its label, as plain text; columns left out have none."""
    y_labels: Sequence[tuple[int, str]]
    hovers: Sequence[str]
    """One plain text a target, row by row; lines are parted by line breaks."""
    height: int
    """Pixels."""
    upwards: bool
    """Whether row 0 is drawn at the bottom."""
    pitch: int = 1
    """Cells from one target to the next, in both directions."""
    texts: Sequence[str] = ()
    """One text a cell, row by row, drawn inside it."""
    marks: Sequence[Mark] = ()
    hatched: Bool[np.ndarray, "row column"] | None = None
    """Cells that are estimated, not measured."""
    title: str = ""
    tokens: int = 0
    """Tokens that a cell spans on both axes of a target, where rows are destinations and columns sources; 0 elsewhere.
    Pointing at a token there shows it in every such heatmap of the page."""

    @property
    def side(self) -> int:
        """Cells of a target that are drawn; the rest of its pitch is a gap."""
        return self.pitch if self.pitch == 1 else int((~np.isnan(self.values[: self.pitch, 0])).sum())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of targets."""
        rows, columns = self.values.shape
        return -(-rows // self.pitch), -(-columns // self.pitch)

    def levels(self) -> UInt8[np.ndarray, "row column"]:
        """Values as 1 to 255, blanks as 0: what a screen can show."""
        scaled = 1 + 254 * (self.values - self.low) / max(self.high - self.low, 1e-12)
        filled = np.clip(np.nan_to_num(scaled, nan=1.0), 1, 255).round()
        return np.where(np.isnan(self.values), 0, filled).astype(np.uint8)


def to_plotly(heatmap: Heatmap) -> go.Figure:
    """The same picture as a plotly figure."""
    drawn = figure(heatmap.height, title={"text": safe(heatmap.title), "font": {"size": 13}})
    fine = heatmap.pitch == 1
    drawn.add_trace(
        go.Heatmap(
            z=heatmap.values.astype(np.float32),
            zmin=heatmap.low,
            zmax=heatmap.high,
            colorscale=color_scale(PALETTES[heatmap.palette]),
            showscale=bool(heatmap.legend),
            colorbar={"title": {"text": safe(heatmap.legend), "side": "right"}, "thickness": 10, "outlinewidth": 0},
            hoverinfo="skip",
            xgap=1 if fine else 0,
            ygap=1 if fine else 0,
        )
    )
    if heatmap.hatched is not None and heatmap.hatched.any():
        drawn.add_trace(hatch_trace(heatmap.hatched))
    drawn.add_trace(hover_trace(heatmap))
    if heatmap.texts:
        drawn.add_trace(text_trace(heatmap))
    middle = (heatmap.pitch - 1) / 2
    for update, title, labels in (
        (drawn.update_xaxes, heatmap.x_title, heatmap.x_labels),
        (drawn.update_yaxes, heatmap.y_title, heatmap.y_labels),
    ):
        places, names = [at * heatmap.pitch + middle for at, _ in labels], [safe(text) for _, text in labels]
        update(title=safe(title), tickvals=places, ticktext=names, automargin=True)
    if not heatmap.upwards:
        drawn.update_yaxes(autorange="reversed")
    for mark in heatmap.marks:
        drawn.add_shape(**outline(heatmap, mark))
    return drawn


def hover_trace(heatmap: Heatmap) -> go.Heatmap:
    """One invisible cell a target, which takes the hovers."""
    rows, columns = heatmap.shape
    middle = (heatmap.pitch - 1) / 2
    lines = np.array([safe(text).replace("\n", "<br>") for text in heatmap.hovers], dtype=object).reshape(rows, columns)
    return go.Heatmap(
        z=np.zeros((rows, columns)),
        x=np.arange(columns) * heatmap.pitch + middle,
        y=np.arange(rows) * heatmap.pitch + middle,
        customdata=lines.tolist(),
        hovertemplate="%{customdata}<extra></extra>",
        colorscale=[[0, "rgba(0,0,0,0)"], [1, "rgba(0,0,0,0)"]],
        showscale=False,
    )


def hatch_trace(hatched: Bool[np.ndarray, "row column"]) -> go.Scatter:
    """A stroke across each estimated cell."""
    rows, columns = hatched.nonzero()
    stroke = {"symbol": "line-ne", "size": 9, "line": {"width": 1, "color": GREY}}
    return go.Scatter(x=columns, y=rows, mode="markers", marker=stroke, hoverinfo="skip", showlegend=False)


def text_trace(heatmap: Heatmap) -> go.Scatter:
    rows, columns = np.divmod(np.arange(heatmap.values.size), heatmap.values.shape[1])
    return go.Scatter(
        x=columns,
        y=rows,
        text=[safe(text) for text in heatmap.texts],
        mode="text",
        textfont={"size": 10},
        hoverinfo="skip",
        showlegend=False,
    )


def outline(heatmap: Heatmap, mark: Mark) -> dict[str, object]:
    _, columns = heatmap.shape
    first, last = (0, columns) if mark.column is None else (mark.column, mark.column + 1)
    return {
        "type": "rect",
        "x0": first * heatmap.pitch - 0.5,
        "x1": last * heatmap.pitch - 0.5,
        "y0": mark.row * heatmap.pitch - 0.5,
        "y1": (mark.row + 1) * heatmap.pitch - 0.5,
        "line": {"color": MARK_COLORS[mark.color], "width": 2},
        "opacity": mark.opacity,
    }
