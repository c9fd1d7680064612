"""The live renderer of a `Heatmap`: a canvas that is updated in place, so that a click changes it without a flicker.

(Streamlit takes a plotly chart down and mounts a new one whenever its data change; that costs about 0.3 s a click.)
"""

import base64
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from explorer.plots.heatmap import MARK_COLORS, Heatmap
from explorer.plots.theme import PALETTES, Ramp

_canvas = st.components.v2.component(
    "heatmap_canvas",
    html="<div class='ce-map'><canvas tabindex='0' role='application'></canvas><div class='ce-tip' role='status'></div></div>",
    css=(Path(__file__).parent / "heatmap.css").read_text(),
    js=(Path(__file__).parent / "heatmap.js").read_text(),
    isolate_styles=False,
)


def heatmap(shown: Heatmap, key: str, on_click: Callable[[int, int], None]) -> None:
    """Draw it; a click, or Enter on the cell walked to with the arrow keys, calls `on_click(row, column)`."""

    def take() -> None:
        target = st.session_state[f"{key}_canvas"].target
        if target:
            on_click(int(target["row"]), int(target["column"]))

    with st.container(key=key):
        _canvas(key=f"{key}_canvas", data=payload(shown), on_target_change=take)


def payload(shown: Heatmap) -> dict[str, Any]:
    """What the canvas needs, JSON-ready; cells and colours as base64 bytes."""
    rows, columns = shown.shape
    return {
        "cells": base64.b64encode(shown.levels().tobytes()).decode(),
        "cellRows": shown.values.shape[0],
        "cellColumns": shown.values.shape[1],
        "rows": rows,
        "columns": columns,
        "pitch": shown.pitch,
        "upwards": shown.upwards,
        "height": shown.height,
        "low": shown.low,
        "high": shown.high,
        "colors": base64.b64encode(lookup(PALETTES[shown.palette]).tobytes()).decode(),
        "legend": shown.legend,
        "title": shown.title,
        "xTitle": shown.x_title,
        "yTitle": shown.y_title,
        "xLabels": [list(label) for label in shown.x_labels],
        "yLabels": [list(label) for label in shown.y_labels],
        "hovers": list(shown.hovers),
        "texts": list(shown.texts),
        "marks": [asdict(mark) | {"color": MARK_COLORS[mark.color], "kind": mark.color} for mark in shown.marks],
    }


def lookup(ramp: Ramp) -> np.ndarray:
    """Colours of the levels 0 to 255 as [256, 4] bytes (red, green, blue, opacity); level 0 is blank."""
    at = np.linspace(0, 1, 255)
    stops = [place for place, _ in ramp]
    channels = [
        np.interp(at, stops, [color[index] * (255 if index == 3 else 1) for _, color in ramp]) for index in range(4)
    ]
    return np.vstack([np.zeros((1, 4)), np.stack(channels, -1)]).round().astype(np.uint8)
