"""What all figures share: safe text, colours that work on light and dark, quiet axes.

Colours are ramps of opacity, so the same figure reads on a light and on a dark page.  Blue against orange is told
apart by the colour-blind (Okabe & Ito 2008).
"""

import html
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from explorer.prompts.tokens import visible

BLUE, ORANGE, GREEN, GREY = "#2b7fd4", "#e07b00", "#22a05a", "#8a8f98"

Color = tuple[int, int, int, float]
"""Red, green, blue (0 to 255) and opacity (0 to 1)."""
Ramp = list[tuple[float, Color]]
"""A colour scale: positions from 0 to 1, each with its colour."""
Palette = Literal["sequential", "reversed", "diverging"]

SEQUENTIAL: Ramp = [(0.0, (43, 127, 212, 0.04)), (0.5, (43, 127, 212, 0.5)), (1.0, (43, 127, 212, 0.95))]
DIVERGING: Ramp = [
    (0.0, (224, 123, 0, 0.95)),
    (0.25, (224, 123, 0, 0.5)),
    (0.5, (128, 128, 128, 0.03)),
    (0.75, (43, 127, 212, 0.5)),
    (1.0, (43, 127, 212, 0.95)),
]
PALETTES: dict[Palette, Ramp] = {
    "sequential": SEQUENTIAL,
    "reversed": [(1 - at, color) for at, color in reversed(SEQUENTIAL)],
    "diverging": DIVERGING,
}


def color_scale(ramp: Ramp) -> list[tuple[float, str]]:
    """A ramp in plotly's words."""
    return [(at, f"rgba({red},{green},{blue},{opacity})") for at, (red, green, blue, opacity) in ramp]


def safe(text: str) -> str:
    """A text that plotly shows as it is: plotly reads tags and entities in labels and hovers."""
    return html.escape(text, quote=True)


def token_label(text: str, longest: int = 14) -> str:
    """A token as plain text for a label or cell: white space visible, long tokens shortened."""
    shown = visible(text)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def position_label(text: str, position: int) -> str:
    """A token of an axis with its position, so that equal tokens are told apart."""
    return f"{token_label(text)} {position}"


def figure(height: int, **layout: Any) -> go.Figure:
    """An empty figure in the house style."""
    made = go.Figure()
    style: dict[str, Any] = {
        "height": height,
        "margin": {"l": 58, "r": 12, "t": 36, "b": 48},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hoverlabel": {"align": "left"},
        "dragmode": False,
    }
    made.update_layout(**(style | layout))
    made.update_xaxes(showgrid=False, zeroline=False, title_standoff=6)
    made.update_yaxes(showgrid=False, zeroline=False, title_standoff=6)
    return made


def symmetric_limit(values: np.ndarray, least: float = 0.05) -> float:
    """Full colour of a difference, on both sides of 0: its largest magnitude, but never less than `least`."""
    return max(least, float(np.nanmax(np.abs(values), initial=0.0)))
