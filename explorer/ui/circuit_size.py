"""The Size view: faithfulness against the number of edges, for every method that is known on these pairs, beside random circuits."""

from typing import Any

import numpy as np
import streamlit as st

from explorer.circuits.curves import N_RANDOM, FaithfulnessCurves, faithfulness_curves, sizes
from explorer.circuits.discovery import MASKED_RUN
from explorer.circuits.edge_scores import TITLES, EdgeScores, Method
from explorer.core.errors import ExplorerError
from explorer.engine.timing import seconds_of_a_run
from explorer.jobs.turns import SMALL_CHUNK
from explorer.plots.circuit_figures import curve_lines
from explorer.ui import session
from explorer.ui.circuit_state import Chosen, Shown, known_scores, runs_of, spec_of
from explorer.ui.data import data_menu
from explorer.ui.desk import Desk, message
from explorer.ui.html import grid, say
from explorer.ui.lines import line_chart
from explorer.ui.on_request import on_request
from explorer.ui.terms import help_for

LEVEL = 0.8


def size_view(desk: Desk, chosen: Chosen, shown: Shown) -> None:
    st.markdown("**Faithfulness against size**", help=help_for("faithfulness", "CPR, CMD", "random circuits"))
    known = known_methods(desk, chosen)
    if desk.bench.circuit_positions:
        st.info("Sizes are compared for circuits over all positions: switch “By position” off.", icon=":material/info:")
        return
    if not known:
        st.info("Find a circuit by a method that ranks edges first.", icon=":material/info:")
        return
    missing = [TITLES[method] for method in TITLES if TITLES[method] not in known]
    say(
        f"Methods known on {chosen.title}: {', '.join(known)}."
        + (f" Choose another above to add it: {', '.join(missing)}." if missing else "")
    )
    inputs = (desk.model.identity, chosen.pairs, desk.bench.bos, tuple(known))

    def work(show: Any, stop: Any) -> FaithfulnessCurves | None:
        runs = runs_of(desk.bench, desk.model, chosen.pairs)
        return faithfulness_curves(runs, known, progress=show, cancelled=stop, chunk_positions=SMALL_CHUNK)

    masks = len(sizes(shown.circuit.graph.n_edges)) * (len(known) + N_RANDOM)
    seconds = masks * len(chosen.pairs) * MASKED_RUN * seconds_of_a_run(desk.model, desk.tokens.ids)
    found: FaithfulnessCurves | None = on_request(
        "circuit_curves", "Measure the curves", inputs, work, help=f"Some {max(1, seconds):.0f} s.",
        stale="The pairs or methods have changed since the curves were measured.",
    )  # fmt: skip
    if found is not None:
        curves(desk, found)


def known_methods(desk: Desk, chosen: Chosen) -> dict[str, EdgeScores]:
    """What was already found on these pairs, by the method's title."""
    found: dict[str, EdgeScores] = {}
    methods: list[Method] = list(TITLES)
    for method in methods:
        try:
            scores = known_scores(spec_of(desk.bench, desk.model, chosen.pairs, method), desk.model)
        except ExplorerError as error:
            message(f"known_{method}", f"{TITLES[method]} cannot be read.", error)
            continue
        if scores is not None and not scores.by_position:
            found[TITLES[method]] = scores
    return found


def curves(desk: Desk, found: FaithfulnessCurves) -> None:
    counts = sorted(set(found.frame["chosen"]))
    line_chart(curve_lines(found), "circuit_curves_chart", lambda place: keep(int(counts[place])))
    rows = []
    for method in dict.fromkeys(found.frame["method"]):
        cpr, cmd = found.area(method)
        small = found.smallest_above(method, LEVEL)
        whole = found.frame[(found.frame["method"] == method)]
        best = (
            whole[whole["edges"] == small].iloc[0]
            if small is not None and len(whole[whole["edges"] == small])
            else None
        )
        interval = "" if best is None or np.isnan(best["low"]) else f" ({best['low']:.2f} … {best['high']:.2f})"
        share = "–" if small is None else f"{small:,} edges ({small / found.n_edges:.2%}){interval}"
        rows.append([method, share, f"{cpr:.3f}", f"{cmd:.3f}"])
    st.html(grid(["method", f"smallest circuit from {LEVEL:.0%} on", "CPR", "CMD"], rows))
    say(
        "CPR and CMD are areas over the share of edges on a linear axis: shares below 1 % are 0.9 % of them, so they say nothing of "
        "small circuits; 0.25 is a ranking worthless until all edges are kept. Random circuits are matched to the first method's. "
        "Click a size to keep so many edges."
    )
    data_menu("circuit_curves", lambda: found.frame)


def keep(count: int) -> None:
    session.update(circuit_by="edges", circuit_top=count, circuit_view="Graph")
