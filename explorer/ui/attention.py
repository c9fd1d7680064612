"""Parts of the Attention page: the grid of all heads, and heads side by side."""

import re
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from explorer.analyses.attention import HEAD_TYPES, NAMED_ABOVE, Attention, attention
from explorer.analyses.attribution import direct_logit_attribution
from explorer.analyses.weighted_attention import WEIGHTINGS, Weighting, weighted_attention
from explorer.core.errors import ExplorerError
from explorer.core.sites import Head, HeadPart
from explorer.plots import attention_figures as plots
from explorer.plots.attention_figures import GRID_COLORS, GridColor
from explorer.ui import session
from explorer.ui.ablation_effects import ablation_effects
from explorer.ui.act import act
from explorer.ui.data import data_menu
from explorer.ui.desk import Desk, message
from explorer.ui.heatmap import heatmap, no_heatmap
from explorer.ui.html import say
from explorer.ui.show import show_control, shown_run
from explorer.ui.state import Show
from explorer.ui.terms import help_for

COLOR_HELP = help_for(
    "previous-token score", "duplicate-token score", "induction score", "first-token score", "null (of a head score)",
    "attention entropy", "direct logit attribution", "ablation effect",
)  # fmt: skip
WEIGHTING_HELP = help_for("attention pattern", "value-weighted attention", "contribution-weighted attention")


@dataclass(frozen=True)
class Views:
    baseline: Attention
    changed: Attention
    weighted: tuple[np.ndarray, np.ndarray] | None
    """Baseline and changed patterns under the chosen weighting; None for plain attention."""

    def patterns(self, show: Show) -> np.ndarray:
        before, after = self.weighted or (self.baseline.patterns, self.changed.patterns)
        return before if show == "baseline" else after if show == "changed" else after - before


def compute(desk: Desk) -> Views | None:
    """Attention of both runs; a message in place where it cannot be shown."""
    try:
        baseline = attention(desk.model, desk.tokens.text, bos=desk.bench.bos)
        changed = attention(desk.model, desk.tokens.text, desk.stack, bos=desk.bench.bos) if desk.changed else baseline
    except ExplorerError as error:
        message("attention_error", "Attention is not shown.", error)
        return None
    return Views(baseline, changed, weighted(desk, desk.bench.weighting))


def weighted(desk: Desk, weighting: Weighting) -> tuple[np.ndarray, np.ndarray] | None:
    if weighting == "attention":
        return None

    def read(stack: Any) -> np.ndarray:
        return weighted_attention(
            desk.model, desk.tokens.text, stack, weighting=weighting, answer=desk.answer, distractor=desk.distractor,
            bos=desk.bench.bos,
        )  # fmt: skip

    try:
        before = read(())
        return before, read(desk.stack) if desk.changed else before
    except ExplorerError as error:
        message("weighting_error", f"{weighting.capitalize()} patterns are not shown; plain attention is.", error)
        return None


def controls(desk: Desk) -> None:
    """What all heads are shown by."""
    bench = desk.bench
    with st.container(horizontal=True, vertical_alignment="bottom"):
        show_control(desk)
        st.selectbox(
            "Patterns", WEIGHTINGS, help=WEIGHTING_HELP, width=190, **session.bound("weighting", bench.weighting)
        )
        st.selectbox("Grid", GRID_COLORS, help=COLOR_HELP, width=190, **session.bound("color", bench.color))


def grid(desk: Desk, views: Views) -> None:
    """All heads, as thumbnails or as one number each."""
    bench, show = desk.bench, shown_run(desk)
    common: dict[str, Any] = {
        "ablated": [head for head in bench.changed_heads() if fits(desk, head)],
        "pinned": [head for head in bench.pinned if fits(desk, head)],
        "selected": clamped(desk),
    }
    scores = None if bench.color == "patterns" else head_numbers(desk, views, bench.color, show)
    if scores is None:
        signed = show == "difference" or (bench.weighting == "contribution" and views.weighted is not None)
        shown = plots.grid(views.patterns(show), signed=signed, **common)
    else:
        difference = show == "difference" and bench.color != "ablation effect"
        shown = plots.score_grid(scores, bench.color, difference=difference, **common)
    heatmap(shown, "head_grid", select_head, on_collect=pin, on_clear=clear_selection, locked=locked(desk))
    st.caption(
        "Layer 0 at the bottom; destinations run down, sources across. Dotted: open on the right; orange: changed; green: pinned. "
        "Ctrl-click pins a head; pointing at a token shows it in all heads, clicking a row of a large pattern holds it."
    )
    data_menu("heads", lambda: heads_frame(views), views.changed.provenance)


