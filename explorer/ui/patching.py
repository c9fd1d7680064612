"""The Sweep view of the patching page: controls, heatmaps that fill with exact values, the scatter beside them."""

from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np
import streamlit as st

from explorer.core.errors import ExplorerError
from explorer.engine.sweep_plan import SweepSite
from explorer.metrics.effects import GATE_GAP, gates
from explorer.plots import patching_figures as plots
from explorer.plots.patching_figures import EffectScale, Layout
from explorer.ui import session
from explorer.ui.corruption import corruption_control
from explorer.ui.data import data_menu
from explorer.ui.desk import Desk, message
from explorer.ui.heatmap import heatmap
from explorer.ui.html import say
from explorer.ui.patch_cell import cell_panel, collected_panel
from explorer.ui.points import point_chart
from explorer.ui.show import show_control
from explorer.ui.state import PatchDirection
from explorer.ui.sweeps import Sweep, directions_of, keep_going, progress, sweeps, while_running
from explorer.ui.terms import help_for

SITES: dict[SweepSite, str] = {
    "head_out": "Heads: output",
    "resid_pre": "Stream before each layer",
    "resid_mid": "Stream between attention and MLP",
    "resid_post": "Stream after each layer",
    "attn_out": "Attention: output",
    "mlp_out": "MLPs: output",
    "q": "Heads: queries (q)",
    "k": "Key-value heads: keys (k)",
    "v": "Key-value heads: values (v)",
    "z": "Heads: mixed values (z)",
    "pattern": "Heads: attention pattern",
    "neurons": "Neurons of one MLP",
}
DIRECTIONS: dict[PatchDirection, str] = {
    "denoising": "denoising",
    "noising": "noising",
    "both": "both",
    "gates": "AND / OR",
}
SAID = {"denoising": "clean → corrupt run", "noising": "corrupt → clean run"}
HELP = help_for("denoising, noising", "normalised effect", "attribution patching", "AND-like, OR-like")


def sweep_view(desk: Desk) -> None:
    controls(desk)
    bench = desk.bench
    layers = [bench.patch_layer if bench.patch_layer is not None else desk.model.info.n_layers - 1]
    try:
        found = sweeps(
            desk, bench.patch_site, directions_of(bench), bench.by_position,
            layers if bench.patch_site == "neurons" else None,
        )  # fmt: skip
        keep_going(found)
    except ExplorerError as error:
        message("patching_error", "This pair cannot be patched so.", error)
        return
    left, right = st.columns([3, 2], gap="medium")
    with right:
        cell, together, scatter = st.container(), st.container(), st.container()
    with cell:
        cell_panel(desk)
    with together:
        collected_panel(desk)
    with left:
        live_maps(desk, found)
    with scatter:
        live_scatter(desk, found)


def controls(desk: Desk) -> None:
    bench = desk.bench
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "What is patched", get_args(SweepSite), format_func=SITES.__getitem__, width=240,
            **session.bound("patch_site", bench.patch_site),
        )  # fmt: skip
        if bench.patch_site == "neurons":
            last = desk.model.info.n_layers - 1
            st.number_input(
                "Layer", 0, last, width=110, **session.bound("patch_layer", min(last, bench.patch_layer if bench.patch_layer is not None else last)),
            )  # fmt: skip
        st.segmented_control(
            "Direction", list(DIRECTIONS), format_func=DIRECTIONS.__getitem__, required=True, help=HELP,
            **session.bound("direction", bench.direction),
        )  # fmt: skip
        if bench.direction != "gates":
            st.segmented_control(
                "Effect", get_args(EffectScale), required=True, help=help_for("normalised effect"),
                **session.bound("effect_scale", bench.effect_scale),
            )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center"):
        st.toggle(
            "By position",
            help="Each position apart; else all at once.",
            **session.bound("by_position", bench.by_position),
        )
        corruption_control(desk)
        if any(entry.enabled for entry in bench.entries):
            show_control(desk, changed=True)


def live_maps(desk: Desk, found: Sequence[Sweep]) -> None:
    """The heatmaps, drawn again while sweeps run."""
    while_running(desk, found, 0.5, lambda now: maps(desk, now))


def live_scatter(desk: Desk, found: Sequence[Sweep]) -> None:
    while_running(desk, found, 0.7, scatter)


def maps(desk: Desk, found: Sequence[Sweep]) -> None:
    progress(found, "sweep")
    for error in dict.fromkeys(sweep.live.error for sweep in found if sweep.live.error):
        st.error("The sweep stopped.", icon=":material/error:")
        st.text(error)
    for note in dict.fromkeys(
        note for sweep in found for note in sweep.exact.notes if not note.startswith("Cancelled")
    ):
        say(note)
    first = found[0]
    guess = first.estimate.raw if first.estimate is not None else first.change
    begin = min(group.shared for group in first.live.plan.groups)
    layout = plots.layout_of(first.exact, guess, desk.tokens.texts, begin)
    if desk.bench.direction == "gates":
        gate_map(desk, found, layout)
    else:
        direction_maps(desk, found, layout)
    below(desk, found, layout)


