"""The intervention strip: what is active, its effect, switches, remove, undo and clear; in the sidebar of every page."""

from dataclasses import replace

import streamlit as st

from explorer.analyses.prediction import Prediction
from explorer.engine.interventions import Ablate, in_words, overridden
from explorer.metrics.objectives import Score
from explorer.ui import session
from explorer.ui.html import safe_html
from explorer.ui.state import Entry, Workbench

EFFECT_HELP = (
    "Baseline: the run without interventions. Changed: under every intervention that is switched on. The logit difference is "
    "logit(answer) − logit(distractor) of the next token at the chosen position; KL(baseline ‖ changed) is over its whole "
    "distribution, in nats."
)


def draw(bench: Workbench, problems: dict[Entry, str], predicted: Prediction | None) -> None:
    """Draw the strip; `problems` says why an entry is not applied."""
    with st.sidebar:
        if predicted is not None:
            effect(bench, predicted)
        with st.container(horizontal=True, vertical_alignment="center", key="strip_head"):
            st.markdown("**Interventions**")
            st.button(
                "",
                key="undo",
                icon=":material/undo:",
                help="Undo the last change",
                disabled=not session.can_undo(),
                type="tertiary",
                **session.calling(session.undo),
            )
            st.button(
                "",
                key="clear",
                icon=":material/delete_sweep:",
                help="Remove all",
                disabled=not bench.entries,
                type="tertiary",
                **session.calling(session.set_entries, ()),
            )
        if not bench.entries:
            st.caption("None. Click a head, a token or a lens cell and choose what to do with it.")
        without_effect = replaced_by(bench, problems)
        for index, entry in enumerate(bench.entries):
            line(bench, index, entry, problems.get(entry))
            if index in without_effect:
                st.caption(f"No effect: {describe(bench.entries[without_effect[index]])} comes later and replaces it.")


def replaced_by(bench: Workbench, problems: dict[Entry, str]) -> dict[int, int]:
    """Lines that a later line on the same activation replaces: number -> by which."""
    active = [number for number, entry in enumerate(bench.entries) if entry.enabled and entry not in problems]
    entries = [bench.entries[number] for number in active]
    found = overridden([Ablate(entry.site, entry.how, entry.positions) for entry in entries])
    return {active[earlier]: active[later] for earlier, later in found.items()}


def line(bench: Workbench, index: int, entry: Entry, problem: str | None) -> None:
    key = f"entry_{index}"
    label = describe(entry)
    with st.container(horizontal=True, vertical_alignment="center", key=f"{key}_row"):
        st.session_state[f"{key}_on"] = entry.enabled
        st.toggle(label, key=f"{key}_on", on_change=switch, args=(index,))
        st.space("stretch")
        st.button(
            "",
            key=f"{key}_remove",
            icon=":material/close:",
            help=f"Remove {label}",
            type="tertiary",
            **session.calling(remove, index),
        )
    if problem is not None:
        with st.container(key=f"{key}_problem"):
            st.warning("Not applied:", icon=":material/block:")
            st.text(problem)


def describe(entry: Entry) -> str:
    return f"{entry.site} · {entry.how}{in_words(entry.positions)}"


def switch(index: int) -> None:
    entries = list(session.bench().entries)
    entries[index] = replace(entries[index], enabled=not entries[index].enabled)
    session.set_entries(tuple(entries))


def remove(index: int) -> None:
    entries = session.bench().entries
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
        st.markdown("**Effect**", help=EFFECT_HELP)
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