def locked(desk: Desk) -> tuple[int, int | None] | None:
    """The destination and source that stay marked in all heads: those that were clicked."""
    return None if desk.bench.position is None else (desk.position, source_of(desk))


def source_of(desk: Desk) -> int | None:
    source = desk.bench.source
    return source if source is not None and source <= desk.position else None


def heads_frame(views: Views) -> pd.DataFrame:
    if views.changed is views.baseline:
        return views.baseline.frame
    return views.baseline.frame.merge(views.changed.frame, on=["layer", "head"], suffixes=(", baseline", ", changed"))


def head_numbers(desk: Desk, views: Views, color: GridColor, show: Show) -> np.ndarray | None:
    """One number a head; None, with a message or a button in place, where it is not there."""
    if color == "ablation effect":
        return ablation_effects(desk)

    def of(view: Attention, stack: Any) -> np.ndarray:
        if color == "entropy":
            return view.entropy
        if color == "direct contribution":
            return direct_contributions(desk, stack)
        scores: np.ndarray = view.scores[color]  # type: ignore[index]
        return scores

    try:
        if show == "baseline":
            return of(views.baseline, ())
        after = of(views.changed, desk.stack)
        return after if show == "changed" else after - of(views.baseline, ())
    except ExplorerError as error:
        message("color_error", f"The grid cannot show {color}; it shows patterns.", error)
        return None


def direct_contributions(desk: Desk, stack: Any) -> np.ndarray:
    """[layer, head] part of the objective that each head writes straight into the logits."""
    found = direct_logit_attribution(
        desk.model, desk.tokens.text, stack, answer=desk.answer, distractor=desk.distractor, position=desk.position,
        bos=desk.bench.bos,
    )  # fmt: skip
    rows = found.frame[found.frame["kind"] == "head"]["changed"].to_numpy()
    return rows.reshape(desk.model.info.n_layers, -1)


def fits(desk: Desk, head: Head) -> bool:
    return head.layer < desk.model.info.n_layers and head.head < desk.model.info.n_heads


def clamped(desk: Desk) -> Head:
    """The chosen head, or the model's first one if it has no such head."""
    return desk.bench.head if fits(desk, desk.bench.head) else Head(0, 0)


def select_head(layer: int, number: int) -> None:
    session.update(head=Head(layer, number))


def pin(layer: int, number: int) -> None:
    """Pin a head, or take it off again."""
    head, pinned = Head(layer, number), session.bench().pinned
    kept = tuple(each for each in pinned if each != head)
    session.update(pinned=kept if head in pinned else (*pinned, head)[-MOST_PINNED:])


MOST_PINNED = 6


def clear_selection() -> None:
    session.update(position=None, source=None, pinned=())


def one_head(desk: Desk, views: Views) -> None:
    """The chosen head, large, with the choice of what to do with it."""
    head = clamped(desk)
    if head != desk.bench.head:
        say(f"{desk.bench.head} is not a head of this model; {head} is shown.")
    with st.container(border=True, key="head_panel"):
        st.markdown("**Open head**", help=COLOR_HELP)
        say(types_in_words(views, head), f"{head}:")
        act(desk, head, "act_head")
        pattern = HeadPart(head.layer, head.head, "pattern")
        st.caption("Its attention pattern alone:")
        act(desk, pattern, "act_pattern", choices=("zero", "freeze", "patch"), choose=False)
    large(desk, views, head, "head_large")


def large(desk: Desk, views: Views, head: Head, key: str) -> None:
    """A head's pattern, changed above baseline."""
    show, weighting = shown_run(desk), desk.bench.weighting
    runs = ("changed", "baseline") if show == "changed" else (show,)
    signed = show == "difference" or (weighting == "contribution" and views.weighted is not None)
    patterns = [views.patterns(run)[head.layer, head.head] for run in runs]  # type: ignore[arg-type]
    high = max(plots.full_color(pattern, signed, None) for pattern in patterns)
    for number, (run, pattern) in enumerate(zip(runs, patterns, strict=True)):
        picture = plots.head(
            pattern, desk.tokens.texts, signed=signed, high=high, legend=weighting, title=f"{head}, {run}",
            selected=(desk.position, source_of(desk)),
        )  # fmt: skip
        click = partial(read_cell, picture.tokens)
        heatmap(picture, key if number == 0 else f"{key}_baseline", click, on_clear=clear_selection)
    if len(runs) == 1:
        no_heatmap(f"{key}_baseline")
    data_menu(key, partial(pattern_frame, desk, dict(zip(runs, patterns, strict=True))), views.changed.provenance)


