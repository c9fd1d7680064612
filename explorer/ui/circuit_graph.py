"""The Graph view: how much is kept, the picture, what runs, and beside it prediction, scores and what was clicked."""

from typing import Any, get_args

import numpy as np
import streamlit as st
import torch

from explorer.analyses.attention import HEAD_TYPES, NAMED_ABOVE, attention
from explorer.analyses.component_lens import ComponentLens, component_lens
from explorer.circuits.circuit import Circuit
from explorer.circuits.edge_scores import EdgeScores
from explorer.circuits.editing import CHANGES
from explorer.circuits.stability import stability
from explorer.core.errors import ExplorerError
from explorer.core.places import PlacedEdge
from explorer.core.sites import Head
from explorer.engine.interventions import AblationKind, OnlyEdges
from explorer.models.zoo.knowledge import true_circuit
from explorer.plots.circuit_figures import DRAWN_AT_MOST, Details, circuit_graph, effects_of
from explorer.plots.theme import token_label
from explorer.ui import session
from explorer.ui.circuit_groups import grouping
from explorer.ui.circuit_item import add_group, item_panel, open_item
from explorer.ui.circuit_scores import CORE, live_scores, node_checks, scores_panel
from explorer.ui.circuit_state import Chosen, Shown, active_entries, runs_of, title_of, top_of
from explorer.ui.data import data_menu
from explorer.ui.desk import Desk
from explorer.ui.graph import graph_chart
from explorer.ui.html import grid, plain_label, say
from explorer.ui.live_work import live_work
from explorer.ui.state import CircuitMode, KeepBy
from explorer.ui.terms import help_for

RESAMPLED = 40
"""Datasets that the frequency of edges is taken from; the Stability view takes more."""
LONGEST_THUMBNAIL = 24
"""Tokens up to which a head's pattern is shown beside it."""
REST: dict[AblationKind, str] = {"resample": "corrupt prompt", "mean": "means", "zero": "zero"}


def graph_view(desk: Desk, chosen: Chosen, shown: Shown) -> None:
    circuit = shown.circuit
    keep_controls(desk, shown)
    if not circuit.n_edges:
        empty_circuit(desk, shown)
        return
    left, right = st.columns([4, 3], gap="medium")
    with right:
        prediction_box(desk, circuit)
        live = live_scores(desk, chosen, circuit)
        opened = st.container()
        scores_panel(desk, chosen, circuit, live)
        minimal = node_checks(desk, chosen, circuit, live)
        with opened:
            item_panel(desk, shown, minimal)
    with left:
        details = details_of(desk, shown)
        picture = circuit_graph(circuit, details, desk.bench.circuit_item, shown.scores is None or shown.scores.signed)
        about = f"{desk.bench.model} {desk.bench.circuit_method} {circuit.by_position}"
        graph_chart(picture, "circuit_graph", open_item, add_group, about)
        legend(shown)
        below(desk, shown)


