"""Parts of the Lens page: the grid, the way of chosen tokens through the layers, and one cell."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import pandas as pd
import streamlit as st

from explorer.analyses.component_lens import ComponentLens, component_lens
from explorer.analyses.lens import Lens, LensKind, logit_lens
from explorer.core.errors import AnswerError, ExplorerError
from explorer.core.sites import AttnOut, MlpOut, Resid, Site, parse_site
from explorer.plots import lens_figures as plots
from explorer.plots.lens_figures import LENS_MODES
from explorer.prompts.tokens import visible
from explorer.ui import session
from explorer.ui.act import act
from explorer.ui.data import data_menu
from explorer.ui.desk import Desk, message
from explorer.ui.heatmap import heatmap
from explorer.ui.html import safe_html, say
from explorer.ui.lines import line_chart
from explorer.ui.show import show_control, shown_run
from explorer.ui.state import LensOf, LensScale
from explorer.ui.terms import help_for

WINDOW = 20
"""Positions read at once; longer prompts are read in windows."""
TOP = 8
"""Tokens of a layer in the mode that lists them."""
LENS_HELP = help_for("logit lens", "tuned lens", "KL to output", "entropy", "rank")


@dataclass(frozen=True)
class Views:
    baseline: Lens
    changed: Lens
    tracks: tuple[Lens, Lens]
    """The same at the chosen position alone, with every token that is followed; baseline and changed."""


def compute(desk: Desk) -> Views | None:
    """The lens of both runs, on a window of positions that holds the chosen one; a message where there is none."""
    for kind in dict.fromkeys((desk.bench.lens, "logit")):
        try:
            return read_views(desk, kind)
        except ExplorerError as error:
            message(
                "lens_error",
                f"The {kind} lens cannot be shown{'; the logit lens is' if kind == 'tuned' else ''}.",
                error,
            )
    return None


def read_views(desk: Desk, kind: LensKind) -> Views:
    bench = desk.bench

    def read(stack: Any, **more: Any) -> Lens:
        return logit_lens(desk.model, desk.tokens.text, stack, kind=kind, answer=desk.answer, bos=bench.bos, **more)

    grid = {
        "positions": window(desk),
        "kl": bench.lens_mode == "KL to output",
        "top": TOP if bench.lens_mode == "top tokens" else 1,
    }
    track = {"positions": (desk.position,), "distractor": desk.distractor, "follow": followed(desk)}
    before = read((), **grid), read((), **track)
    after = (read(desk.stack, **grid), read(desk.stack, **track)) if desk.changed else before
    return Views(before[0], after[0], (before[1], after[1]))


def window(desk: Desk) -> tuple[int, ...]:
    """At most `WINDOW` positions that hold the chosen one, as late as possible; only those whose token the filter finds."""
    wanted = desk.bench.lens_find
    found = [
        p for p, text in enumerate(desk.tokens.texts) if wanted in text or wanted in visible(text) or p == desk.position
    ]
    place = found.index(desk.position)
    stop = min(len(found), max(WINDOW, place + 1))
    return tuple(found[max(0, stop - WINDOW) : stop])


def followed(desk: Desk) -> tuple[str, ...]:
    """Further tokens to follow; those that are not one token are named by `follow_box`."""
    return tuple(text for text in follow_texts(desk) if not_one_token(desk, text) is None)


def follow_texts(desk: Desk) -> list[str]:
    return [text for text in dict.fromkeys(desk.bench.follow.split("\n")) if text][:4]


def not_one_token(desk: Desk, text: str) -> str | None:
    try:
        desk.model.single_token(text)
    except AnswerError as error:
        return str(error)
    return None


def controls(desk: Desk) -> None:
    bench = desk.bench
    with st.container(horizontal=True, vertical_alignment="bottom"):
        show_control(desk)
        st.segmented_control(
            "Lens", get_args(LensKind), required=True, help=LENS_HELP, **session.bound("lens", bench.lens)
        )
        st.selectbox(
            "Read",
            get_args(LensOf),
            width=150,
            help=help_for("component lens"),
            **session.bound("lens_of", bench.lens_of),
        )
        if bench.lens_of == "stream":
            st.selectbox("Colour", LENS_MODES, width=180, help=LENS_HELP, **session.bound("lens_mode", bench.lens_mode))
            filters(desk)


def filters(desk: Desk) -> None:
    """Which layers and tokens are shown."""
    bench, last = desk.bench, desk.model.info.n_layers - 1
    area: Any = st.popover("Filter", icon=":material/filter_alt:", key="lens_filter", on_change="rerun")
    if not area.open:
        return
    with area:
        if last > 0:
            low, high = layers_shown(desk)[0], layers_shown(desk)[-1]
            st.session_state["w_lens_layers"] = (low, high)
            st.slider("Layers", 0, last, key="w_lens_layers", on_change=take_layers)
        st.text_input(
            "Only tokens that hold",
            help="For example ·Mary; the chosen position stays.",
            **session.bound("lens_find", bench.lens_find),
        )


def take_layers() -> None:
    low, high = st.session_state["w_lens_layers"]
    session.update(lens_from=low, lens_to=high)


def layers_shown(desk: Desk) -> range:
    last = desk.model.info.n_layers - 1
    high = last if desk.bench.lens_to is None else min(desk.bench.lens_to, last)
    return range(min(desk.bench.lens_from, high), high + 1)


def stream_grid(desk: Desk, views: Views) -> None:
    """Layers by positions, or the likeliest tokens of one position."""
    bench, show = desk.bench, shown_run(desk)
    if bench.lens_mode.startswith("answer") and not desk.answer:
        st.caption("Write an answer on the Prompt page to colour by it.")
    shown = views.baseline if show == "baseline" else views.changed
    layers, column = layers_shown(desk), column_of(desk, views)
    if bench.lens_mode == "top tokens":
        picture = plots.top_tokens(shown, column, desk.model.token_text, layer_of(desk))
        heatmap(picture, "lens_grid", lambda layer, rank: session.update(lens_layer=layer), on_clear=clear_selection)
    else:
        reference = views.baseline if show == "difference" else None
        picture = plots.grid(
            shown, bench.lens_mode, baseline=reference, selected=(layer_of(desk), column), layers=layers
        )
        heatmap(
            picture, "lens_grid", lambda row, index: select_cell(views, layers[row], index), on_clear=clear_selection
        )
    hidden(desk, shown, layers)
    record = "" if shown.kind == "logit" else tuned_record(desk)
    say(f"Layer 0 at the bottom. Self-check: the last layer is the model's output, |Δ P| = {shown.check:.0e}.{record}")
    data_menu("lens", lambda: frame(desk, views), shown.provenance)


def frame(desk: Desk, views: Views) -> pd.DataFrame:
    runs = {"baseline": views.baseline} | ({"changed": views.changed} if desk.changed else {})
    return pd.concat([lens.frame.assign(run=name) for name, lens in runs.items()], ignore_index=True)


def hidden(desk: Desk, shown: Lens, layers: range) -> None:
    """What is not on screen, loudly."""
    notes = []
    if (missing := len(desk.tokens) - len(shown.positions)) and desk.bench.lens_mode != "top tokens":
        notes.append(
            f"{missing} of {len(desk.tokens)} positions are hidden (shown: {shown.positions[0]} to {shown.positions[-1]})"
        )
    if (fewer := desk.model.info.n_layers - len(layers)) and desk.bench.lens_mode != "top tokens":
        notes.append(f"{fewer} of {desk.model.info.n_layers} layers are hidden")
    if notes:
        with st.container(horizontal=True, vertical_alignment="center"):
            say(f"{'; '.join(notes)}. Click a token on the Prompt page to move the window.", "Hidden:")
            if desk.bench.lens_find or fewer:
                st.button("Show all", key="lens_show_all", type="tertiary", **session.calling(show_all))


def show_all() -> None:
    session.update(lens_from=0, lens_to=None, lens_find="")


def tuned_record(desk: Desk) -> str:
    record = desk.model.tuned_lens.record
    return (
        f" Tuned on {record['tokens']:,} tokens ({record['text']}), rank {record['rank']}; mean KL on held-out text "
        f"{sum(record['kl_tuned']) / len(record['kl_tuned']):.2f} nats, logit lens {sum(record['kl_logit']) / len(record['kl_logit']):.2f}."
    )


def component_grid(desk: Desk) -> None:
    """What every head and MLP promotes at the chosen position."""

    def read(stack: Any) -> ComponentLens:
        return component_lens(
            desk.model, desk.tokens.text, stack, answer=desk.answer, distractor=desk.distractor, position=desk.position,
            bos=desk.bench.bos,
        )  # fmt: skip

    try:
        baseline = read(())
        changed = read(desk.stack) if desk.changed else baseline
    except ExplorerError as error:
        message("component_error", "Heads and MLPs cannot be read one by one.", error)
        return
    show = shown_run(desk)
    found = baseline if show == "baseline" else changed
    picture = plots.components(found, baseline if show == "difference" else None, desk.bench.component)
    heatmap(picture, "component_grid", lambda layer, column: session.update(component=found.name(layer, column)))
    st.caption(
        f"The token that each write promotes most at position {desk.position}; colour: its part of the objective, straight into "
        "the logits. Observed, not a cause: click one to ablate it.",
        help=help_for("component lens"),
    )
    data_menu("component_lens", lambda: found.frame, found.provenance)
    if desk.bench.component in set(found.frame["component"]):
        with st.container(border=True, key="component_panel"):
            say("", desk.bench.component)
            act(desk, parse_site(desk.bench.component), "act_component")


def layer_of(desk: Desk) -> int:
    last = desk.model.info.n_layers - 1
    return last if desk.bench.lens_layer is None else min(desk.bench.lens_layer, last)


def column_of(desk: Desk, views: Views) -> int:
    return views.changed.positions.index(desk.position)


def select_cell(views: Views, layer: int, column: int) -> None:
    session.update(lens_layer=layer, position=views.changed.positions[column])


def clear_selection() -> None:
    session.update(lens_layer=None, position=None)


def trajectories(desk: Desk, views: Views) -> Callable[[], None]:
    """The way of answer, distractor and further tokens through the layers at the chosen position; gives what draws its controls."""
    st.html(
        f"<b>Through the layers</b> at position {desk.position} (<code>{safe_html(desk.tokens.texts[desk.position])}</code>)"
    )
    place = st.container()
    shown = plots.trajectories(
        views.tracks[1],
        0,
        baseline=views.tracks[0] if desk.changed else None,
        answer=desk.answer,
        distractor=desk.distractor,
        scale=desk.bench.scale,
        selected=layer_of(desk),
    )
    if shown.series:
        line_chart(shown, "trajectories", lambda layer: session.update(lens_layer=layer))
    menu = st.container()

    def controls() -> None:
        with place, st.container(horizontal=True, vertical_alignment="bottom"):
            scale = session.bound("scale", desk.bench.scale)
            st.segmented_control("Scale", get_args(LensScale), required=True, label_visibility="collapsed", **scale)
            follow_box(desk)
        with menu:
            if not shown.series:
                st.caption(
                    "Write an answer (and a distractor) on the Prompt page, or a token to follow, to see their way."
                )
                return
            columns = {each.name: each.values for each in shown.series}
            data_menu("trajectories", lambda: pd.DataFrame(columns), views.changed.provenance)

    return controls


def follow_box(desk: Desk) -> None:
    area: Any = st.popover("Follow tokens", icon=":material/add:", key="follow", on_change="rerun")
    if area.open:
        with area:
            st.text_area(
                "One token a line, with its leading space; at most four",
                height=100,
                **session.bound("follow", desk.bench.follow),
            )
    for text in follow_texts(desk):
        if (problem := not_one_token(desk, text)) is not None:
            say(f"⚠ {problem}")


def cell(desk: Desk, views: Views) -> Callable[[], None]:
    """The chosen cell; gives what draws the choices below it."""
    layer, column = layer_of(desk), column_of(desk, views)
    panel = st.container(border=True, key="cell_panel")
    rows = [("baseline", views.baseline)] + ([("changed", views.changed)] if desk.changed else [])
    body = "".join(cell_row(name, lens, layer, column) for name, lens in rows)
    head = "<th></th><th>top token</th><th>probability</th><th>entropy</th><th>P(answer)</th><th>rank</th>"
    with panel:
        st.html(
            f"<b>After layer {layer}, position {desk.position}</b><div class='ce-scroll'><table class='ce-table ce-small'>"
            f"<tr>{head}</tr>{body}</table></div>"
        )

    def choices() -> None:
        with panel:
            st.caption("Act at this position:", help=LENS_HELP)
            for label, site in sites_of(desk, layer):
                say(label, str(site))
                name = f"act_{label.split()[0]}"
                act(desk, site, name, positions=(desk.position,), choices=("zero", "mean", "patch", "freeze"))

    return choices


def sites_of(desk: Desk, layer: int) -> list[tuple[str, Site]]:
    sites: list[tuple[str, Site]] = [("residual stream", Resid(layer, "resid_post")), ("attention out", AttnOut(layer))]
    return [*sites, ("MLP out", MlpOut(layer))] if desk.model.info.d_mlp else sites


def cell_row(name: str, lens: Lens, layer: int, column: int) -> str:
    answer, rank = "–", "–"
    if lens.answer_prob is not None and lens.answer_rank is not None:
        answer, rank = f"{lens.answer_prob[layer, column]:.4f}", f"{lens.answer_rank[layer, column]:,}"
    cells = [f"{lens.prob[layer, column]:.4f}", f"{lens.entropy[layer, column]:.2f}", answer, rank]
    return (
        f"<tr><td>{name}</td><td class='ce-token'>{safe_html(lens.texts[layer][column])}</td>"
        + "".join(f"<td>{value}</td>" for value in cells)
        + "</tr>"
    )
