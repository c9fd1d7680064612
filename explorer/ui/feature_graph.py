"""The attribution graph of this prompt, under the stack beside the baseline; what is clicked can be changed, grouped and checked."""

from typing import Any, get_args

import numpy as np
import streamlit as st

from explorer.circuits.circuit import Group
from explorer.features.graph import AttributionGraph, Shown, feature_of
from explorer.features.graph_check import GraphCheck, check_graph, total_effects
from explorer.features.graph_groups import GroupRule, graph_groups
from explorer.plots import feature_figures as plots
from explorer.ui import session
from explorer.ui.data import data_menu
from explorer.ui.desk import Desk
from explorer.ui.feature_act import feature_actions
from explorer.ui.feature_state import all_labels, graph_inputs, graph_of, open_the
from explorer.ui.graph import graph_chart
from explorer.ui.groups import GRAPH_GROUPS
from explorer.ui.html import grid, say
from explorer.ui.live_work import live_work, under_way
from explorer.ui.on_request import on_request, stopping
from explorer.ui.show import show_control, shown_run
from explorer.ui.terms import help_for

LISTED = 8


def graph_view(desk: Desk) -> None:
    show_control(desk, options=("changed", "baseline"))
    known = graph_inputs(desk)
    jobs = {
        name: live_work(f"graph_{name}", (*known, stack), worker(desk, stack)) for name, stack in runs(desk).items()
    }
    for job in jobs.values():
        if job.error:
            st.error("There is no attribution graph of this prompt.", icon=":material/error:")
            st.text(job.error)
            return
    if not all(job.done.is_set() for job in jobs.values()):
        under_way("attribution_graph", *jobs.values())
        return
    graphs: dict[str, AttributionGraph] = {name: job.result for name, job in jobs.items()}
    run = "changed" if desk.changed and shown_run(desk) != "baseline" else "baseline"
    graph = graphs[run]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.slider(
            "Features that hold % of the influence",
            10,
            100,
            step=5,
            width=320,
            help=help_for("influence (attribution graph)"),
            **session.bound("graph_share", desk.bench.graph_share),
        )
    shown = graph.shown(desk.bench.graph_share / 100)
    headline(graphs, shown, desk)
    labels = all_labels(desk.model)
    marked = frozenset(
        node.name
        for node in graph.nodes
        if node.kind == "feature"
        and any(entry.site == feature_of(node) for entry in desk.bench.entries if entry.enabled)
    )
    graph_chart(
        plots.attribution_picture(shown, labels, desk.bench.graph_node, desk.bench.graph_groups, marked),
        "attribution_graph_chart", open_node, add_group, f"{desk.tokens.text} {desk.bench.graph_share}",
    )  # fmt: skip
    with st.container(horizontal=True):
        grouping(shown)
        data_menu("attribution_graph", graph.table, graph.provenance)
    left, right = st.columns([3, 2], gap="large")
    with left:
        node_panel(desk, graph, labels)
    with right:
        check_panel(desk, graph, known)


def runs(desk: Desk) -> dict[str, tuple[Any, ...]]:
    return {"baseline": ()} | ({"changed": desk.stack} if desk.changed else {})


def worker(desk: Desk, stack: tuple[Any, ...]) -> Any:
    return lambda show, cancelled: graph_of(desk, stack, stopping(show, cancelled))


def headline(graphs: dict[str, AttributionGraph], shown: Shown, desk: Desk) -> None:
    rows = [
        [
            f"{name}, whole graph",
            str(int(graph.of_kind("feature").sum())),
            str(int((graph.edges != 0).sum())),
            *(f"{value:.3f}" for value in graph.scores),
        ]
        for name, graph in graphs.items()
    ]
    features = int((shown.nodes & shown.graph.of_kind("feature")).sum())
    rows.append(
        ["what is shown", str(features), str(int(shown.edges.sum())), *(f"{value:.3f}" for value in shown.scores)]
    )
    st.markdown(
        "**Attribution graph**",
        help=help_for("attribution graph", "completeness, replacement (attribution graph)", "error term"),
    )
    st.html(grid(["", "features", "edges", "completeness", "replacement"], rows))
    dropped = (
        f" {shown.graph.dropped:,} weaker features were left out and count as error." if shown.graph.dropped else ""
    )
    say(
        f"Exact in the model with patterns and norms frozen, of this prompt alone; errors (grey) are never pruned. Approximated until changed and measured.{dropped}"
    )