def keep_controls(desk: Desk, shown: Shown) -> None:
    """The sliders, and what they leave: counts of kept, isolated and hidden edges."""
    bench, scores, circuit = desk.bench, shown.scores, shown.circuit
    with st.container(horizontal=True, vertical_alignment="bottom", key="keep_controls"):
        if scores is not None:
            st.segmented_control(
                "Keep by", get_args(KeepBy), required=True, **session.bound("circuit_by", bench.circuit_by)
            )
            if bench.circuit_by == "influence":
                st.slider(
                    "Keep % of influence", 1, 100, width=330, help=help_for("influence (of edges)"),
                    **session.bound("circuit_keep", bench.circuit_keep),
                )  # fmt: skip
            else:
                st.select_slider(
                    "Keep the strongest edges", counts_up_to(scores.total, bench.circuit_top), format_func=lambda count: f"{count:,}",
                    width=330, **session.bound("circuit_top", min(bench.circuit_top, scores.total)),
                )  # fmt: skip
        st.segmented_control(
            "Run", get_args(CircuitMode), required=True,
            help="**The model**: interventions act on the whole model. **Only the circuit**: every edge outside it carries what is "
            "chosen beside this; all pages show that run.",
            **session.bound("circuit_mode", bench.circuit_mode),
        )  # fmt: skip
        st.selectbox(
            "The rest carries", list(REST), format_func=REST.__getitem__, width=150,
            disabled=bench.circuit_mode == "the model", **session.bound("circuit_rest", bench.circuit_rest),
        )  # fmt: skip
    total = shown.scores.total if shown.scores is not None else circuit.graph.n_edges
    parts = [f"{circuit.n_edges:,} of {total:,} edges, {len(circuit.nodes)} nodes"]
    if scores is not None:
        top = top_of(bench, scores)
        parts.append(f"{top:,} edges hold {scores.influence_of(top):.0%} of the influence")
    if circuit.isolated:
        parts.append(
            f"{circuit.isolated:,} isolated edges left out (no path from embedding to logits leads through them)"
        )
    if circuit.n_edges > DRAWN_AT_MOST:
        parts.append(f"the {circuit.n_edges - DRAWN_AT_MOST:,} weakest are not drawn, and count in every score")
    if scores is not None and scores.residual is not None:
        span = float((scores.clean - scores.corrupt).mean())
        parts.append(f"completeness residual {scores.residual:.3f} of {span:+.2f} logits")
    say("; ".join(parts) + ".")
    against_truth(desk, circuit)


def against_truth(desk: Desk, circuit: Circuit) -> None:
    """For models set by hand: how many of the true edges are kept."""
    true = true_circuit(desk.bench.model)
    if true is None:
        return
    wanted = {str(PlacedEdge(edge)) for edge in true.edges}
    found = {str(PlacedEdge(each.edge)) for each in circuit.edges}
    say(
        f"{len(wanted & found)} of its {len(wanted)} edges are here, and {len(found - wanted)} others. An edge that carries the same on both "
        "prompts (positions, for one) has no effect on them, so no method finds it.",
        "The true circuit of this model:",
    )


def counts_up_to(total: int, current: int) -> list[int]:
    """Numbers of edges in about equal factors, the current one and all among them."""
    steps = {base * 10**power for power in range(7) for base in (1, 2, 3, 5, 75 / 10)}
    return sorted(
        {int(step) for step in steps if 5 <= step < total and step == int(step)} | {min(current, total), total}
    )


def empty_circuit(desk: Desk, shown: Shown) -> None:
    """No edge is left: why, and what to do."""
    if shown.scores is None:
        st.info(
            "No circuit by hand yet. Send places here from the Patching page (“to circuit”), or take in a file in the Files view.",
            icon=":material/info:",
        )
    elif not np.abs(shown.scores.values).any():
        st.info(
            "No edge has any effect on this answer: clean and corrupt prompts give the same objective.",
            icon=":material/info:",
        )
    else:
        st.info("No path from the embedding to the logits is left. Keep more edges.", icon=":material/info:")
    changes(desk, shown)


def prediction_box(desk: Desk, circuit: Circuit) -> None:
    """The shown prompt's next token: by the model, under the interventions, and by the circuit alone."""
    found, frame = desk.prediction, desk.prediction.frame
    runs = {"model": ("baseline", found.baseline)}
    if desk.changed:
        alone = any(isinstance(item, OnlyEdges) for item in desk.stack)
        runs["circuit alone" if alone else "under interventions"] = ("changed", found.changed)
    rows = []
    for name, (which, score) in runs.items():
        first = frame.sort_values(f"rank_{which}").iloc[0]
        cells = [name, f"{token_label(str(first['token']))} {first[f'prob_{which}']:.2f}"]
        rows.append(cells + ([] if score is None else [f"{score.objective:+.2f}", f"{score.answer_prob:.3f}"]))
    if "circuit alone" not in runs and (cells := circuit_alone(desk, circuit)):
        rows.append(cells)
    head = ["", "likeliest", "logit diff." if desk.distractor else "logit", "P(answer)"]
    with st.container(key="circuit_prediction"):
        st.html(grid(head[: max(len(row) for row in rows)], rows))


