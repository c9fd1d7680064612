"""A dataset run's results: mean effects with intervals, beside their control; the strongest; pair by pair."""

import numpy as np
import streamlit as st

from explorer.engine.contrasts import Direction
from explorer.jobs.patching import DatasetPatching
from explorer.jobs.report import named
from explorer.metrics.effects import Effects
from explorer.metrics.strongest import band_of
from explorer.plots import patching_figures as plots
from explorer.prompts.tokens import Tokens
from explorer.ui import session
from explorer.ui.data import data_menu
from explorer.ui.desk import Desk
from explorer.ui.heatmap import heatmap
from explorer.ui.html import grid, say
from explorer.ui.points import point_chart
from explorer.ui.service import SERVICE
from explorer.ui.terms import help_for

SHOWN = 10
PICKED = "_picked_pair"


def results(desk: Desk) -> None:
    """What is finished of the run that is open."""
    job = desk.bench.job
    if not job:
        st.caption("Start a run, or show one: its effects with 95 % intervals, beside a control, stand here.")
        return
    stored = SERVICE.store.job(job)
    if stored is None:
        st.info("This run is not on this machine.", icon=":material/info:")
        return
    key = ("job", job, stored.done)
    found: DatasetPatching | None = desk.model.remember(key, lambda: SERVICE.result(job, desk.model), size_of)
    if found is None:
        st.caption("No pair is finished yet.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        ways = list(found.effects)
        way: Direction = st.segmented_control(
            "Direction", ways, default=ways[-1], required=True, key=f"result_way_{job}"
        )
        right = st.toggle(f"Only the {int(found.right.sum()):,} pairs the model gets right", key=f"result_right_{job}", disabled=not 0 < found.right.sum() < len(found.right))  # fmt: skip
    if right:
        found = found.only(found.right)
    show(desk, found, way, job)


def size_of(found: DatasetPatching | None) -> int:
    return 0 if found is None else sum(each.by_pair.nbytes for each in (*found.effects.values(), *found.controls.values()))  # fmt: skip


def show(desk: Desk, found: DatasetPatching, way: Direction, job: str) -> None:
    effects, control = found.effects[way], found.controls.get(way)
    n_pairs = len(effects.by_pair)
    for note in effects.notes:
        say(note)
    band = None if control is None else band_of(control)
    words = f"{n_pairs:,} pairs; clean − corrupt {effects.span:+.3f} logits on average."
    if band is not None and found.spec.control is not None:
        what = {"positions": "at a random position", "prompts": "from another pair's prompt"}[found.spec.control]
        words += f" Control (patched {what}): 95 % of cells lie from {band.low:+.3f} to {band.high:+.3f} logits."
    say(words)
    table(effects, control)
    tokens = desk.model.tokenize(found.spec.pairs[found.numbers[0]].clean, found.spec.bos)
    effect_heatmap(desk, effects, control, tokens, way)
    data_menu("dataset", lambda: effects.frame, effects.provenance)
    pairwise(desk, found, way)


def table(effects: Effects, control: Effects | None) -> None:
    """The strongest cells: chosen on one half of the pairs, measured again on the other."""
    st.markdown(
        "**Strongest effects**",
        help=help_for("bootstrap interval", "held-out pairs", "control (of a patch)", "normalised effect"),
    )
    frame = named(effects, control, SHOWN)
    rows = []
    for row in frame.to_dict("records"):
        cells = [str(row["place"]), f"{row['change']:+.3f}", f"{row['change_low']:+.3f} … {row['change_high']:+.3f}"]
        cells.append(f"{row['effect']:.2f}" if np.isfinite(row["effect"]) else "–")
        cells.append(f"{row['change_held_out']:+.3f}" if "change_held_out" in row else "–")
        if control is not None:
            cells += [f"{row['control']:+.3f}", "beyond" if row["beyond_control"] else "within"]
        rows.append(cells)
    head = ["place", "change (logits)", "95 % interval", "normalised", "held out"] + (["control", "control's band"] if control is not None else [])  # fmt: skip
    st.html(grid(head, rows))
    say("Chosen on one half of the pairs; “held out”: the other half. Interval: bootstrap over all pairs.")


def effect_heatmap(desk: Desk, effects: Effects, control: Effects | None, tokens: Tokens, way: Direction) -> None:
    low, high = effects.interval() if len(effects.by_pair) > 1 else (effects.raw, effects.raw)
    raw, low, high = effects.raw.ravel(), low.ravel(), high.ravel()
    layout = plots.layout_of(effects, effects.raw, tokens.texts)
    names = {int(cell): str(effects.place(int(cell))) for cell in layout.index.ravel()}
    against = None if control is None else control.raw.ravel()
    hovers = {
        cell: f"{name}\n{raw[cell]:+.3f} logits, 95 % {low[cell]:+.3f} … {high[cell]:+.3f}"
        + ("" if against is None else f"\ncontrol {against[cell]:+.3f}")
        for cell, name in names.items()
    }
    number = {name: cell for cell, name in names.items()}
    shown = plots.effect_map(
        layout, effects.raw, np.isfinite(effects.raw), hovers, legend="mean change (logits)",
        title=f"{way}, mean over {len(effects.by_pair):,} pairs", selected=number.get(desk.bench.place),
    )  # fmt: skip
    heatmap(shown, "dataset_map", lambda row, column: session.update(place=names[int(layout.index[row, column])]))


def pairwise(desk: Desk, found: DatasetPatching, way: Direction) -> None:
    """One place on every pair: a strip of points beside its control, and the pair behind a point."""
    effects, control = found.effects[way], found.controls.get(way)
    cell = effects.cell(desk.bench.place)
    cell = int(np.abs(effects.raw).argmax()) if cell is None else cell
    place = str(effects.place(cell))
    values = {place: effects.by_pair.reshape(len(effects.by_pair), -1)[:, cell]}
    if control is not None:
        values["control"] = control.by_pair.reshape(len(control.by_pair), -1)[:, cell]
    order = {place: found.numbers, "control": found.control_numbers}
    texts = {name: [f"pair {at + 1}: {found.spec.pairs[at].clean[:60]}" for at in order[name]] for name in values}
    band = None if control is None else band_of(control)
    shown = plots.strip_plot(
        values, texts, f"{place}, pair by pair", "change (logits)", None if band is None else (band.low, band.high)
    )
    flat = [number for name in values for number in order[name]]
    point_chart(shown, "strip_plot", lambda point: pick(flat[point]))
    st.caption(
        "Shaded: the control's band over all cells. Click a point for its pair, a cell of the map for another place."
    )
    picked = st.session_state.get(PICKED)
    if picked in found.numbers:
        drill_down(found, way, picked, cell, place)


def pick(number: int) -> None:
    st.session_state[PICKED] = number


def drill_down(found: DatasetPatching, way: Direction, number: int, cell: int, place: str) -> None:
    """One pair: its prompts, its numbers, and the way to all pages."""
    pair, row = found.spec.pairs[number], found.numbers.index(number)
    effects = found.effects[way]
    with st.container(border=True, key="picked_pair"):
        st.text(f"Pair {number + 1}\nclean:   {pair.clean}\ncorrupt: {pair.corrupt}\nanswer {pair.answer!r}, distractor {pair.distractor!r}")  # fmt: skip
        change = effects.by_pair.reshape(len(effects.by_pair), -1)[row, cell]
        say(f"clean {effects.clean[row]:+.3f}, corrupt {effects.corrupt[row]:+.3f}, {place} {change:+.3f} logits")
        st.button(
            "Open this pair in the Sweep view",
            key="open_pair",
            type="primary",
            **session.calling(open_pair, found, number),
        )


def open_pair(found: DatasetPatching, number: int) -> None:
    session.update(pair=found.spec.pairs[number], position=None, patch_view="Sweep", corruption="other prompt")
