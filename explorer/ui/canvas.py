"""What charts on a canvas share: their element, their styles, saving them as pictures, and when they are drawn.

A page draws its charts last, each in the place that was kept for it: the browser takes up to 0.3 s to show what comes
after a component that it has updated (React holds back what follows a Suspense boundary), and nothing should come after.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

HERE = Path(__file__).parent
WAITING = "_charts"
SAVE = "".join(
    f"<button data-kind='{kind}' aria-label='Save as {kind.upper()}'>{kind.upper()}</button>" for kind in ("png", "svg")
)


def chart(name: str, script: str, more: str = "") -> Any:
    """A component around a canvas; `script` draws, `more` is further HTML in its element."""
    return st.components.v2.component(
        name,
        html=f"<div class='ce-map'><canvas tabindex='0' role='application'></canvas>{more}"
        f"<div class='ce-save'>{SAVE}</div><div class='ce-tip' role='status'></div></div>",
        css=(HERE / "canvas.css").read_text(),
        js=(HERE / "picture.js").read_text() + (HERE / script).read_text(),
        isolate_styles=False,
    )


def begin_charts() -> None:
    """At the start of a page: none waits."""
    st.session_state[WAITING] = []


def draw_last(key: str, draw: Callable[[], None]) -> None:
    """Keep a chart's place here; it is drawn at the end of the page."""
    st.session_state[WAITING].append((st.container(key=key), draw))


def draw_charts() -> None:
    """At the end of a page: draw what waits."""
    for place, draw in st.session_state[WAITING]:
        with place:
            draw()
    begin_charts()
