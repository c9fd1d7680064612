"""The workbench of one browser: held in its session, mirrored in its address, with undo and redo."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlencode

import streamlit as st

from explorer.ui.address import LEFT_OUT, from_params, in_address, to_params
from explorer.ui.state import INPUTS, Entry, Workbench

BENCH, NOTES, UNDO, REDO = "_bench", "_address_notes", "_undo", "_redo"
UNDO_STEPS = 100


def bench() -> Workbench:
    """This browser's workbench; read from the address when the session starts."""
    if BENCH not in st.session_state:
        params = {name: st.query_params.get_all(name) for name in st.query_params}
        st.session_state[BENCH], st.session_state[NOTES] = from_params(params)
        st.session_state[UNDO], st.session_state[REDO] = [], []
    value: Workbench = st.session_state[BENCH]
    return value


def update(**changes: Any) -> None:
    """Change fields of the workbench; a change of what is run can be undone."""
    before, after = bench(), replace(bench(), **changes)
    if before.inputs() != after.inputs():
        st.session_state[UNDO] = [*st.session_state[UNDO], before][-UNDO_STEPS:]
        st.session_state[REDO] = []
    st.session_state[BENCH] = after


def set_text(field: str, text: str) -> None:
    """Change one text of the contrast pair."""
    update(pair=replace(bench().pair, **{field: text}))


def set_entries(entries: tuple[Entry, ...]) -> None:
    """Change the stack of interventions."""
    update(entries=entries)


def can_undo() -> bool:
    return bool(st.session_state.get(UNDO))


def can_redo() -> bool:
    return bool(st.session_state.get(REDO))


def undo() -> None:
    """Back to what was run before the last change of it; what is looked at stays."""
    step(UNDO, REDO)


def redo() -> None:
    """Take the last undo back."""
    step(REDO, UNDO)


def step(origin: str, other: str) -> None:
    if st.session_state.get(origin):
        *rest, wanted = st.session_state[origin]
        st.session_state[origin] = rest
        st.session_state[other] = [*st.session_state[other], bench()]
        st.session_state[BENCH] = replace(bench(), **{name: getattr(wanted, name) for name in INPUTS})


def address() -> str:
    """The workbench as the query of an address."""
    return urlencode(to_params(bench()), doseq=True)


def open_address(query: str) -> None:
    """Take over the workbench of an address; undo leads back."""
    found, notes = from_params(parse_qs(query, keep_blank_values=True))
    update(**{name: getattr(found, name) for name in INPUTS})
    st.session_state[BENCH], st.session_state[NOTES] = found, notes


def write_address() -> None:
    """Mirror the workbench in the address; changing page drops it, so every run writes it again."""
    wanted = in_address(bench())
    if {name: st.query_params.get_all(name) for name in st.query_params} != wanted:
        st.query_params.from_dict(wanted)


def address_is_whole() -> bool:
    """Whether the address holds the prompts."""
    return LEFT_OUT not in in_address(bench())


def bound(field: str, value: Any) -> dict[str, Any]:
    """`key` and `on_change` of a widget that shows and sets one field of the workbench.

    A widget's own state dies when its page is left, so it is set from the workbench before each drawing.
    """
    key = f"w_{field}"
    st.session_state[key] = value

    def take() -> None:
        found = st.session_state[key]
        update(**{field: tuple(found) if isinstance(found, list) else found})

    return {"key": key, "on_change": take}


def bound_text(field: str) -> dict[str, Any]:
    """The same for a text of the contrast pair."""
    key = f"w_{field}"
    st.session_state[key] = getattr(bench().pair, field)

    def take() -> None:
        set_text(field, st.session_state[key])

    return {"key": key, "on_change": take}


def calling(function: Callable[..., None], *args: Any) -> dict[str, Any]:
    """`on_click` and `args` of a button."""
    return {"on_click": function, "args": args}
