"""What all figures share: safe text, colours that work on light and dark, quiet axes.

Colours are ramps of opacity, so the same figure reads on a light and on a dark page.  Blue against orange is told
apart by the colour-blind (Okabe & Ito 2008).
"""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from explorer.prompts.tokens import visible

BLUE, ORANGE, GREY = "#2b7fd4", "#e07b00", "#8a8f98"
Ramp = list[tuple[float, str]]
"""A colour scale: positions from 0 to 1, each with its colour."""

SEQUENTIAL: Ramp = [(0.0, "rgba(43,127,212,0.04)"), (0.5, "rgba(43,127,212,0.55)"), (1.0, "rgba(43,127,212,1)")]
DIVERGING: Ramp = [
    (0.0, "rgba(224,123,0,1)"),
    (0.25, "rgba(224,123,0,0.55)"),
    (0.5, "rgba(128,128,128,0.03)"),
    (0.75, "rgba(43,127,212,0.55)"),
    (1.0, "rgba(43,127,212,1)"),
]


def safe(text: str) -> str:
    """A text that plotly shows as it is: plotly reads tags and entities in labels and hovers."""
    return html.escape(text, quote=True)


def token_label(text: str, longest: int = 14) -> str:
    """A token as an axis label or cell text: white space visible, tags harmless, long tokens shortened."""
    shown = visible(text)
    return safe(shown if len(shown) <= longest else shown[: longest - 1] + "…")


def position_labels(texts: Sequence[str], positions: Sequence[int]) -> list[str]:
    """Tokens of an axis, with their positions, so that equal tokens are told apart."""
    return [f"{token_label(text)} <sup>{position}</sup>" for text, position in zip(texts, positions, strict=True)]


def figure(height: int, **layout: Any) -> go.Figure:
    """An empty figure in the house style."""
    made = go.Figure()
    style: dict[str, Any] = {
        "height": height,
        "margin": margins(),
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hoverlabel": {"align": "left"},
        "dragmode": False,
    }
    made.update_layout(**(style | layout))
    made.update_xaxes(showgrid=False, zeroline=False, automargin=False, title_standoff=6)
    made.update_yaxes(showgrid=False, zeroline=False, automargin=False, title_standoff=6)
    return made


def margins(left: int = 58, bottom: int = 48, top: int = 36) -> dict[str, int]:
    """Margins in pixels, said outright: letting plotly measure them costs a second layout of each chart."""
    return {"l": left, "r": 12, "t": top, "b": bottom}


def label_room(texts: Sequence[str]) -> int:
    """Pixels that token labels need beside an axis, its title included."""
    return 52 + round(6.6 * min(14, max((len(text) for text in texts), default=0)))


def symmetric_limit(values: np.ndarray, least: float = 0.05) -> float:
    """Full colour of a difference, on both sides of 0: its largest magnitude, but never less than `least`."""
    return max(least, float(np.nanmax(np.abs(values), initial=0.0)))


def color_bar(title: str) -> dict[str, Any]:
    """A thin bar above the plot, so that the plot keeps the width."""
    return {
        "title": {"text": title, "side": "top", "font": {"size": 12}},
        "orientation": "h",
        "thickness": 8,
        "len": 0.5,
        "x": 1,
        "xanchor": "right",
        "y": 1.0,
        "yanchor": "bottom",
        "outlinewidth": 0,
        "tickfont": {"size": 10},
    }


def box(x0: float, x1: float, y0: float, y1: float, color: str, dash: str = "solid") -> dict[str, Any]:
    """A rectangle that marks a cell."""
    line = {"color": color, "width": 2, "dash": dash}
    return {"type": "rect", "x0": x0, "x1": x1, "y0": y0, "y1": y1, "line": line, "layer": "above"}
