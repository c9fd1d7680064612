"""The intervention strip: what is active, its effect, switches, order, edit, remove, undo and redo; in the sidebar of every page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import streamlit as st

from explorer.analyses.prediction import Prediction
from explorer.core.pairs import ContrastPair
from explorer.core.sites import Edge
from explorer.engine.interventions import Ablate, Intervention, overridden
from explorer.metrics.objectives import Score
from explorer.prompts.tokens import visible
from explorer.ui import session
from explorer.ui.html import safe_html, say
from explorer.ui.state import WITH_NUMBER, ActsOn, Entry, How, Workbench, hows_of
from explorer.ui.terms import help_for

EDITING = "_editing"
POSITIONS_UP_TO = 200
NUMBERS: dict[How, str] = {"scale": "Factor", "clamp": "Activation", "steer": "Added activation"}


@dataclass(frozen=True)
class Strip:
    """What the strip shows."""

    bench: Workbench
    problems: dict[Entry, str] = field(default_factory=dict)
    """Why an entry is not applied."""
    predicted: Prediction | None = None
    effects: dict[int, float] = field(default_factory=dict)
    """Each line's own effect on the objective, in logits."""
    texts: Sequence[str] = ()
    """Tokens of the prompt that is shown."""
    alone: str = ""
    """The circuit that runs alone, or why it does not."""


def draw(strip: Strip) -> None:
    bench = strip.bench
    with st.sidebar:
        if strip.predicted is not None:
            effect(bench, strip.predicted)
        with st.container(horizontal=True, vertical_alignment="center", key="strip_head"):
            st.markdown("**Interventions**", help=help_for("intervention", "own effect"))
            icon_button("undo", "undo", "Undo the last change of what is run", not session.can_undo(), session.undo)
            icon_button("redo", "redo", "Redo", not session.can_redo(), session.redo)
            icon_button("clear", "delete_sweep", "Remove all", not bench.entries, clear)
        if strip.alone:
            with st.container(horizontal=True, vertical_alignment="center", key="alone_row"):
                say(strip.alone, "Circuit alone:")
                icon_button("alone_off", "close", "Run the whole model again", False, whole_model)
        if not bench.entries:
            st.caption("None. Click a head, a token, a lens cell or a feature and choose what to do with it.")
        without_effect = replaced_by(bench, strip.problems)
        for index, entry in enumerate(bench.entries):
            line(strip, index, entry)
            if index in without_effect:
                say(f"No effect: {bench.entries[without_effect[index]]} comes later and replaces it.")


def icon_button(key: str, icon: str, help_text: str, disabled: bool, act: Callable[[], None]) -> None:
    st.button(
        "",
        key=key,
        icon=f":material/{icon}:",
        help=help_text,
        disabled=disabled,
        type="tertiary",
        on_click=act,
    )


def whole_model() -> None:
    session.update(circuit_mode="the model")


def clear() -> None:
    session.set_entries(())


def replaced_by(bench: Workbench, problems: dict[Entry, str]) -> dict[int, int]:
    """Lines that a later line on the same activation replaces: number -> by which."""
    active = [
        number
        for number, entry in enumerate(bench.entries)
        if entry.enabled and entry not in problems and entry.acts_on(bench.side)
    ]
    found = overridden([stand_in(bench.entries[number]) for number in active])
    return {active[earlier]: active[later] for earlier, later in found.items()}


def stand_in(entry: Entry) -> Intervention:
    """An intervention on the same activation that replaces it if the entry does, whatever the prompts are."""
    if entry.how in ("scale", "steer") or isinstance(entry.site, Edge):
        return entry.intervention(ContrastPair("a", "b"))
    return Ablate(entry.site, "zero", entry.positions)


def line(strip: Strip, index: int, entry: Entry) -> None:
    key = f"entry_{index}"
    with st.container(horizontal=True, vertical_alignment="center", key=f"{key}_row"):
        st.session_state[f"{key}_on"] = entry.enabled
        st.toggle(str(entry), key=f"{key}_on", on_change=switch, args=(index,))
        st.space("stretch")
        if index in strip.effects:
            say(f"{strip.effects[index]:+.2f}")
        icon_button(f"{key}_edit", "edit", f"Edit or move {entry}", False, lambda: toggle_edit(index))
        icon_button(f"{key}_remove", "close", f"Remove {entry}", False, lambda: remove(index))
    if not entry.acts_on(strip.bench.side):
        say(f"Acts on the {entry.on} prompt; the pages show the {strip.bench.side} one.")
    if st.session_state.get(EDITING) == index:
        editor(strip, index, entry)
    if entry in strip.problems:
        with st.container(key=f"{key}_problem"):
            st.warning("Not applied:", icon=":material/block:")
            st.text(strip.problems[entry])