def circuit_alone(desk: Desk, circuit: Circuit) -> list[str]:
    """The circuit's own next token, under the interventions; nothing where it cannot run, or another position is read."""
    bench = desk.bench
    if desk.position != len(desk.tokens) - 1 or not desk.distractor:
        return []
    try:
        entries = active_entries(bench)
        runs = runs_of(bench, desk.model, (bench.pair,), entries)
        if circuit.by_position and runs.lengths != [circuit.kept.shape[2]]:
            return []

        def make() -> torch.Tensor:
            mode = runs.mode([0], bench.circuit_rest, bench.side == "corrupt")
            with torch.no_grad():
                return mode.logits(circuit.mask()[None])[0, 0].double()

        asked = (desk.model.identity, bench.pair, bench.bos, entries, bench.side, bench.circuit_rest)
        logits: torch.Tensor = CORE.get(("alone", asked, circuit.kept.tobytes(), circuit.kept.shape), make)
    except ExplorerError:
        return []
    answer, distractor = runs.contrasts[0].read
    prob, best = logits.softmax(-1), int(logits.argmax())
    first = f"{token_label(desk.model.token_text(best))} {float(prob[best]):.2f}"
    return ["circuit alone", first, f"{float(logits[answer] - logits[distractor]):+.2f}", f"{float(prob[answer]):.3f}"]


def details_of(desk: Desk, shown: Shown) -> Details:
    """What nodes and edges say when pointed at: effect, types, tokens, strongest edges, how often an edge is found again."""
    circuit = shown.circuit
    marked = {entry.name for entry in desk.bench.entries if entry.enabled}
    hovers = {
        name: [circuit.labels.get(name, name) + (f" ({name})" if name in circuit.labels else "")]
        for name in circuit.nodes
    }
    for name, effect in effects_of(circuit).items():
        if name in hovers:
            hovers[name].append(f"contribution {effect:+.3f} (estimate: sum over its edges)")
    strongest_edges(circuit, hovers)
    thumbnails = head_details(desk, circuit, hovers)
    promoted(desk, hovers)
    return Details(
        {name: "\n".join(lines) for name, lines in hovers.items()},
        thumbnails,
        frozenset(marked),
        frequency_of(desk, shown.scores),
        desk.tokens.texts,
    )


def frequency_of(desk: Desk, scores: EdgeScores | None) -> np.ndarray | None:
    """How often each edge is in the circuit of a resampled dataset: found beside the page, there from the next run on."""
    if scores is None or not scores.signed or len(scores.by_pair) < 2:
        return None
    top = top_of(desk.bench, scores)

    def work(show: Any, stop: Any) -> np.ndarray:
        return stability(scores, top, RESAMPLED, cancelled=stop).frequency

    found: np.ndarray | None = live_work("circuit_frequency", (scores.fingerprint, top), work, 0.0).result
    return found


def strongest_edges(circuit: Circuit, hovers: dict[str, list[str]]) -> None:
    """The three strongest edges in and out of each node."""
    out: dict[str, list[tuple[float, PlacedEdge]]] = {}
    into: dict[str, list[tuple[float, PlacedEdge]]] = {}
    for edge in circuit.edges:
        score = circuit.score(edge)
        out.setdefault(str(edge.edge.sender), []).append((score, edge))
        for name in circuit.owners(edge):
            into.setdefault(name, []).append((score, edge))
    for name, lines in hovers.items():
        for title, found in (("in", into.get(name, [])), ("out", out.get(name, []))):
            best = sorted(found, key=lambda each: -abs(each[0]))[:3]
            if best:
                lines.append(
                    f"{len(found)} {title}: "
                    + ", ".join(
                        f"{edge.edge.sender if title == 'in' else edge.edge.receiver} {score:+.2f}"
                        for score, edge in best
                    )
                )


