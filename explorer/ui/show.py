"""Which run a page shows: the changed one, the baseline, or their difference."""

from typing import get_args

import streamlit as st

from explorer.ui import session
from explorer.ui.desk import Desk
from explorer.ui.state import Show


def show_control(desk: Desk, changed: bool | None = None, options: tuple[Show, ...] = get_args(Show)) -> None:
    """The choice; without an intervention at work there is nothing to choose."""
    st.segmented_control(
        "Show",
        options,
        required=True,
        disabled=not (desk.changed if changed is None else changed),
        help="The run under the interventions, the run without them"
        + (", or changed − baseline (orange: less, blue: more)." if "difference" in options else "."),
        **session.bound("show", desk.bench.show if desk.bench.show in options else options[0]),
    )


def shown_run(desk: Desk) -> Show:
    """What the page shows; without an intervention at work there is one run only."""
    return desk.bench.show if desk.changed else "baseline"