def toggle_edit(index: int) -> None:
    st.session_state[EDITING] = None if st.session_state.get(EDITING) == index else index


def editor(strip: Strip, index: int, entry: Entry) -> None:
    """Everything about one line that can be changed."""

    def bound(field_name: str, value: object) -> Any:
        key = f"edit_{field_name}"
        st.session_state[key] = value

        def take() -> None:
            found = st.session_state[key]
            change(index, **{field_name: (tuple(sorted(found)) or None) if field_name == "positions" else found})

        return {"key": key, "on_change": take}

    with st.container(border=True, key="entry_editor"):
        st.selectbox("What it does", hows_of(entry.site), **bound("how", entry.how))
        if entry.how in WITH_NUMBER:
            st.number_input(NUMBERS[entry.how], -1e6, 1e6, step=0.1, **bound("factor", entry.factor))
        st.segmented_control("Acts on", get_args(ActsOn), required=True, **bound("on", entry.on))
        if 0 < len(strip.texts) <= POSITIONS_UP_TO:
            known = range(max(len(strip.texts), *(p + 1 for p in entry.positions or (0,))))
            st.multiselect(
                "Positions",
                known,
                format_func=lambda p: f"{p} {visible(strip.texts[p])}" if p < len(strip.texts) else str(p),
                placeholder="all positions",
                **bound("positions", list(entry.positions or ())),
            )
        with st.container(horizontal=True):
            last = len(strip.bench.entries) - 1
            st.button(
                "Earlier",
                key="move_up",
                icon=":material/arrow_upward:",
                disabled=index == 0,
                **session.calling(move, index, -1),
            )
            st.button(
                "Later",
                key="move_down",
                icon=":material/arrow_downward:",
                disabled=index == last,
                **session.calling(move, index, 1),
            )


def change(index: int, **fields: Any) -> None:
    entries = list(session.bench().entries)
    entries[index] = replace(entries[index], **fields)
    session.set_entries(tuple(entries))


def switch(index: int) -> None:
    change(index, enabled=not session.bench().entries[index].enabled)


def move(index: int, by: int) -> None:
    """Swap a line with its neighbour; its editor goes along."""
    entries = list(session.bench().entries)
    entries[index], entries[index + by] = entries[index + by], entries[index]
    st.session_state[EDITING] = index + by
    session.set_entries(tuple(entries))


def remove(index: int) -> None:
    entries = session.bench().entries
    st.session_state[EDITING] = None
    session.set_entries(entries[:index] + entries[index + 1 :])


def effect(bench: Workbench, predicted: Prediction) -> None:
    """The objective, baseline beside changed."""
    rows = []
    before, after = predicted.baseline, predicted.changed
    if before is not None and after is not None:
        rows = objective_rows(bench, before, after)
    rows.append(("KL to baseline", "0", f"{predicted.kl:.3f}", ""))
    body = "".join(f"<tr><td>{name}</td><td>{a}</td><td><b>{b}</b></td><td>{d}</td></tr>" for name, a, b, d in rows)
    with st.container(key="effect"):
        where = "" if bench.side == "clean" else " on the corrupt prompt"
        st.markdown(f"**Effect**{where}", help=help_for("baseline, changed", "logit difference", "KL to baseline"))
        st.html(
            f"<table class='ce-table ce-small'><tr><th></th><th>baseline</th><th>changed</th><th>Δ</th></tr>{body}</table>"
        )


def objective_rows(bench: Workbench, before: Score, after: Score) -> list[tuple[str, str, str, str]]:
    rows = []
    if before.logit_difference is not None and after.logit_difference is not None:
        rows.append(("logit diff.", *numbers(before.logit_difference, after.logit_difference)))
    rows.append((f"P({safe_html(bench.pair.answer)})", *numbers(before.answer_prob, after.answer_prob, 3)))
    if before.distractor_prob is not None and after.distractor_prob is not None:
        rows.append(
            (f"P({safe_html(bench.pair.distractor)})", *numbers(before.distractor_prob, after.distractor_prob, 3))
        )
    return rows


def numbers(before: float, after: float, places: int = 2) -> tuple[str, str, str]:
    return f"{before:.{places}f}", f"{after:.{places}f}", f"{after - before:+.{places}f}" if after != before else "–"
