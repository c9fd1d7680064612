"""Parts of the Attention page."""

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd
import streamlit as st

from explorer.analyses.attention import HEAD_TYPES, NAMED_ABOVE, Attention, attention
from explorer.core.errors import ExplorerError
from explorer.core.sites import Head
from explorer.plots import attention_figures as plots
from explorer.ui import session
from explorer.ui.act import act
from explorer.ui.desk import Desk, message
from explorer.ui.heatmap import heatmap
from explorer.ui.show import show_control, shown_run
from explorer.ui.state import Score, Show

SCORE_HELP = (
    "Mean attention on repeated random tokens (r1 … rn r1 … rn), second half. Previous token: to i−1. Duplicate token: to the "
    "same token's first occurrence, i−n. Induction: to the token after it, i−n+1. First token: to position 0. A score says "
    "where a head looks, not what it does; ablate the head to see that."
)


@dataclass(frozen=True)
class Views:
    baseline: Attention
    changed: Attention

    def patterns(self, show: Show) -> np.ndarray:
        if show == "baseline":
            return self.baseline.patterns
        return self.changed.patterns if show == "changed" else self.changed.patterns - self.baseline.patterns


def compute(desk: Desk) -> Views | None:
    """Attention of both runs; a message in place where it cannot be shown."""
    try:
        baseline = attention(desk.model, desk.tokens.text, bos=desk.bench.bos)
        changed = attention(desk.model, desk.tokens.text, desk.stack, bos=desk.bench.bos) if desk.changed else baseline
    except ExplorerError as error:
        message("attention_error", "Attention is not shown.", error)
        return None
    return Views(baseline, changed)


def grid(desk: Desk, views: Views) -> None:
    """All heads as thumbnails."""
    bench = desk.bench
    with st.container(horizontal=True, vertical_alignment="bottom"):
        show_control(desk)
        st.selectbox(
            "Outline by head type", get_args(Score), help=SCORE_HELP, width=180, **session.bound("score", bench.score)
        )
    show = shown_run(desk)
    scores = None if bench.score == "none" else scores_of(views, show, bench.score)
    shown = plots.grid(
        views.patterns(show),
        difference=show == "difference",
        ablated=[head for head in bench.ablated_heads() if fits(desk, head)],
        selected=clamped(desk),
        scores=scores,
        score_name=bench.score,
    )
    heatmap(shown, "head_grid", select_head)
    st.caption(
        "Layer 0 at the bottom; in each thumbnail destinations run down, sources across. Dotted: open on the right. Orange: ablated."
    )


def scores_of(views: Views, show: Show, score: Any) -> np.ndarray:
    return (views.baseline if show == "baseline" else views.changed).scores[score]


def fits(desk: Desk, head: Head) -> bool:
    return head.layer < desk.model.info.n_layers and head.head < desk.model.info.n_heads


def clamped(desk: Desk) -> Head:
    """The chosen head, or the model's first one if it has no such head."""
    return desk.bench.head if fits(desk, desk.bench.head) else Head(0, 0)


def select_head(layer: int, number: int) -> None:
    session.update(head=Head(layer, number))


def one_head(desk: Desk, views: Views) -> None:
    """The chosen head, large, with the choice of what to do with it."""
    head = clamped(desk)
    if head != desk.bench.head:
        st.caption(f"{desk.bench.head} is not a head of this model; {head} is shown.")
    with st.container(border=True, key="head_panel"):
        st.markdown(f"**{head}**: {types_in_words(views, head)}", help=SCORE_HELP)
        act(desk, head, "act_head")
    texts = desk.tokens.texts
    show = shown_run(desk)
    pattern = views.patterns(show)[head.layer, head.head]
    large = plots.head(pattern, texts, difference=show == "difference", title=f"{head}, {show}", selected=desk.position)
    heatmap(large, "head_large", read_row)
    if show == "changed":
        before = views.baseline.patterns[head.layer, head.head]
        heatmap(plots.head(before, texts, title=f"{head}, baseline", selected=desk.position), "head_before", read_row)


def read_row(destination: int, source: int) -> None:
    """A click on a row reads the prediction after that destination."""
    session.update(position=destination)


def types_in_words(views: Views, head: Head) -> str:
    parts = []
    for name in HEAD_TYPES:
        before, after = (float(view.scores[name][head.layer, head.head]) for view in (views.baseline, views.changed))
        value = f"{before:.2f}" if round(before, 2) == round(after, 2) else f"{before:.2f} → {after:.2f}"
        parts.append(f"{name} {value}")
    return " · ".join(parts)


def head_types(views: Views) -> None:
    """The heads that a type names in the changed run, strongest first, with both runs' scores of that type."""
    frame = views.changed.frame
    named = [
        (int(layer), int(head), name)
        for name in HEAD_TYPES
        for layer, head in frame.loc[frame["type"] == name, ["layer", "head"]].to_numpy()
    ]
    table = pd.DataFrame(
        {
            "head": [f"L{layer}H{head}" for layer, head, _ in named],
            "type": [name for *_, name in named],
            "baseline": [views.baseline.scores[name][layer, head] for layer, head, name in named],
            "changed": [views.changed.scores[name][layer, head] for layer, head, name in named],
        }
    )
    with st.expander(
        f"Head types: {len(table)} {'head scores' if len(table) == 1 else 'heads score'} above {NAMED_ABOVE}",
        key="head_types",
    ):
        st.caption(SCORE_HELP)
        if views.changed.left_out:
            left_out = ", ".join(map(str, views.changed.left_out))
            st.caption(f"The scores leave out what is tied to this prompt's positions: {left_out}.")
        ordered = table.sort_values(["type", "changed"], ascending=[True, False])
        st.dataframe(ordered.round(3), hide_index=True, width="stretch")
