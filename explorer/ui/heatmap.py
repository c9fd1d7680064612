"""The live renderer of a `Heatmap`: a canvas that is updated in place, so that a click changes it without a flicker.

(Streamlit takes a plotly chart down and mounts a new one whenever its data change; that costs about 0.3 s a click.)
"""

import base64
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import streamlit as st

from explorer.plots.heatmap import MARK_COLORS, Heatmap
from explorer.plots.theme import PALETTES, Ramp
from explorer.ui.canvas import chart

_canvas = chart("heatmap_canvas", "heatmap.js", "<canvas class='ce-over'></canvas>")

Click = Callable[[int, int], None]


def heatmap(
    shown: Heatmap,
    key: str,
    on_click: Click | None = None,
    *,
    on_collect: Click | None = None,
    on_clear: Callable[[], None] | None = None,
    locked: tuple[int, int | None] | None = None,
) -> None:
    """Draw it.  A click, or Enter on the cell walked to with the arrow keys, calls `on_click(row, column)`; with Ctrl or Cmd
    `on_collect`; Escape `on_clear`.  `locked` is a destination and source that stay marked in attention."""

    def take() -> None:
        target = st.session_state[f"{key}_canvas"].target
        if not target:
            return
        if target.get("clear"):
            if on_clear is not None:
                on_clear()
            return
        act = on_collect if target.get("collect") and on_collect is not None else on_click
        if act is not None:
            act(int(target["row"]), int(target["column"]))

    place = None if locked is None else {"dest": locked[0], "source": locked[1]}
    with st.container(key=key):
        _canvas(key=f"{key}_canvas", data=payload(shown) | {"name": key, "locked": place}, on_target_change=take)


def no_heatmap(key: str) -> None:
    """The place of a heatmap that is not shown now: it stays mounted, since mounting one costs the browser some 0.1 s."""
    with st.container(key=key):
        _canvas(key=f"{key}_canvas", data={"hidden": True}, on_target_change=lambda: None)


def payload(shown: Heatmap) -> dict[str, Any]:
    """What the canvas needs, JSON-ready; cells and colours as base64 bytes."""
    rows, columns = shown.shape
    return {
        "hidden": False,
        "cells": base64.b64encode(shown.levels().tobytes()).decode(),
        "cellRows": shown.values.shape[0],
        "cellColumns": shown.values.shape[1],
        "rows": rows,
        "columns": columns,
        "pitch": shown.pitch,
        "side": shown.side,
        "tokens": shown.tokens,
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
        "hatched": "" if shown.hatched is None else base64.b64encode(shown.hatched.astype(np.uint8).tobytes()).decode(),
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
