"""What a feature is called: the user's label and note, and descriptions made by rule or by a language model, with their scores."""

from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st

from explorer.core.errors import ExplorerError
from explorer.core.sites import Feature
from explorer.features.descriptions import (
    Api,
    Describer,
    Description,
    LanguageDescriber,
    Local,
    RuleDescriber,
    Scores,
    describe_feature,
)
from explorer.features.index import FeatureIndex
from explorer.features.labels import Label, Labels
from explorer.ui import session
from explorer.ui.feature_state import Opened
from explorer.ui.html import say
from explorer.ui.on_request import on_request
from explorer.ui.terms import help_for

BY = ("rule", "this model", "an API")


def label_panel(page: Opened, feature: Feature) -> None:
    """The user's own words."""
    old = page.labels.get(feature.index, Label())
    with st.container(border=True, key="label_panel"):
        for name, title in (("label", "Label"), ("note", "Note")):
            key = f"feature_{name}_{feature}"
            st.session_state[key] = getattr(old, name)
            st.text_input(title, key=key, max_chars=200, on_change=save, args=(page, feature, name, key))
        if error := st.session_state.pop("_label_error", ""):
            st.error("The label was not kept.", icon=":material/error:")
            st.text(error)


def save(page: Opened, feature: Feature, name: str, key: str) -> None:
    put(page, feature, **{name: st.session_state[key].strip()})


def put(page: Opened, feature: Feature, **words: str) -> None:
    """Keep what a feature is called; a problem is shown with the label at the next drawing."""
    labels = Labels(page.dictionary)
    try:
        labels.put(feature.index, replace(labels.get(feature.index), **words))
    except ExplorerError as error:
        st.session_state["_label_error"] = str(error)


def description_panel(page: Opened, feature: Feature, index: FeatureIndex | None) -> None:
    st.markdown("**Description**", help=help_for("description scores"))
    old = page.labels.get(feature.index, Label())
    if old.description:
        say(f"{old.description} ({old.scored})")
    if index is None:
        st.caption("Descriptions are made from examples: build an index first.")
        return
    by = st.segmented_control("By", BY, default=BY[0], required=True, key="describe_by", label_visibility="collapsed")
    try:
        describer, inputs = chosen(page, str(by))
    except ExplorerError as error:
        st.text(str(error))
        return
    if describer is None:
        return
    model = page.desk.model
    job: Any = on_request(
        "describe", "Describe and score", (str(feature), index.folder, *inputs),
        lambda show, cancelled: describe_feature(model, index, feature.index, describer, progress=show, cancelled=cancelled),
        help="Makes a description from half of the examples and scores it on the others, beside other features' descriptions.",
    )  # fmt: skip
    if job is not None:
        described(page, feature, *job)


def chosen(page: Opened, by: str) -> tuple[Describer | None, tuple[str, ...]]:
    """Who describes; None while an API is not filled in."""
    model = page.desk.model
    if by == "rule":
        return RuleDescriber(model), ("rule",)
    if by == "this model":
        return LanguageDescriber(Local(model)), ("local", model.info.weight_hash)
    url = st.text_input("Address of an OpenAI-compatible API", key="api_url", placeholder="http://127.0.0.1:8000/v1")
    name = st.text_input("Model there", key="api_model")
    key = st.text_input("Key (kept in this session only)", key="api_key", type="password")
    if not url or not name:
        st.caption("Examples of the feature are sent to this address, and to no other.")
        return None, ()
    return LanguageDescriber(Api(url, name, key)), ("api", url, name, key)


def described(page: Opened, feature: Feature, description: Description, scores: Scores) -> None:
    said = scores_in_words(scores)
    say(description.text, f"By {description.by}:")
    say(said)
    st.button(
        "Keep this description",
        key="keep_description",
        **session.calling(partial(put, page, feature, description=description.text, scored=said)),
    )


def scores_in_words(scores: Scores) -> str:
    return (
        f"detection {scores.detection:.2f} (shuffled {scores.shuffled_detection:.2f}), fuzzing {scores.fuzzing:.2f} "
        f"(shuffled {scores.shuffled_fuzzing:.2f}), balanced accuracies on {scores.n} examples"
    )
