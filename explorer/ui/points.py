"""The live renderer of `Points`: a canvas that is updated in place."""

from collections.abc import Callable

import numpy as np
import streamlit as st

from explorer.plots.points import Points
from explorer.plots.theme import BLUE, GREY, ORANGE
from explorer.ui.canvas import chart

_canvas = chart("point_canvas", "points.js")


def point_chart(shown: Points, key: str, on_click: Callable[[int], None] | None = None) -> None:
    """Draw it; a click on a point, or Enter on the one walked to with the arrow keys, calls `on_click` with its number."""

    def take() -> None:
        number = st.session_state[f"{key}_canvas"].point
        if number is not None and on_click is not None:
            on_click(int(number))

    (left, right), (low, high) = shown.ranges
    colors = np.full(len(shown.x), BLUE, dtype=object)
    colors[list(shown.faint)], colors[list(shown.strong)] = GREY, ORANGE
    data = {
        "name": key,
        "x": np.nan_to_num(shown.x).tolist(),
        "y": np.nan_to_num(shown.y).tolist(),
        "there": (np.isfinite(shown.x) & np.isfinite(shown.y)).tolist(),
        "colors": colors.tolist(),
        "hovers": list(shown.hovers),
        "left": left,
        "right": right,
        "low": low,
        "high": high,
        "xTicks": None if shown.x_ticks is None else [list(tick) for tick in shown.x_ticks],
        "xTitle": shown.x_title,
        "yTitle": shown.y_title,
        "title": shown.title,
        "diagonal": shown.diagonal,
        "vectors": shown.vectors,
        "band": None if shown.band is None else list(shown.band),
        "height": shown.height,
    }
    with st.container(key=key):
        _canvas(key=f"{key}_canvas", data=data, on_point_change=take)