def direction_maps(desk: Desk, found: Sequence[Sweep], layout: Layout) -> None:
    """A map for each direction: under the stack, without it, or their difference."""
    bench = desk.bench
    raw = bench.effect_scale == "logits" or bool(found[0].exact.refusal)
    by_way: dict[str, list[Sweep]] = {}
    for sweep in found:
        by_way.setdefault(sweep.direction, []).append(sweep)
    columns = (
        st.columns(len(by_way)) if len(by_way) > 1 and len(layout.x_labels) <= 16 else [st.container() for _ in by_way]
    )
    for column, (way, both) in zip(columns, by_way.items(), strict=True):
        numbers = [sweep.change if raw else sweep.values for sweep in both]
        values = numbers[0] if len(both) == 1 else numbers[0] - numbers[1]
        neutral = 1.0 if way == "noising" and not raw and len(both) == 1 else 0.0
        legend = "change (logits)" if raw else "normalised effect"
        if len(both) > 1:
            legend = f"changed − baseline, {'logits' if raw else 'normalised effect'}"
        with column:
            measured = np.all([sweep.measured for sweep in both], axis=0)
            title = way if len(by_way) > 1 else f"{way}: {SAID[way]}"
            draw_map(desk, both[0], layout, values, measured, neutral, legend, title, f"sweep_{way}")


def gate_map(desk: Desk, found: Sequence[Sweep], layout: Layout) -> None:
    """What noising takes away beyond what denoising restores: blue AND-like, orange OR-like."""
    one, other = (next(sweep for sweep in found if sweep.direction == way) for way in ("denoising", "noising"))
    if one.exact.refusal:
        return
    measured = one.measured & other.measured
    named = gates(one.exact, other.exact).ravel()
    signs = [{"AND-like": "∧", "OR-like": "∨"}.get(name, "") for name in named]
    draw_map(
        desk, one, layout, other.strength - one.strength, measured, 0.0, "taken away by noising − restored by denoising",
        f"∧ AND-like, ∨ OR-like (differ by {GATE_GAP} or more)", "sweep_gates", signs,
    )  # fmt: skip


def draw_map(
    desk: Desk,
    sweep: Sweep,
    layout: Layout,
    values: np.ndarray,
    measured: np.ndarray,
    neutral: float,
    legend: str,
    title: str,
    key: str,
    signs: Sequence[str] = (),
) -> None:
    bench, exact = desk.bench, sweep.exact
    names = {int(cell): str(exact.place(int(cell))) for cell in layout.index.ravel()}
    number = {name: cell for cell, name in names.items()}
    at_work = {f"{entry.site}" for entry in bench.entries if entry.enabled}
    shown = plots.effect_map(
        layout, values, measured, hovers(names, sweep, values.ravel()), neutral=neutral, legend=legend, title=title,
        signs=signs, selected=number.get(bench.place),
        collected=[number[name] for name in bench.collected if name in number],
        ablated=[number[name] for name in at_work if name in number],
    )  # fmt: skip
    heatmap(
        shown, key,
        lambda row, column: session.update(place=names[int(layout.index[row, column])]),
        on_collect=lambda row, column: collect(names[int(layout.index[row, column])]),
        on_clear=lambda: session.update(place="", collected=()),
    )  # fmt: skip


def hovers(names: Mapping[int, str], sweep: Sweep, values: np.ndarray) -> dict[int, str]:
    """What is told of each cell: its value, whether it is measured, and what the estimate was."""
    change, measured = sweep.change.ravel(), sweep.measured.ravel()
    guess = None if sweep.estimate is None else sweep.estimate.raw.ravel()
    found = {}
    for cell, name in names.items():
        lines = [
            f"{name}  {values[cell]:+.3f}",
            f"{'measured' if measured[cell] else 'ESTIMATE'}: {change[cell]:+.3f} logits",
        ]
        if measured[cell] and guess is not None:
            lines.append(f"the estimate was {guess[cell]:+.3f}")
        found[cell] = "\n".join(lines)
    return found


def collect(name: str) -> None:
    """Add a place to the collection, or take it out."""
    held = session.bench().collected
    session.update(
        collected=tuple(each for each in held if each != name) if name in held else (*held, name), place=name
    )


def below(desk: Desk, found: Sequence[Sweep], layout: Layout) -> None:
    first = found[0]
    data_menu("sweep", lambda: first.exact.frame, first.exact.provenance)
    estimated = int(sum((~sweep.measured).sum() for sweep in found))
    words = "Every cell is a patched run of its own." if not estimated else (
        f"{estimated:,} hatched cells are estimates (attribution patching), not measured."
        if first.estimate is not None
        else f"{estimated:,} cells are not measured yet; this model runs on the bridge, which has no gradients for an estimate."
    )  # fmt: skip
    hidden = (
        f" {layout.hidden:,} cells, in weaker rows or where nothing can differ, are in the table only."
        if layout.hidden
        else ""
    )
    clean, corrupt = first.exact.clean.mean(), first.exact.corrupt.mean()
    say(
        f"Objective: clean {clean:+.3f}, corrupt {corrupt:+.3f} logits. {words}{hidden} Click a cell to open it; Ctrl-click "
        "collects cells; Escape clears. One pair and no control: the Dataset view has both."
    )


def scatter(found: Sequence[Sweep]) -> None:
    """The estimate against what was measured, for the first direction."""
    sweep = found[0]
    if sweep.estimate is None:
        return
    shown, cells = plots.estimate_against_exact(sweep.estimate, sweep.exact)
    st.markdown(f"**Estimate against exact, {sweep.direction}**", help=help_for("attribution patching"))
    point_chart(shown, "estimate_scatter", lambda point: session.update(place=str(sweep.exact.place(cells[point]))))
