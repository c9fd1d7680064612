"""Why a head looks at one place, what it writes from there, and whether its type is more than a pattern."""

from typing import Any

import streamlit as st

from explorer.analyses.attention import HEAD_TYPES, NAMED_ABOVE
from explorer.analyses.attention_score import AttentionScore, attention_score
from explorer.analyses.head_check import MEASUREMENTS, HeadCheck, head_check
from explorer.core.errors import ExplorerError
from explorer.core.sites import Head
from explorer.plots import attention_figures as plots
from explorer.plots.theme import position_label, token_label
from explorer.ui import attention, session
from explorer.ui.data import data_menu
from explorer.ui.desk import Desk, message
from explorer.ui.heatmap import heatmap
from explorer.ui.html import grid as text_grid
from explorer.ui.html import say
from explorer.ui.on_request import on_request
from explorer.ui.show import shown_run
from explorer.ui.terms import help_for


def why_here(desk: Desk, views: attention.Views) -> None:
    """The score of the chosen head from the chosen destination to the chosen source, taken apart."""
    head, show = attention.clamped(desk), shown_run(desk)
    run = views.baseline if show == "baseline" else views.changed
    row = run.patterns[head.layer, head.head, desk.position]
    chosen = attention.source_of(desk)
    source = int(row.argmax()) if chosen is None else chosen
    label = f"Why does {head} look from position {desk.position} at {source}?"  # no token: labels are Markdown
    area: Any = st.expander(label, key="why_here", on_change="rerun")
    if not area.open:
        return
    with area:
        try:
            found = attention_score(
                desk.model, desk.tokens.text, () if show == "baseline" else desk.stack, head=head, source=source,
                dest=desk.position, bos=desk.bench.bos,
            )  # fmt: skip
        except ExplorerError as error:
            message("why_error", "This score cannot be taken apart.", error)
            return
        parts(desk, found)


def parts(desk: Desk, found: AttentionScore) -> None:
    dest, source = (position_label(desk.tokens.texts[place], place) for place in (found.dest, found.source))
    say(
        f"{found.head}, from {dest} at {source}: attention {found.attention:.3f}; score {found.score:+.2f}, mean over all sources {found.mean_score:+.2f}. "
        f"Sum of all {found.values.size:,} parts: {found.values.sum():+.2f} (|sum − score| {found.check:.0e})."
    )
    left, right = st.columns([3, 2], gap="medium")
    with left:
        picture = plots.score_parts(found.relative, found.components)
        heatmap(picture, "score_parts")
        st.caption(
            "score − mean score, by what wrote the query and what wrote the key. Observed: parts are not effects.",
            help=help_for("attention score"),
        )
        data_menu("attention_score", lambda: found.frame, found.provenance)
    with right:
        st.markdown(
            "**What it writes from there**", help=help_for("component lens") + "\n\nHere c = v W_O of the source."
        )
        say(f"From {source}, straight into the logits.")
        if found.promoted.empty:
            st.caption("A norm follows the sum of the heads in this model, so one head's write is not read alone.")
            return
        half = len(found.promoted) // 2
        rows = found.promoted.to_dict("records")
        pairs = zip(rows[:half], rows[half:][::-1], strict=True)
        body = [
            [token_label(up["token"]), f"{up['logit']:+.2f}", token_label(down["token"]), f"{down['logit']:+.2f}"]
            for up, down in pairs
        ]
        st.html(text_grid(["promoted", "", "suppressed", ""], body))
        st.button(
            "Choose the source it looks at most", key="top_source", type="tertiary", **session.calling(free_source),
            disabled=desk.bench.source is None,
        )  # fmt: skip


def free_source() -> None:
    session.update(source=None)


def causal_check(desk: Desk, views: attention.Views) -> None:
    """A type is a pattern alone until taking the head away says more."""
    head = attention.clamped(desk)
    scores = {name: float(views.baseline.scores[name][head.layer, head.head]) for name in HEAD_TYPES}
    name = max(scores, key=scores.__getitem__)
    if scores[name] <= NAMED_ABOVE:
        return
    with st.container(border=True, key="causal_check"):
        say("", f"{head} scores as {name}: a pattern alone?")
        typed = [
            Head(int(layer), int(number))
            for layer, number in zip(*(views.baseline.scores[name] > NAMED_ABOVE).nonzero(), strict=True)
        ]
        found: HeadCheck | None = on_request(
            "head_check",
            "Check it causally",
            (desk.model.identity, head, name),
            lambda progress, cancelled: head_check(desk.model, head, typed, progress=progress, cancelled=cancelled),
            help=help_for("causal check (of a head type)"),
            stale="The last check was of another head.",
        )
        if found is not None:
            verdict(found)


def verdict(found: HeadCheck) -> None:
    rows = []
    for name in MEASUREMENTS:
        low, high = found.band(name)
        rows.append(
            [name, f"{found.effects[name]:+.3f}", f"{low:+.3f} … {high:+.3f}", "✓" if found.confirmed(name) else "✗"]
        )
    st.html(text_grid(["measurement (nats)", "this head", f"{len(found.matched)} matched heads", "beyond all"], rows))
    confirmed = [name for name in MEASUREMENTS if found.confirmed(name)]
    said = (
        f"Intervened: {', '.join(confirmed)} beyond every matched head."
        if confirmed
        else "Observed only: no measurement is beyond the matched heads. Others may do the same work (redundancy)."
    )
    partial = " Cancelled early." if found.partial else ""
    say(f"{said} Log-probability of the repeated token: {found.log_prob:.2f} nats.{partial}")
