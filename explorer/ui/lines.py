"""The live renderer of `Lines`: a canvas that is updated in place."""

from collections.abc import Callable

import streamlit as st

from explorer.plots.lines import Lines
from explorer.plots.theme import ORANGE
from explorer.ui.canvas import chart

_canvas = chart("line_canvas", "lines.js")


def line_chart(shown: Lines, key: str, on_click: Callable[[int], None]) -> None:
    """Draw it; a click, or Enter on the place walked to with the arrow keys, calls `on_click` with x."""

    def take() -> None:
        x = st.session_state[f"{key}_canvas"].x
        if x is not None:
            on_click(int(x))

    data = {
        "name": key,
        "series": [
            {"name": each.name, "values": each.values.tolist(), "color": each.color, "dashed": each.dashed}
            for each in shown.series
        ],
        "points": max((len(each.values) for each in shown.series), default=0),
        "xTitle": shown.x_title,
        "yTitle": shown.y_title,
        "low": shown.low,
        "high": shown.high,
        "selected": shown.selected,
        "height": shown.height,
        "reversed": shown.reversed,
        "places": None if shown.places is None else shown.places.tolist(),
        "bars": shown.bars,
        "marked": ORANGE,
        "labels": None if shown.x_labels is None else list(shown.x_labels),
        "dashedName": shown.dashed_name,
    }
    with st.container(key=key):
        _canvas(key=f"{key}_canvas", data=data, on_x_change=take)
