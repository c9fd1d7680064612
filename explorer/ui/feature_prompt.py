"""What fires on this prompt: features by tokens, under the stack beside the baseline; a click opens a feature at a token."""

import numpy as np
import pandas as pd
import streamlit as st

from explorer.core.sites import Feature
from explorer.features.dashboard import prompt_acts
from explorer.plots import feature_figures as plots
from explorer.ui import session
from explorer.ui.data import data_menu
from explorer.ui.feature_act import feature_actions
from explorer.ui.feature_state import Opened, open_feature, open_the
from explorer.ui.heatmap import heatmap
from explorer.ui.html import plain_label, say
from explorer.ui.show import shown_run
from explorer.ui.terms import help_for

ROWS, LISTED = 24, 10


def prompt_view(page: Opened) -> None:
    desk, dictionary = page.desk, page.dictionary
    base = prompt_acts(desk.model, dictionary, desk.tokens.text, desk.bench.bos).float().numpy()
    changed = (
        prompt_acts(desk.model, dictionary, desk.tokens.text, desk.bench.bos, desk.stack).float().numpy()
        if desk.changed
        else base
    )
    run = shown_run(desk)
    acts = {"baseline": base, "changed": changed, "difference": changed - base}[run]
    chosen = strongest(acts)
    st.markdown("**What fires here**", help=help_for("feature", "activation (of a feature)"))
    if not chosen:
        st.info(
            "No feature of this dictionary fires on this prompt."
            if run != "difference"
            else "The interventions change no feature's activation.",
            icon=":material/info:",
        )
        return
    feature = open_feature(desk.bench)
    selected = (
        (chosen.index(feature.index), desk.position)
        if feature and feature.place == dictionary.place and feature.index in chosen
        else None
    )
    marked = [
        entry.site.index
        for entry in desk.bench.entries
        if entry.enabled and isinstance(entry.site, Feature) and entry.site.place == dictionary.place
    ]

    def click(row: int, column: int) -> None:
        session.update(feature=str(dictionary.feature(chosen[row])), dictionary=dictionary.place, position=column)

    heatmap(
        plots.features_on_prompt(acts, chosen, desk.tokens.texts, [page.name(index) for index in chosen], difference=run == "difference", marked=marked, selected=selected),
        "feature_acts", click,
    )  # fmt: skip
    fired = (acts[1:] != 0).any(0).sum() if len(acts) > 1 else (acts != 0).any(0).sum()
    say(
        f"{len(chosen)} of {fired:,} features that fire behind the first token; of {dictionary.n_features:,} in all. Rows and full colour by the largest activation there; the first token's may lie beyond."
    )
    data_menu("features", lambda: frame_of(acts, desk.tokens.texts))
    left, right = st.columns([2, 3], gap="large")
    with left:
        at_token(page, acts)
    with right:
        open_panel(page, acts)


def strongest(acts: np.ndarray) -> list[int]:
    """Features by their largest |activation| behind the first token, where most models' streams are unlike any other."""
    peaks = np.abs(acts[1:] if len(acts) > 1 else acts).max(0)
    order = np.argsort(-peaks, kind="stable")[:ROWS]
    return [int(index) for index in order if peaks[index] > 0]


def frame_of(acts: np.ndarray, texts: tuple[str, ...] | list[str]) -> pd.DataFrame:
    places, features = np.nonzero(acts)
    return pd.DataFrame(
        {
            "pos": places,
            "token": [texts[place] for place in places],
            "feature": features,
            "activation": acts[places, features],
        }
    )


def at_token(page: Opened, acts: np.ndarray) -> None:
    """The features that fire at the selected token, each a button."""
    desk, position = page.desk, page.desk.position
    row = acts[position]
    order = [int(index) for index in np.argsort(-np.abs(row), kind="stable")[:LISTED] if row[index] != 0]
    st.markdown(
        "**At the selected token**",
        help="The position is the one that the Prompt page reads; click a cell above to change it.",
    )
    say(f"{desk.tokens.texts[position]!r} at {position}: {int((row != 0).sum())} features fire.")
    with st.container(horizontal=True, key="at_token"):
        for index in order:
            feature = page.dictionary.feature(index)
            st.button(
                plain_label(f"{page.name(index)[:32]} ({row[index]:.2f})"),
                key=f"at_token_{index}",
                type="tertiary",
                **session.calling(show_the, feature),
            )
    if not order:
        st.caption("None fires here.")


def show_the(feature: Feature) -> None:
    """Open a feature beside the map."""
    session.update(feature=str(feature), dictionary=feature.place)


def open_panel(page: Opened, acts: np.ndarray) -> None:
    feature = open_feature(page.desk.bench)
    if feature is None or feature.place != page.dictionary.place or feature.index >= page.dictionary.n_features:
        st.caption("Click a cell to open its feature here.")
        return
    with st.container(border=True, key="feature_panel"):
        st.markdown("**Open feature**", help=help_for("feature", "clamp, steer"))
        say(
            f"{page.name(feature.index)}, activation {acts[page.desk.position, feature.index]:.3f} at position {page.desk.position}",
            f"{feature.place}:",
        )
        feature_actions(
            page.desk,
            feature,
            "act_feature",
            float(np.abs(acts[1:, feature.index] if len(acts) > 1 else acts[:, feature.index]).max(initial=0.0)),
        )
        st.button("Open its card", key="open_card", icon=":material/id_card:", **session.calling(open_the, feature))
