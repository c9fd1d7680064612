"""Clicks on plotly charts, through one small listener component.

Streamlit's own selection events do not fire for heatmaps; this component listens to `plotly_click` on the chart beside it.
"""

from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go
import streamlit as st

LISTENER = """
export default function (component) {
  const { setTriggerValue, data } = component;
  let chart = null, stopped = false;
  const onClick = (event) => {
    const point = event.points && event.points[0];
    if (point) setTriggerValue("point", { x: point.x, y: point.y });
  };
  const attach = () => {
    if (stopped) return;
    const found = document.querySelector(".st-key-" + data.chart + " .js-plotly-plot");
    if (found && found !== chart && found.on) {
      if (chart && chart.removeListener) chart.removeListener("plotly_click", onClick);
      chart = found;
      chart.on("plotly_click", onClick);
      chart.setAttribute("data-clickable", "true");
    }
    setTimeout(attach, 100);
  };
  attach();
  return () => {
    stopped = true;
    if (chart && chart.removeListener) chart.removeListener("plotly_click", onClick);
  };
}
"""

_listener = st.components.v2.component("plotly_click_listener", js=LISTENER)

CONFIG = {
    "displayModeBar": "hover",
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
}


def clickable(figure: go.Figure, key: str, on_click: Callable[[dict[str, Any]], None]) -> None:
    """Draw a figure; a click calls `on_click` with x and y of the point."""
    with st.container(key=key):
        st.plotly_chart(figure, key=f"{key}_chart", width="stretch", config=CONFIG)
    state_key = f"{key}_clicks"

    def take() -> None:
        point = st.session_state[state_key].point
        if point:
            on_click(dict(point))

    _listener(key=state_key, data={"chart": key}, on_point_change=take)
