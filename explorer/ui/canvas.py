"""What charts on a canvas share: their element, their styles, and saving them as pictures."""

from pathlib import Path
from typing import Any

import streamlit as st

HERE = Path(__file__).parent
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
