"""The Paths view: click a sender, then receivers; direct effect, total effect, and the check that all paths add up to it."""

from collections.abc import Sequence
from typing import get_args

import numpy as np
import streamlit as st

from explorer.analyses.path_patching import Between, PathMap, PathPatching, path_map, path_patching
from explorer.core.errors import ExplorerError
from explorer.core.sites import parse_receiver, parse_sender
from explorer.engine.contrasts import Direction
from explorer.plots import attention_figures
from explorer.plots import patching_figures as plots
from explorer.ui import session
from explorer.ui.data import data_menu
from explorer.ui.desk import Desk, message
from explorer.ui.heatmap import heatmap
from explorer.ui.html import grid, say
from explorer.ui.state import stack_of
from explorer.ui.sweeps import Sweep, keep_going, progress, sweeps, while_running
from explorer.ui.terms import help_for

HELP = help_for("path patching", "sender, receiver", "total effect")
MOST_HEADS = 4
"""Receiving heads whose attention is drawn."""


def paths_view(desk: Desk) -> None:
    bench = desk.bench
    if bench.corruption == "noise":
        st.info("Paths run between the two prompts of the pair; noise plays no part here.", icon=":material/info:")
    way = controls(desk)
    left, right = st.columns([2, 3], gap="medium")
    try:
        with right:
            receivers, panel = st.container(), st.container()
        if bench.sender:
            with receivers:
                receiver_map(desk, way)
            with panel:
                result(desk, way)
        else:
            with receivers:
                st.caption("Click a sender on the left: what it sends to each receiver stands here.")
        with left:
            senders(desk, way)
    except ExplorerError as error:
        message("paths_error", "These paths cannot be patched.", error)


def controls(desk: Desk) -> Direction:
    bench = desk.bench
    way: Direction = "denoising" if bench.direction == "denoising" else "noising"
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.segmented_control(
            "Direction", ("denoising", "noising"), required=True, help=help_for("denoising, noising"),
            **session.bound("direction", way),
        )  # fmt: skip
        st.segmented_control(
            "MLPs between", get_args(Between), required=True,
            help="Recomputed: MLPs between sender and receivers pass the change on (IOI, Wang et al. 2023). Frozen: the stream alone does.",
            **session.bound("path_mlps", bench.path_mlps),
        )  # fmt: skip
        st.segmented_control(
            "Norms", get_args(Between), required=True,
            help="Recomputed: each norm scales by what it reads. Frozen: it keeps the scale of the run that is patched, so that what is sent adds up.",
            **session.bound("path_norms", bench.path_norms),
        )  # fmt: skip
    return way


def senders(desk: Desk, way: Direction) -> None:
    """Total effects of heads and MLPs; a click makes one the sender."""
    info = desk.model.info
    found = [sweeps(desk, "head_out", (way,), False)[0]]
    if info.d_mlp:
        found.append(sweeps(desk, "mlp_out", (way,), False)[0])
    keep_going(found)
    names = [writers_of(desk, layer) for layer in range(info.n_layers)]

    def draw(now: Sequence[Sweep]) -> None:
        progress(now, "senders")
        values, measured = (
            np.concatenate([getattr(sweep, name).reshape(info.n_layers, -1) for sweep in now], 1)
            for name in ("change", "measured")
        )
        shown = plots.sender_figure(values, measured, names, desk.bench.sender, f"1. Senders: {way}, total effect")
        heatmap(shown, "path_senders", lambda row, column: session.update(sender=names[row][column]))

    while_running(desk, found, 0.5, draw)
    st.button("Take the embeddings as sender", key="sender_embed", type="tertiary", **session.calling(choose, "embed"))


def writers_of(desk: Desk, layer: int) -> list[str]:
    info = desk.model.info
    return [f"L{layer}H{head}" for head in range(info.n_heads)] + [f"L{layer}.mlp_out"] * bool(info.d_mlp)


