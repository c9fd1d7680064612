"""Parts of the Attribution page."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from explorer.analyses.attribution import Attribution, direct_logit_attribution, neuron_attribution
from explorer.core.errors import ExplorerError
from explorer.core.sites import Head, MlpOut, parse_site
from explorer.plots import attribution_figures as plots
from explorer.ui import session
from explorer.ui.act import act, put
from explorer.ui.data import data_menu
from explorer.ui.desk import Desk, message
from explorer.ui.heatmap import heatmap
from explorer.ui.html import grid as text_grid
from explorer.ui.html import say
from explorer.ui.show import show_control, shown_run
from explorer.ui.state import Entry
from explorer.ui.terms import help_for

HELP = help_for("direct logit attribution")
SHOWN_ROWS, SHOWN_NEURONS = 12, 6


def compute(desk: Desk) -> Attribution | None:
    """Both runs' rows; a message in place where there can be none."""
    if not desk.answer:
        st.info(
            "Write an answer (and a distractor) on the Prompt page: the attribution is of their logits.",
            icon=":material/info:",
        )
        return None
    try:
        return direct_logit_attribution(
            desk.model, desk.tokens.text, desk.stack, answer=desk.answer, distractor=desk.distractor,
            position=desk.position, bos=desk.bench.bos,
        )  # fmt: skip
    except ExplorerError as error:
        message("attribution_error", "This model's logits cannot be attributed.", error)
        return None


def grid(desk: Desk, found: Attribution) -> None:
    """Layers by components."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        show_control(desk)
    place = st.container()
    sum_check(found)
    with place:
        picture = plots.grid(found, shown_run(desk), desk.bench.component)
        heatmap(picture, "attribution_grid", lambda layer, column: choose(plots.component_at(found, layer, column)))
    data_menu("attribution", lambda: found.frame, found.provenance)
    st.caption(
        "Layer 0 at the bottom. Blue adds to the answer, orange to the distractor. Embeddings and the last biases are in the "
        "table. Click a component to see where its part comes from, and to ablate it.",
        help=HELP,
    )


def choose(component: str) -> None:
    if component:
        session.update(component=component)


def sum_check(found: Attribution) -> None:
    """That the rows are all there is."""
    before, after = found.logit_difference
    frame = found.frame
    changed = (
        f", under the interventions {frame['changed'].sum():+.3f} (objective {after:+.3f})" if before != after else ""
    )
    say(
        f"Sum of all {len(frame)} rows: {frame['baseline'].sum():+.3f} (objective {before:+.3f}){changed}. "
        f"Largest |sum − objective| {found.check:.0e}."
    )


def by_token(found: Attribution) -> None:
    """What the heads bring from each token, all together."""
    st.markdown("**By source token**", help=HELP)
    heatmap(plots.by_token(found), "attribution_tokens")
    data_menu("by_token", lambda: by_position(found, found.by_token.numpy()), found.provenance)


def by_position(found: Attribution, parts: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"pos": range(len(found.tokens)), "token": found.tokens.texts, "logits": parts})


def component_panel(desk: Desk, found: Attribution) -> None:
    """The chosen component: its part, its sources, and what can be done to it."""
    rows = found.frame.set_index("component")
    name = desk.bench.component
    if name not in rows.index:
        st.caption("Click a component to open it here.")
        return
    with st.container(border=True, key="component_panel"):
        before, after = (float(rows[side].to_dict()[name]) for side in ("baseline", "changed"))
        part = f"{before:+.3f} → {after:+.3f}" if desk.changed else f"{before:+.3f}"
        st.markdown("**Open component**", help=HELP)
        say(f"{part} logits, directly", f"{name}:")
        site = parse_site(name)
        act(desk, site, "act_component")
        if isinstance(site, Head):
            heatmap(plots.sources(found, site.layer, site.head), "attribution_sources")
            parts = found.heads_by_source[site.layer, site.head].numpy()
            data_menu("sources", lambda: by_position(found, parts), found.provenance)
        if isinstance(site, MlpOut):
            neurons(desk, site)


def neurons(desk: Desk, site: MlpOut) -> None:
    """The neurons of an MLP that weigh most; each can be ablated."""
    try:
        frame = neuron_attribution(
            desk.model, desk.tokens.text, desk.stack, layer=site.layer, answer=desk.answer, distractor=desk.distractor,
            position=desk.position, bos=desk.bench.bos,
        )  # fmt: skip
    except ExplorerError as error:
        message("neuron_error", "Its neurons cannot be told apart.", error)
        return
    order = frame["changed"].abs().sort_values(ascending=False).index
    top = frame.loc[order[:SHOWN_NEURONS]]
    share = frame["changed"].abs().sort_values(ascending=False)
    say(
        f"{len(frame):,} neurons; the {len(top)} largest hold {share.iloc[: len(top)].sum() / max(share.sum(), 1e-12):.0%} of the sum of "
        "magnitudes. Logits, directly."
    )
    for row in top.to_dict("records"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.text(f"{row['component']}  {row['changed']:+.3f}")
            st.button(
                "Zero",
                key=f"zero_{row['component']}",
                **session.calling(put, Entry(parse_site(str(row["component"])), "zero")),
            )
    data_menu("neurons", lambda: frame)


def largest(desk: Desk, found: Attribution) -> None:
    """The rows that weigh most, and all of them to download."""
    frame = found.frame
    order = frame["changed"].abs().sort_values(ascending=False).index
    head = ["component", "kind", "baseline"] + (["changed", "difference"] if desk.changed else [])
    top = frame.loc[order[:SHOWN_ROWS], head]
    rows = [[str(row["component"]), str(row["kind"]), *signed(row, head[2:])] for row in top.to_dict("records")]
    st.html(text_grid(head, rows))
    st.caption(f"The {len(rows)} largest of {len(frame)} rows; the data menu has all.")


def signed(row: dict[Hashable, Any], names: list[str]) -> list[str]:
    return [f"{float(row[name]):+.3f}" for name in names]