def pattern_frame(desk: Desk, patterns: dict[str, np.ndarray]) -> pd.DataFrame:
    """One row a destination and source that it may look at."""
    dest, source = np.tril_indices(len(desk.tokens))
    texts = np.array(desk.tokens.texts, dtype=object)
    places = {"dest": dest, "source": source, "dest_token": texts[dest], "source_token": texts[source]}
    return pd.DataFrame(places | {run: pattern[dest, source] for run, pattern in patterns.items()})


def read_cell(block: int, row: int, column: int) -> None:
    """A click reads the prediction after that destination, and takes apart why the head looks at that source."""
    session.update(position=row * block, source=min(column, row) * block)


def side_by_side(desk: Desk, views: Views) -> None:
    """Pinned heads, in columns."""
    pinned = [head for head in desk.bench.pinned if fits(desk, head)]
    if not pinned:
        return
    st.markdown("**Pinned heads**")
    for start in range(0, len(pinned), 3):
        for column, head in zip(st.columns(3), pinned[start : start + 3], strict=False):
            with column:
                st.button(
                    f"Unpin {head}", key=f"unpin_{head}", type="tertiary", icon=":material/keep_off:",
                    **session.calling(pin, head.layer, head.head),
                )  # fmt: skip
                large(desk, views, head, f"pinned_{head}")


def types_in_words(views: Views, head: Head) -> str:
    parts = []
    for name in HEAD_TYPES:
        before, after = (float(view.scores[name][head.layer, head.head]) for view in (views.baseline, views.changed))
        null = float(views.changed.nulls[name][head.layer, head.head])
        value = f"{before:.2f}" if round(before, 2) == round(after, 2) else f"{before:.2f} → {after:.2f}"
        parts.append(f"{name} {value} (null {null:.2f})")
    return " · ".join(parts)


def head_types(desk: Desk, views: Views) -> None:
    """Every head with its scores, strongest first; a search narrows them, and choosing a row opens its head."""
    named = int((views.changed.frame["type"] != "").sum())
    area: Any = st.expander(
        f"Find heads: {named} {'head has' if named == 1 else 'heads have'} a type (score above {NAMED_ABOVE})",
        key="head_types",
        on_change="rerun",
    )
    if not area.open:
        return
    with area:
        wanted = st.text_input("Search", key="find_heads", placeholder="induction, L23, L9H6 …")
        frame = found_heads(both_scores(views), wanted)
        if views.changed.left_out:
            left_out = ", ".join(map(str, views.changed.left_out))
            say(f"The scores leave out what is tied to this prompt's positions: {left_out}.")
        if frame.empty:
            st.caption(f"No head matches. Search for a type ({', '.join(HEAD_TYPES)}), a layer (L23) or a head (L9H6).")
            return
        event: Any = st.dataframe(
            frame.round(3), hide_index=True, width="stretch", on_select="rerun", selection_mode="single-row",
            key=f"head_table_{wanted}", height=min(420, 38 + 35 * len(frame)),
        )  # fmt: skip
        for row in event.selection.rows:
            name = str(frame.iloc[row]["name"])
            layer, number = map(int, re.findall(r"\d+", name))
            st.button(f"Open {name}", key="open_found", on_click=select_head, args=(layer, number))


def both_scores(views: Views) -> pd.DataFrame:
    """The changed run's table, with the baseline's scores where they are not the same run."""
    frame = views.changed.frame
    if views.changed is views.baseline:
        return frame
    return frame.assign(**{f"{name}, baseline": views.baseline.frame[name] for name in HEAD_TYPES})


def found_heads(frame: pd.DataFrame, wanted: str) -> pd.DataFrame:
    """Heads that a search names: by type (strongest first), by layer or by name; all by their strongest score without one."""
    table = frame.assign(name=[f"L{row.layer}H{row.head}" for row in frame.itertuples()])
    scores = [column for column in table if str(column).startswith(HEAD_TYPES)]
    columns = ["name", "type", *scores, "entropy"]
    text = wanted.strip().lower()
    for name in HEAD_TYPES:
        if text and name.startswith(text.removesuffix(" heads").removesuffix("s")):
            return table.sort_values(name, ascending=False)[columns]
    if text:
        whole = bool(re.fullmatch(r"l\d+h\d+", text))
        names = table["name"].str.lower()
        table = table[names.eq(text) if whole else names.str.startswith(f"{text}h")]
    best = table[list(HEAD_TYPES)].max(axis=1).sort_values(ascending=False).index
    return table.loc[best, columns]
