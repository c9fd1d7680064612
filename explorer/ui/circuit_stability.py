"""The Stability view: would other pairs have given this circuit? Would another method, or another draw of the task?"""

from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from explorer.circuits.edge_scores import TITLES, EdgeScores, Method
from explorer.circuits.stability import GUIDELINE, Comparison, Stability, compare, held_out, stability
from explorer.core.errors import ExplorerError
from explorer.ui import session
from explorer.ui.circuit_discovery import scores_of
from explorer.ui.circuit_state import Chosen, Shown, chosen_pairs, runs_of, top_of
from explorer.ui.data import data_menu
from explorer.ui.desk import Desk
from explorer.ui.html import grid, say
from explorer.ui.live_work import live_work, under_way
from explorer.ui.terms import help_for

SHOWN = 15


def stability_view(desk: Desk, chosen: Chosen, shown: Shown) -> None:
    scores = shown.scores
    if scores is None:
        st.info("A circuit by hand was found on no pairs. Choose a method above.", icon=":material/info:")
        return
    top = top_of(desk.bench, scores)
    left, right = st.columns(2, gap="medium")
    with left:
        resampled(desk, scores, top)
        halves(desk, chosen, scores, top)
    with right:
        against_method(desk, chosen, shown, top)
        against_draw(desk, shown, top)


def resampled(desk: Desk, scores: EdgeScores, top: int) -> None:
    st.markdown("**Other pairs of the same kind**", help=help_for("stability (of a circuit)"))
    try:
        key = ("circuit_stability", scores.fingerprint, top)
        found: Stability = desk.model.remember(key, lambda: stability(scores, top), lambda made: made.frequency.nbytes)
    except ExplorerError as error:
        say(str(error))
        return
    low, high = np.quantile(found.jaccard, [0.025, 0.975])
    word = "stable" if found.mean >= GUIDELINE else "not stable"
    say(
        f"Jaccard overlap with the circuit of {top:,} edges: mean {found.mean:.2f} ({low:.2f} … {high:.2f}) over "
        f"{len(found.jaccard)} resampled datasets: {word} by the guideline of {GUIDELINE}.",
    )
    kept = scores.circuit(top)
    rows = sorted(
        ((float(found.frequency[tuple(place)]), str(kept.edge(*map(int, place)))) for place in np.argwhere(kept.kept)),
        reverse=True,
    )
    often = sum(share >= 0.95 for share, _ in rows)
    say(f"{often} of {len(rows)} edges are in 95 % of them or more. The least certain:")
    st.html(grid(["edge", "found in"], [[name, f"{share:.0%}"] for share, name in rows[-SHOWN:][::-1]]))


def halves(desk: Desk, chosen: Chosen, scores: EdgeScores, top: int) -> None:
    st.markdown("**Found on one half, scored on the other**", help=help_for("held-out pairs"))
    if not scores.signed or len(scores.by_pair) < 4:
        say("This needs a method that scores pairs one by one, and at least four pairs.")
        return

    def work(show: Any, stop: Any) -> Any:
        show(0.0, "Both halves")
        return held_out(scores, runs_of(desk.bench, desk.model, chosen.pairs), top)

    job = live_work("circuit_halves", (desk.model.identity, scores.fingerprint, top), work)
    under_way("circuit_halves", job)
    if job.error:
        st.text(job.error)
    if job.result is not None:
        found = job.result
        say(
            f"Faithfulness {found.held_out:.3f} on the half that did not choose the edges, {found.found_on:.3f} on the half that did; "
            f"the two circuits overlap by {found.overlap:.2f} (Jaccard)."
        )


def against_method(desk: Desk, chosen: Chosen, shown: Shown, top: int) -> None:
    st.markdown("**Another method on the same pairs**")
    bench = desk.bench
    others: list[Method] = [method for method in TITLES if method != bench.circuit_method]
    current = bench.circuit_other if bench.circuit_other in others else others[0]
    st.selectbox(
        "Method",
        others,
        format_func=TITLES.__getitem__,
        label_visibility="collapsed",
        **session.bound("circuit_other", current),
    )
    try:
        other = scores_of(desk, chosen, current)
    except ExplorerError as error:
        say(str(error))
        return
    if other is not None:
        count = other.natural if other.natural is not None else top
        overlap(compare(shown.circuit, other.circuit(count)), TITLES[current], "method_overlap")


def against_draw(desk: Desk, shown: Shown, top: int) -> None:
    st.markdown("**The same method on other pairs of the task**")
    bench = desk.bench
    if bench.circuit_pairs != "a task" or bench.circuit_method == "by hand":
        say("Choose “a task” above: its pairs are then drawn again with the next seed.")
        return
    again = replace(desk, bench=replace(bench, task_seed=bench.task_seed + 1))
    try:
        other = scores_of(again, chosen_pairs(again.bench, desk.model), bench.circuit_method)
    except ExplorerError as error:
        say(str(error))
        return
    if other is not None:
        count = other.natural if other.natural is not None else top
        overlap(compare(shown.circuit, other.circuit(count)), f"seed {again.bench.task_seed}", "draw_overlap")


def overlap(found: Comparison, title: str, key: str) -> None:
    say(found.words("in this circuit", f"by {title}"))
    data_menu(key, lambda: found.frame)
