"""The opened cell of the patching page: preview, keep, open elsewhere; and the collected cells, patched together."""

import streamlit as st

from explorer.analyses.joint_patching import JointPatching, joint_patching
from explorer.analyses.patch_preview import PatchPreview, patch_preview
from explorer.core.errors import ExplorerError
from explorer.core.places import Place, parse_place
from explorer.core.sites import Head, HeadPart, KeyValue
from explorer.engine.contrasts import Direction
from explorer.metrics.effects import GATE_GAP, SMALLEST_SPAN
from explorer.prompts.tokens import visible
from explorer.resources import pages_directory
from explorer.ui import session
from explorer.ui.act import act, put
from explorer.ui.desk import Desk, message
from explorer.ui.html import grid, say
from explorer.ui.state import Entry, Side
from explorer.ui.sweeps import directions_of, on_the_pair
from explorer.ui.terms import help_for

PATCHED_SIDE: dict[Direction, Side] = {"denoising": "corrupt", "noising": "clean"}


def preview_of(desk: Desk, places: tuple[Place, ...], direction: Direction) -> PatchPreview:
    """Both runs under the stack.  Raises as `activation_patching`."""
    found: PatchPreview = on_the_pair(desk, patch_preview, places, 20_000, direction=direction)
    return found


def cell_panel(desk: Desk) -> None:
    """What one patch does, and what can be done with it."""
    name = desk.bench.place
    if not name:
        st.caption(
            "Click a cell: what the patch does to the next token and to attention, and what to do with it, stands here."
        )
        return
    with st.container(border=True, key="cell_panel"):
        st.markdown("**Patch**", help=help_for("patch", "denoising, noising", "normalised effect", "AND-like, OR-like"))
        try:
            place = parse_place(name)
            both = {way: preview_of(desk, (place,), way) for way in ("denoising", "noising")}
        except ExplorerError as error:
            message("cell_error", "This cell cannot be patched.", error)
            return
        effects_of(name, both)  # type: ignore[arg-type]
        way = directions_of(desk.bench)[0]
        shown = both[way]
        rows = [
            [visible(str(row["token"])), f"{row['before']:.3f}", f"{row['after']:.3f}"]
            for row in shown.tokens.to_dict("records")
        ]
        st.html(grid([f"next token, {PATCHED_SIDE[way]} run", "before", "patched"], rows))
        moved = [
            [str(row["head"]), f"{row['dest']} → {row['source']}", f"{row['before']:.2f}", f"{row['after']:.2f}"]
            for row in shown.attention.head(3).to_dict("records")
        ]
        st.html(grid(["attention that changes most", "from → to", "before", "patched"], moved))
        keep_buttons(desk, place, way)


def effects_of(name: str, both: dict[Direction, PatchPreview]) -> None:
    """Both directions in words, and whether they agree."""
    restored, removed = both["denoising"].change, -both["noising"].change
    span = both["denoising"].clean - both["denoising"].corrupt
    words = f"denoising {restored:+.3f} logits, noising {-removed:+.3f}."
    if abs(span) >= SMALLEST_SPAN:
        gap = (removed - restored) / span
        kind = "AND-like: " if gap >= GATE_GAP else "OR-like: " if gap <= -GATE_GAP else ""
        words += f" {kind}It restores {restored / span:.0%} of clean − corrupt, and its loss takes {removed / span:.0%} away."
    say(words, f"{name}:")


def keep_buttons(desk: Desk, place: Place, way: Direction) -> None:
    side = PATCHED_SIDE[way]
    noisy = desk.bench.corruption == "noise"
    with st.container(horizontal=True, key="cell_keep"):
        st.button(
            "Keep this patch", type="primary", key="keep_patch", icon=":material/push_pin:", disabled=noisy,
            help="A patch from noise cannot be kept: the stack patches from the other prompt." if noisy else
            f"Put it on the stack of the {side} prompt, and show that prompt on all pages.",
            **session.calling(keep, place, side),
        )  # fmt: skip
        held = str(place) in desk.bench.circuit
        st.button(
            "Take out of circuit" if held else "Send to circuit", key="to_circuit", icon=":material/hub:",
            help="Places kept for a circuit; they stay in the address.", **session.calling(to_circuit, str(place)),
        )  # fmt: skip
    act(
        desk,
        place.site,
        "act_place",
        place.positions,
        choices=("zero", "mean", "resample", "freeze", "scale"),
        choose=False,
    )
    with st.container(horizontal=True, key="cell_open"):
        layer = place.site.layer
        if st.button("Open in Lens", key="open_lens", icon=":material/stacked_line_chart:"):
            session.update(lens_layer=layer, position=place.position, side=side)
            st.switch_page(str(pages_directory() / "lens.py"))
        head = head_of(desk, place)
        if head is not None and st.button("Open in Attention", key="open_attention", icon=":material/grid_view:"):
            session.update(head=head, side=side)
            st.switch_page(str(pages_directory() / "attention.py"))
    if desk.bench.circuit:
        say(", ".join(desk.bench.circuit), "Kept for a circuit (Circuits page, “by hand”):")


def head_of(desk: Desk, place: Place) -> Head | None:
    match place.site:
        case Head():
            return place.site
        case HeadPart(layer, head):
            return Head(layer, head)
        case KeyValue(layer, kv_head):
            return Head(layer, kv_head * (desk.model.info.n_heads // desk.model.info.n_kv_heads))
    return None


def keep(place: Place, side: Side) -> None:
    put(Entry(place.site, "patch", place.positions, on=side))
    session.update(side=side)


def to_circuit(name: str) -> None:
    held = session.bench().circuit
    session.update(circuit=tuple(each for each in held if each != name) if name in held else (*held, name))


def collected_panel(desk: Desk) -> None:
    """The collected cells patched at once, beside the sum of their single effects."""
    names = desk.bench.collected
    if not names:
        return
    with st.container(border=True, key="collected_panel"):
        st.markdown("**Collected cells, patched together**", help=help_for("joint patch"))
        way = directions_of(desk.bench)[0]
        try:
            found = joint_of(desk, tuple(map(parse_place, names)), way)
        except ExplorerError as error:
            message("joint_error", "These cells cannot be patched together.", error)
            return
        rows = [[str(row["patch"]), f"{row['change']:+.3f}"] for row in found.frame.to_dict("records")]
        st.html(grid([f"{way}, logits", "change"], rows))
        span = float(found.clean.mean() - found.corrupt.mean())
        if abs(span) >= SMALLEST_SPAN:
            sign = 1 if way == "denoising" else -1
            say(f"Together they move {sign * found.joint.mean() / span:.0%} of clean − corrupt.")
        with st.container(horizontal=True):
            st.button("Keep all", key="keep_all", **session.calling(keep_all, names, PATCHED_SIDE[way]))
            st.button("Clear", key="clear_collected", **session.calling(clear))


def joint_of(desk: Desk, places: tuple[Place, ...], direction: Direction) -> JointPatching:
    found: JointPatching = on_the_pair(desk, joint_patching, places, 10_000, direction=direction)
    return found


def keep_all(names: tuple[str, ...], side: Side) -> None:
    for name in names:
        keep(parse_place(name), side)


def clear() -> None:
    session.update(collected=())
