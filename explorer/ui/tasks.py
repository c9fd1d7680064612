"""The Tasks page: draw contrast pairs of a task, see which the model gets right, open one."""

from typing import Any

import pandas as pd
import streamlit as st

from explorer.analyses.task_pairs import TaskPairs
from explorer.core.errors import ExplorerError
from explorer.core.pairs import ContrastPair
from explorer.engine.model import Model
from explorer.models.zoo.world import TASKS
from explorer.prompts.tasks import FOR_ANY_MODEL
from explorer.prompts.tokens import visible
from explorer.ui import session
from explorer.ui.data import data_menu
from explorer.ui.desk import message
from explorer.ui.state import PAIR_COUNTS, Workbench
from explorer.ui.task_draws import pairs_of

SHOWN = {
    "clean": "clean prompt",
    "answer": "answer",
    "distractor": "distractor",
    "logit_difference_clean": "clean logit diff.",
    "logit_difference_corrupt": "corrupt logit diff.",
    "rank_clean": "rank, clean",
    "rank_corrupt": "rank, corrupt",
    "corrupt": "corrupt prompt",
}


def controls(bench: Workbench) -> None:
    """Which task, how many pairs, from which templates and seed."""
    task, count, seed, held_out = st.columns([3, 1, 1, 2], vertical_alignment="bottom")
    with task:
        st.selectbox(
            "Task",
            [*FOR_ANY_MODEL, *(key for key in TASKS if key not in FOR_ANY_MODEL)],
            format_func=lambda key: TASKS[key].title,
            help="The first six ask nothing that a model of English would not know; the others follow the rules of the small world.",
            **session.bound("task", bench.task),
        )
    with count:
        st.selectbox("Pairs", PAIR_COUNTS, **session.bound("n_pairs", bench.n_pairs))
    with seed:
        st.number_input("Seed", min_value=0, max_value=999_999, **session.bound("task_seed", bench.task_seed))
    with held_out:
        st.toggle(
            "Held-out templates",
            help="Combinations of opening and core that no document of the small-world models had.",
            **session.bound("held_out", bench.held_out),
        )


def measured(bench: Workbench, model: Model) -> tuple[TaskPairs, TaskPairs] | None:
    """The pairs and the model's answers, baseline and under the stack; a message in place if there are none."""
    place = st.empty()
    entries = tuple(entry for entry in bench.entries if entry.enabled)

    def show(fraction: float, stage: str) -> None:
        place.progress(fraction, stage)

    baseline = None
    try:
        baseline = pairs_of(bench, model, (), show)
        return baseline, pairs_of(bench, model, entries, show) if entries else baseline
    except ExplorerError as error:
        heading = "These pairs cannot be drawn." if baseline is None else "The interventions do not fit these prompts."
        message("task_error", heading, error)
        return None if baseline is None else (baseline, baseline)
    finally:
        place.empty()


def summary(baseline: TaskPairs, changed: TaskPairs) -> None:
    """How many are right, and by which definition; under interventions, with the change."""
    right, top1, drawn = st.columns(3)
    under = changed is not baseline
    right.metric(
        "Pairs right" + (", under the interventions" if under else ""),
        f"{int(changed.frame['right'].sum())} of {len(changed.pairs)} ({changed.accuracy:.0%})",
        delta=f"{100 * (changed.accuracy - baseline.accuracy):+.0f} points from {baseline.accuracy:.0%}"
        if under
        else None,
        help="logit(answer) − logit(distractor) is above 0 on the clean prompt and below 0 on the corrupt one; for years, where the "
        "corrupt prompt (year 01) leaves both open, above 0 on the clean one.",
    )
    top1.metric(
        "Top-1" + (", under the interventions" if under else ""),
        f"{changed.top1:.1%}",
        delta=f"{100 * (changed.top1 - baseline.top1):+.1f} points from {baseline.top1:.1%}" if under else None,
        help="Fraction of prompts, clean and corrupt alike, whose likeliest next token is the right answer. For years any later "
        "one would do, so this says little there.",
    )
    drawn.metric(
        "Draws that did not fit",
        f"{sum(baseline.refused.values()):,}",
        help="; ".join(f"{reason}: {times:,}" for reason, times in baseline.refused.items())
        or "Every draw fits the tokenizer: equal lengths, answers of one token.",
    )


def table(bench: Workbench, baseline: TaskPairs, changed: TaskPairs) -> None:
    """Every pair; choosing a row offers to open it."""
    kept = baseline.frame["right"] if bench.only_right else slice(None)
    frame = baseline.frame[kept]
    if frame.empty:
        st.info("The model gets none of these pairs right. Switch the filter off to see them.", icon=":material/info:")
        return
    event: Any = st.dataframe(
        as_shown(frame, changed.frame[kept] if changed is not baseline else None),
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key=f"task_table_{bench.task}_{bench.n_pairs}_{bench.task_seed}_{bench.held_out}_{bench.only_right}",
        height=min(640, 38 + 35 * len(frame)),
        column_config={
            name: st.column_config.NumberColumn(format="%.2f")
            for name in ("clean logit diff.", "corrupt logit diff.", "clean, changed", "corrupt, changed")
        },
    )
    rows = [row for row in event.selection.rows if row < len(frame)]
    if rows:
        chosen = baseline.pairs[int(frame.index[rows[0]])]
        st.button(
            "Use this pair on all pages",
            icon=":material/arrow_forward:",
            key="use_pair",
            type="primary",
            disabled=bench.pair == chosen,
            **session.calling(use, chosen),
        )
        if bench.pair == chosen:
            st.caption("This pair is in use.")
    else:
        st.caption("Choose a row, by the box before it, to use its pair on all pages.")
    data_menu("pairs", lambda: frame, baseline.provenance)


def as_shown(frame: pd.DataFrame, changed: pd.DataFrame | None) -> pd.DataFrame:
    """The table in words: which pairs are right, and next to the baseline's numbers those under the interventions."""
    shown = frame[list(SHOWN)].rename(columns=SHOWN)
    for name in ("answer", "distractor"):
        shown[name] = shown[name].map(visible)
    shown.insert(0, "right", frame["right"].map({True: "✓", False: "✗"}))
    if changed is not None:
        shown.insert(1, "changed", changed["right"].map({True: "✓", False: "✗"}))
        shown.insert(6, "clean, changed", changed["logit_difference_clean"])
        shown.insert(8, "corrupt, changed", changed["logit_difference_corrupt"])
    return shown


def use(pair: ContrastPair) -> None:
    session.update(pair=pair, position=None)
