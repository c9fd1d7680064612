"""A page's frame: its workbench and desk, and at the foot of the sidebar link, notebook, keys and tour."""

import streamlit as st

from explorer.core.errors import ExplorerError
from explorer.core.sites import Kind
from explorer.ui import desk, session
from explorer.ui.assist import assist
from explorer.ui.desk import Desk
from explorer.ui.keep import keep_button
from explorer.ui.lesson_panel import lesson_panel
from explorer.ui.measures import page_notebook
from explorer.ui.state import Side, Workbench

SIDES: dict[Side, str] = {"clean": "clean prompt", "corrupt": "corrupt prompt"}


def page(title: str, keep: tuple[Kind, ...] = ()) -> Desk | None:
    """The desk of a page that has nothing to draw before it; None, with a message in place, where there is none."""
    bench = desk.open_page(title)
    side_control(bench)
    opened = desk.set_up(bench, desk.load(bench), keep)
    foot(title, opened)
    return opened


def side_control(bench: Workbench) -> None:
    """Which prompt of the pair the pages show."""
    if bench.pair.corrupt.strip() or bench.side == "corrupt":
        st.segmented_control(
            "Shown prompt",
            list(SIDES),
            format_func=SIDES.__getitem__,
            required=True,
            label_visibility="collapsed",
            help="The prompt of the pair that this and all other pages show.",
            **session.bound("side", bench.side),
        )


def foot(title: str, opened: Desk | None) -> None:
    """What every page offers, and the step of the lesson that is open."""
    lesson_panel(title, opened)
    with st.sidebar:
        st.space("small")
        assist(tour=not st.query_params.get("do"))
        if not session.address_is_whole():
            st.caption("The prompts are too long for the address: a copied link does not hold them. A preset does.")
        if opened is not None:
            keep_button(title, opened)
            st.download_button(
                "Notebook",
                lambda: safe_notebook(opened, title),
                f"{title.lower()}.ipynb",
                "application/x-ipynb+json",
                icon=":material/menu_book:",
                key="notebook",
                type="tertiary",
                on_click="ignore",
                help="This view as calls of the Python face, with its numbers to compare.",
            )


def safe_notebook(opened: Desk, title: str) -> str:
    try:
        return page_notebook(opened, title)
    except ExplorerError as error:
        return f"This view cannot be written as a notebook: {error}"
