"""Feature circuits: what features of the stream's dictionaries do to the objective, on this pair or a task."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import streamlit as st

from explorer.core.pairs import ContrastPair
from explorer.core.sites import parse_site
from explorer.features.circuit import FeatureEffects, feature_effects, stream_places
from explorer.plots import feature_figures as plots
from explorer.ui import session, tasks
from explorer.ui.data import data_menu
from explorer.ui.desk import Desk
from explorer.ui.feature_act import feature_actions
from explorer.ui.feature_state import all_labels, open_feature, open_the
from explorer.ui.graph import graph_chart
from explorer.ui.html import grid, say
from explorer.ui.on_request import on_request
from explorer.ui.state import stacks_of
from explorer.ui.task_draws import pairs_of
from explorer.ui.terms import help_for


def circuit_view(desk: Desk) -> None:
    places = stream_places(desk.model)
    bench = desk.bench
    on = st.segmented_control("On", ("this pair", "a task"), required=True, default="this pair", key="feature_pairs")
    if on == "a task":
        tasks.controls(bench)
        pairs = tuple(pairs_of(bench, desk.model).right)
    else:
        pairs = (bench.pair,)
    if not pairs:
        st.info("The model gets none of these pairs right, so there is nothing to explain.", icon=":material/info:")
        return
    stacks = stacks_of(bench)
    found: FeatureEffects | None = on_request(
        "feature_circuit", "Find features that matter", circuit_inputs(desk, pairs),
        lambda show, cancelled: feature_effects(desk.model, pairs, places, interventions=stacks, bos=bench.bos, progress=show, cancelled=cancelled),
        help="One gradient a place and pair, then one an edge.",
    )  # fmt: skip
    if found is not None:
        drawn(desk, found)


def circuit_inputs(desk: Desk, pairs: tuple[ContrastPair, ...]) -> tuple[object, ...]:
    """What a feature circuit depends on."""
    places = tuple(stream_places(desk.model))
    known = desk.model.identity, *(desk.model.dictionary(place).identity for place in places)
    return known, pairs, stacks_of(desk.bench), desk.bench.bos, places


def drawn(desk: Desk, found: FeatureEffects) -> None:
    clean, corrupt = found.clean.mean(), found.corrupt.mean()
    st.markdown("**Feature circuit**", help=help_for("feature circuit", "error term"))
    say(
        f"{len(found.clean)} {'pair' if len(found.clean) == 1 else 'pairs'}; objective {clean:+.2f} clean, {corrupt:+.2f} corrupt. Approximated: first-order estimates, no feature was changed. "
        "Blue helps the answer; grey is what a dictionary misses. Click a feature to change it and see."
    )
    labels = all_labels(desk.model)
    feature = open_feature(desk.bench)
    graph_chart(
        plots.feature_circuit_picture(found, labels, str(feature or "")),
        "feature_circuit_graph",
        open_node,
        lambda nodes: None,
        str(len(found.clean)),
    )
    data_menu("feature_circuit", lambda: found.table(200), found.provenance)
    left, right = st.columns(2, gap="large")
    with left:
        table = found.table()
        st.html(
            grid(
                ["feature", "called", "contribution", "95 %"],
                [
                    [
                        str(row["feature"]),
                        labels.get(str(row["feature"]), "")[:40],
                        f"{row['contribution']:+.3f}",
                        band(row),
                    ]
                    for row in table.to_dict("records")
                ],
            )
        )
        errors = -found.errors.mean(0)
        totals = [float(found.contribution(number).sum()) for number in range(len(found.places))]
        st.html(
            grid(
                ["place", "features", "error"],
                [
                    [place, f"{total:+.3f}", f"{error:+.3f}"]
                    for place, total, error in zip(found.places, totals, errors, strict=True)
                ],
            )
        )
        say("Features and error of a place add up to attribution patching of the whole place.")
    with right:
        if feature is not None and feature.place in found.places:
            with st.container(border=True, key="circuit_feature_panel"):
                value = found.contribution(found.places.index(feature.place))[feature.index]
                say(f"contribution {value:+.3f} logits {labels.get(str(feature), '')}", f"{feature}:")
                feature_actions(desk, feature, "act_circuit_feature", 0.0)
                st.button("Open its card", key="open_circuit_card", **session.calling(open_the, feature))
        else:
            st.caption("Click a feature to open it here.")


def band(row: dict[Hashable, Any]) -> str:
    """An interval over pairs; a dash where there is one pair only."""
    return "–" if np.isnan(row["low"]) else f"{row['low']:+.3f} to {row['high']:+.3f}"


def open_node(name: str) -> None:
    if "->" in name or name.endswith("/error") or not name:
        return
    site = parse_site(name)
    session.update(feature=str(site))