def choose(sender: str) -> None:
    session.update(sender=sender)


def key_of(desk: Desk, way: Direction) -> tuple[object, ...]:
    bench = desk.bench
    return bench.pair, bench.bos, bench.entries, bench.sender, way, bench.path_mlps, bench.path_norms


def receiver_map(desk: Desk, way: Direction) -> None:
    bench = desk.bench

    def make() -> PathMap:
        return path_map(
            desk.model, bench.pair, parse_sender(bench.sender), direction=way, mlps=bench.path_mlps, norms=bench.path_norms,
            interventions=lambda pair, side: stack_of(bench.entries, pair, side), bos=bench.bos,
        )  # fmt: skip

    found: PathMap = desk.model.remember(("path_map", *key_of(desk, way)), make, lambda made: 100 * len(made.frame))
    shown, names = plots.path_figure(found, desk.model.info.n_layers, bench.receivers)
    heatmap(shown, "path_receivers", lambda row, column: toggle(names[row][column]), on_clear=clear)
    data_menu("paths", lambda: found.frame, found.provenance)
    st.caption("Each receiver alone. Click receivers to patch the paths to them together; Escape clears.", help=HELP)


def toggle(name: str) -> None:
    held = session.bench().receivers
    if name:
        session.update(receivers=tuple(each for each in held if each != name) if name in held else (*held, name))


def clear() -> None:
    session.update(receivers=())


def result(desk: Desk, way: Direction) -> None:
    """The chosen paths together, beside the sender's total effect."""
    bench = desk.bench
    with st.container(border=True, key="path_panel"):
        if not bench.receivers:
            st.caption("Click receivers above.")
            return

        def make() -> PathPatching:
            return path_patching(
                desk.model, bench.pair, parse_sender(bench.sender), [parse_receiver(name) for name in bench.receivers],
                direction=way, mlps=bench.path_mlps, norms=bench.path_norms,
                interventions=lambda pair, side: stack_of(bench.entries, pair, side), bos=bench.bos,
            )  # fmt: skip

        st.markdown("**Paths**", help=HELP)
        try:
            key = ("paths", *key_of(desk, way), bench.receivers)
            found: PathPatching = desk.model.remember(key, make, lambda made: 100_000)
        except ExplorerError as error:
            message("path_error", "These paths cannot be patched.", error)
            st.button("Clear receivers", key="clear_receivers", **session.calling(clear))
            return
        direct, total = float(found.direct[0]), float(found.total[0])
        rows = [["through these paths alone", f"{direct:+.4f}"], ["sender patched as a whole", f"{total:+.4f}"]]
        if np.isfinite(found.all_paths[0]):
            rows.append(["through all its edges (edge mode)", f"{found.all_paths[0]:+.4f}"])
        st.html(grid([f"{bench.sender} → {', '.join(bench.receivers)}", "logits"], rows))
        if np.isfinite(found.all_paths[0]):
            say(f"Check: all paths = total effect, to {found.check:.0e} logits.")
        for note in found.notes:
            say(note)
        say(
            f"MLPs between {found.mlps}, norms {found.norms}; other heads held. "
            "What one receiver changes in another's input is not counted."
        )
        attention(desk, found)


def attention(desk: Desk, found: PathPatching) -> None:
    """The receiving heads' attention before and after."""
    if not found.patterns:
        return
    for name, (before, after) in list(found.patterns.items())[:MOST_HEADS]:
        columns = st.columns(2)
        for column, word, pattern in zip(columns, ("before", "after"), (before, after), strict=True):
            with column:
                heatmap(
                    attention_figures.head(pattern, desk.tokens.texts, title=f"{name}, {word}"),
                    f"receiver_{name}_{word}",
                )
    if len(found.patterns) > MOST_HEADS:
        say(f"The first {MOST_HEADS} of {len(found.patterns)} receiving heads are drawn.")
