"""Find a feature: by a token that it fires at, by what it is called, or by how often it fires."""

from typing import get_args

import pandas as pd
import streamlit as st

from explorer.core.errors import AnswerError
from explorer.features.index import FeatureIndex
from explorer.features.labels import Labels
from explorer.plots import feature_figures as plots
from explorer.ui import session
from explorer.ui.data import data_menu
from explorer.ui.feature_dictionaries import index_panel
from explorer.ui.feature_state import Opened, index_of, open_the
from explorer.ui.html import say
from explorer.ui.lines import line_chart
from explorer.ui.state import FindBy
from explorer.ui.terms import help_for

MOST = 200


def find_view(page: Opened) -> None:
    bench = page.desk.bench
    index = index_of(page.desk.model, page.dictionary)
    if index is None:
        st.info(
            "Searching reads an index of where each feature fires. This dictionary has none yet.",
            icon=":material/info:",
        )
        index_panel(page.desk.model, page.dictionary)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.segmented_control(
            "By",
            get_args(FindBy),
            required=True,
            help=help_for("feature index", "density (of a feature)"),
            **session.bound("find_by", bench.find_by),
        )
        if bench.find_by != "density":
            what = (
                "Token, with its leading space" if bench.find_by == "token" else "Words of a label, note or description"
            )
            st.text_input(what, width=280, **session.bound("feature_find", bench.feature_find))
        number = st.number_input(
            "Or open feature number", 0, page.dictionary.n_features - 1, None, key="find_number", width=190
        )
    if number is not None:
        st.button(
            f"Open {page.dictionary.place}/{number}",
            key="open_number",
            **session.calling(open_the, page.dictionary.feature(int(number))),
        )
    found = found_by(page, index)
    if found is None:
        return
    if found.empty:
        st.info("Nothing was found.", icon=":material/info:")
        return
    listed(page, found)


def found_by(page: Opened, index: FeatureIndex) -> pd.DataFrame | None:
    bench = page.desk.bench
    match bench.find_by:
        case "density":
            say(
                f"All {index.n_features:,} features; {int((index.totals['count'] == 0).sum()):,} fired nowhere in {index.n_tokens:,} tokens of {index.about['source']}."
            )
            table = index.table().sort_values("density", ascending=False)
            line_chart(plots.density_histogram(table["density"].to_numpy()), "densities", lambda at: None)
            return table
        case "label":
            numbers = Labels(page.dictionary).search(bench.feature_find) if bench.feature_find else sorted(page.labels)
            table = index.table().set_index("feature", drop=False)
            return table.loc[[number for number in numbers if number in table.index]]
    if not bench.feature_find:
        st.caption("Write a token, such as “ France”: features are listed by their mean activation at it.")
        return None
    try:
        token = page.desk.model.single_token(bench.feature_find)
    except AnswerError as error:
        st.warning("This is no single token.", icon=":material/block:")
        st.text(str(error))
        return None
    return index.by_token(token, MOST)


def listed(page: Opened, found: pd.DataFrame) -> None:
    """The table; a click on a row opens the feature."""
    shown = found.head(MOST).reset_index(drop=True)
    shown.insert(
        1,
        "called",
        [
            page.labels[number].label or page.labels[number].description if number in page.labels else ""
            for number in shown["feature"]
        ],
    )
    event = st.dataframe(
        shown, hide_index=True, height=420, on_select="rerun", selection_mode="single-row", key="found_table"
    )
    rows = event.selection.rows
    if rows:
        feature = page.dictionary.feature(int(shown["feature"].to_numpy()[rows[0]]))
        st.button(f"Open {feature}", key="open_found", type="primary", **session.calling(open_the, feature))
    else:
        st.caption("Select a row to open its feature.")
    data_menu("found", lambda: found)
