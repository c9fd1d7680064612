"""Parts of the Lens page."""

from dataclasses import dataclass
from typing import get_args

import streamlit as st

from explorer.analyses.logit_lens import LogitLens, logit_lens
from explorer.core.sites import AttnOut, MlpOut, Resid, Site
from explorer.engine.interventions import Ablate
from explorer.plots import lens_figures as plots
from explorer.plots.lens_figures import LENS_MODES
from explorer.ui import session
from explorer.ui.act import act
from explorer.ui.clicks import clickable
from explorer.ui.desk import Desk
from explorer.ui.heatmap import heatmap
from explorer.ui.html import safe_html
from explorer.ui.show import show_control, shown_run
from explorer.ui.state import Scale

WINDOW = 20
"""Positions shown at once; longer prompts are read in windows."""
LENS_HELP = (
    "Logit lens: the residual stream after a layer, through the final norm and W_U, as if the model ended there "
    "(nostalgebraist 2020). Early layers are not trained to be read this way. Entropy in nats; rank 1 is the likeliest token."
)


@dataclass(frozen=True)
class Views:
    baseline: LogitLens
    changed: LogitLens


def compute(desk: Desk) -> Views:
    """The lens of both runs, on a window of positions that holds the chosen one."""
    positions = window(len(desk.tokens), desk.position)

    def read(stack: tuple[Ablate, ...]) -> LogitLens:
        return logit_lens(
            desk.model,
            desk.tokens.text,
            stack,
            answer=desk.answer,
            distractor=desk.distractor,
            positions=positions,
            bos=desk.bench.bos,
        )

    baseline = read(())
    changed = read(desk.stack) if desk.changed else baseline
    return Views(baseline, changed)


def window(length: int, position: int) -> tuple[int, ...]:
    """At most `WINDOW` positions that hold `position`, the chosen one as late as possible."""
    stop = min(length, max(WINDOW, position + 1))
    return tuple(range(max(0, stop - WINDOW), stop))


def grid(desk: Desk, views: Views) -> None:
    """Layers by positions."""
    bench = desk.bench
    with st.container(horizontal=True, vertical_alignment="bottom"):
        show_control(desk)
        st.selectbox("Colour", LENS_MODES, help=LENS_HELP, width=200, **session.bound("lens_mode", bench.lens_mode))
    if bench.lens_mode.startswith("answer") and not desk.answer:
        st.caption("Write an answer on the Prompt page to colour by it.")
    show = shown_run(desk)
    shown = views.baseline if show == "baseline" else views.changed
    reference = views.baseline if show == "difference" else None
    picture = plots.grid(shown, bench.lens_mode, baseline=reference, selected=(layer_of(desk), column_of(desk, views)))
    heatmap(picture, "lens_grid", lambda layer, column: select_cell(views, layer, column))
    hidden = len(desk.tokens) - len(shown.positions)
    if hidden:
        st.caption(
            f"Positions {shown.positions[0]} to {shown.positions[-1]} of {len(desk.tokens)} are read; {hidden} are hidden. Click a token on the Prompt page to move there."
        )
    st.caption(f"Layer 0 at the bottom. Self-check: the last layer is the model's output, |Δ P| = {shown.check:.0e}.")


def layer_of(desk: Desk) -> int:
    last = desk.model.info.n_layers - 1
    return last if desk.bench.lens_layer is None else min(desk.bench.lens_layer, last)


def column_of(desk: Desk, views: Views) -> int:
    return views.changed.positions.index(desk.position)


def select_cell(views: Views, layer: int, column: int) -> None:
    session.update(lens_layer=layer, position=views.changed.positions[column])


def trajectories(desk: Desk, views: Views) -> None:
    """Answer against distractor, layer by layer, at the chosen position."""
    st.html(
        f"<b>Through the layers</b> at position {desk.position} (<code>{safe_html(desk.tokens.texts[desk.position])}</code>)"
    )
    if not desk.answer:
        st.caption("Write an answer (and a distractor) on the Prompt page to follow them here.")
        return
    st.segmented_control(
        "Scale",
        get_args(Scale),
        required=True,
        label_visibility="collapsed",
        **session.bound("scale", desk.bench.scale),
    )
    figure = plots.trajectories(
        views.changed,
        column_of(desk, views),
        baseline=views.baseline if desk.changed else None,
        answer=desk.answer,
        distractor=desk.distractor,
        scale=desk.bench.scale,
    )
    clickable(figure, "trajectories", lambda point: session.update(lens_layer=int(point["x"])))


def cell(desk: Desk, views: Views) -> None:
    """The chosen cell, and what can be done there."""
    layer, column = layer_of(desk), column_of(desk, views)
    with st.container(border=True, key="cell_panel"):
        st.markdown(f"**After layer {layer}, position {desk.position}**", help=LENS_HELP)
        rows = [("baseline", views.baseline)] + ([("changed", views.changed)] if desk.changed else [])
        body = "".join(cell_row(name, lens, layer, column) for name, lens in rows)
        st.html(
            f"<div class='ce-scroll'><table class='ce-table ce-small'><tr><th></th><th>top token</th><th>probability</th><th>entropy</th><th>P(answer)</th><th>rank</th></tr>{body}</table></div>"
        )
        st.caption(f"Ablate at position {desk.position}:")
        sites: list[tuple[str, Site]] = [
            ("residual stream", Resid(layer, "resid_post")),
            ("attention out", AttnOut(layer)),
        ]
        if desk.model.info.d_mlp:
            sites.append(("MLP out", MlpOut(layer)))
        for label, site in sites:
            st.markdown(f"`{site}` {label}")
            act(desk, site, f"act_{label.split()[0]}", positions=(desk.position,))


def cell_row(name: str, lens: LogitLens, layer: int, column: int) -> str:
    answer, rank = "–", "–"
    if lens.answer_prob is not None and lens.answer_rank is not None:
        answer, rank = f"{lens.answer_prob[layer, column]:.4f}", f"{lens.answer_rank[layer, column]:,}"
    cells = [f"{lens.prob[layer, column]:.4f}", f"{lens.entropy[layer, column]:.2f}", answer, rank]
    return (
        f"<tr><td>{name}</td><td class='ce-token'>{safe_html(lens.texts[layer][column])}</td>"
        + "".join(f"<td>{value}</td>" for value in cells)
        + "</tr>"
    )