def open_node(name: str) -> None:
    if "->" not in name:
        session.update(graph_node=name)


def add_group(nodes: tuple[str, ...]) -> None:
    """Draw some features as one."""
    GRAPH_GROUPS.join(tuple(name for name in nodes if "/" in name))


def grouping(shown: Shown) -> None:
    rules = get_args(GroupRule)

    def choose() -> tuple[Group, ...]:
        rule: GroupRule = st.segmented_control(
            "Group by", rules, default=rules[0], required=True, key="graph_group_rule"
        )
        return graph_groups(shown, rule)

    GRAPH_GROUPS.menu(choose, "Alike: features whose edges point the same way (cosine 0.6 or more).")


def node_panel(desk: Desk, graph: AttributionGraph, labels: dict[str, str]) -> None:
    name = desk.bench.graph_node
    numbers = {node.name: number for number, node in enumerate(graph.nodes)}
    with st.container(border=True, key="graph_node_panel"):
        if name.startswith(":"):
            GRAPH_GROUPS.panel(name[1:], labels)
            return
        if name not in numbers:
            st.caption("Click a node to open it: what feeds it, what it feeds, and what can be done to it.")
            return
        number = numbers[name]
        node = graph.nodes[number]
        site = name.partition("@")[0]
        total = total_effects(graph, int(np.argmax(graph.of_kind("logit"))))
        say(
            f"{labels.get(site, '')} influence {graph.influence[number]:.3f}, adds {total[number]:+.3f} logits to {graph.names[0]!r} over all paths",
            f"{name}:",
        )
        if node.kind == "feature":
            position = (node.position,)
            feature_actions(desk, feature_of(node), "act_graph", node.value)
            say(f"It fires at position {position[0]} ({graph.tokens[node.position]!r}) with {node.value:.3f}.")
            st.button(
                "Open its card",
                key="open_graph_card",
                icon=":material/id_card:",
                **session.calling(open_the, feature_of(node)),
            )
        tables(graph, number, labels)


def tables(graph: AttributionGraph, number: int, labels: dict[str, str]) -> None:
    """Strongest edges into and out of a node."""
    into, out = st.columns(2)
    for column, values, title in (
        (into, graph.edges[number], "fed by"),
        (out, graph.edges[:, number], "feeds"),
    ):
        order = [int(each) for each in np.argsort(-np.abs(values))[:LISTED] if values[each] != 0]
        with column:
            if order:
                st.html(
                    grid(
                        [title, "called", "direct effect"],
                        [
                            [
                                graph.nodes[each].name,
                                labels.get(graph.nodes[each].name.partition("@")[0], "")[:24],
                                f"{values[each]:+.3f}",
                            ]
                            for each in order
                        ],
                    )
                )


def check_panel(desk: Desk, graph: AttributionGraph, known: tuple[object, ...]) -> None:
    """Predictions of the graph beside interventions in the model."""
    st.markdown("**Predicted and measured**", help=help_for("predicted, measured (attribution graph)"))
    stack = desk.stack if graph.provenance.interventions else ()
    found: GraphCheck | None = on_request(
        "graph_check", "Check the strongest features", (*known, stack),
        lambda show, cancelled: check_graph(desk.model, graph, desk.tokens.text, interventions=stack, bos=desk.bench.bos, progress=stopping(show, cancelled)),
        help="Scales each of the 12 features of most influence by 0, −1 and 2 in the model itself, and compares the change of the likeliest token's logit.",
    )  # fmt: skip
    if found is None:
        return
    say(
        f"Spearman correlation {found.spearman:.2f}; wrong sign in {found.wrong_sign:.0%} of the clear predictions ({len(found.nodes)} features × {len(found.factors)} factors)."
    )
    rows = [
        [
            node.name,
            *(
                f"{predicted:+.2f} / {measured:+.2f}"
                for predicted, measured in zip(found.predicted[number], found.measured[number], strict=True)
            ),
        ]
        for number, node in enumerate(found.nodes)
    ]
    st.html(grid(["feature", *(f"× {factor:g}" for factor in found.factors)], rows))
    say("Each cell: predicted / measured change, in logits.")