def head_details(desk: Desk, circuit: Circuit, hovers: dict[str, list[str]]) -> dict[str, str]:
    """Types of heads, and thumbnails of their patterns in the run that is shown."""
    try:
        found = attention(desk.model, desk.tokens.text, desk.stack, bos=desk.bench.bos)
    except ExplorerError:
        return {}
    thumbnails = {}
    for site in circuit.senders:
        if not isinstance(site, Head):
            continue
        types = [
            f"{name} {found.scores[name][site.layer, site.head]:.2f}"
            for name in HEAD_TYPES
            if found.scores[name][site.layer, site.head] >= NAMED_ABOVE
        ]
        hovers[str(site)].append("type: " + (", ".join(types) or "none of those known"))
        pattern = found.patterns[site.layer, site.head]
        if len(pattern) <= LONGEST_THUMBNAIL:
            levels = np.clip((pattern * 9.999).astype(int), 0, 9)
            thumbnails[str(site)] = "\n".join("".join(map(str, row)) for row in levels)
    return thumbnails


def promoted(desk: Desk, hovers: dict[str, list[str]]) -> None:
    """The token that each head and MLP promotes most by itself: looked up beside the page, there from the next run on."""

    def work(show: Any, stop: Any) -> ComponentLens | None:
        return None if stop() else component_lens(
            desk.model, desk.tokens.text, desk.stack, answer=desk.answer, distractor=desk.distractor, position=desk.position,
            bos=desk.bench.bos,
        )  # fmt: skip

    inputs = (
        desk.model.identity,
        desk.tokens.text,
        desk.stack,
        desk.answer,
        desk.distractor,
        desk.position,
        desk.bench.bos,
    )
    found = live_work("circuit_promoted", inputs, work, 0.0).result
    if found is None:
        return
    for layer in range(found.logit.shape[0]):
        for column in range(found.logit.shape[1]):
            name = found.name(layer, column)
            if name in hovers:
                hovers[name].append(
                    f"promotes {token_label(found.texts[layer][column])} ({found.logit[layer, column]:+.2f}), holds down "
                    f"{token_label(found.lowest_texts[layer][column])}"
                )


def legend(shown: Shown) -> None:
    signed = shown.scores is not None and shown.scores.signed
    colors = "Blue: corrupting it lowers the objective; orange: raises it. " if signed else ""
    estimate = "" if shown.scores is None else ("Scores are measured, one edge at a time. " if shown.scores.measured else "Scores are estimates or trained masks, not effects: open an edge to measure it. ")  # fmt: skip
    say(
        f"{colors}Width: |score|. Edges into heads: dashed to queries, dotted to keys, solid to values. {estimate}Click opens; hold g "
        "(or Ctrl) and click nodes to group them; drag pans, the wheel zooms; arrows, e and Enter walk by keyboard."
    )


def below(desk: Desk, shown: Shown) -> None:
    """Changes by hand, groups, notes and the numbers."""
    changes(desk, shown)
    with st.container(horizontal=True, vertical_alignment="center", key="circuit_tools"):
        grouping(desk, shown)
        for group in shown.circuit.groups:
            st.button(
                plain_label(group.name), key=f"open_group_{group.name}", type="tertiary", icon=":material/workspaces:",
                help=", ".join(group.nodes), **session.calling(open_item, f":{group.name}"),
            )  # fmt: skip
        if shown.scores is not None:
            scores = shown.scores
            data_menu("edges", lambda: scores.frame, scores.provenance)
    st.text_area(
        "Notes on this circuit", height=68, max_chars=2000, placeholder="What you think it does. Kept in the link and in files.",
        **session.bound("circuit_notes", desk.bench.circuit_notes),
    )  # fmt: skip


def changes(desk: Desk, shown: Shown) -> None:
    """Each change by hand, to be taken back."""
    if not shown.edits:
        return
    with st.container(horizontal=True, vertical_alignment="center", key="circuit_changes"):
        say(f"By hand, on {title_of(desk.bench)}:")
        for number, edit in enumerate(shown.edits):
            what = edit.node if edit.edge is None else str(edit.edge)
            st.button(
                f"{CHANGES[edit.change]} {what}", key=f"change_{number}", icon=":material/close:", type="tertiary",
                help=shown.problems.get(edit, "Take this change back"), **session.calling(take_back, str(edit)),
            )  # fmt: skip
    for edit, problem in shown.problems.items():
        say(f"{edit}: {problem}", "Not applied:")


def take_back(edit: str) -> None:
    session.update(circuit_edits=tuple(each for each in session.bench().circuit_edits if each != edit))
