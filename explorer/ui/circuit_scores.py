"""The scores of the circuit on screen: three at once, their controls as they come."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from explorer.circuits.circuit import Circuit
from explorer.circuits.evaluation import (
    Band,
    CoreScores,
    Incompleteness,
    Score,
    core_scores,
    incompleteness,
    node_minimality,
    random_band,
    refusal,
    variant_scores,
    worst_variant,
)
from explorer.circuits.runs import CircuitRuns
from explorer.core.errors import CircuitError, ExplorerError
from explorer.jobs.turns import SMALL_CHUNK
from explorer.ui.circuit_state import Chosen, Shelf, active_entries, runs_of
from explorer.ui.desk import Desk, message
from explorer.ui.html import grid, say
from explorer.ui.live_work import live_work, under_way
from explorer.ui.on_request import Job
from explorer.ui.terms import help_for

N_RANDOM = 20
MEASURED_UP_TO, NODES_SHOWN = 60, 12
"""Nodes up to which minimality is measured by itself; rows that its table shows."""
FAITHFUL, COMPLETE = 0.8, 0.8
CORE = Shelf(32)
Ends = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Live:
    """The scores of one circuit, as far as they are there."""

    runs: CircuitRuns
    ends: Ends
    """Objective of clean and corrupt runs, without interventions."""
    baseline: CoreScores
    changed: CoreScores | None
    """Under the interventions, where there are some and they fit."""
    problem: str
    """Why there are none under the interventions."""


def live_scores(desk: Desk, chosen: Chosen, circuit: Circuit) -> Live:
    """Computed in place: three runs a pair, and as many under the interventions."""
    runs = runs_of(desk.bench, desk.model, chosen.pairs)
    identity = (desk.model.identity, chosen.pairs, desk.bench.bos)
    ends: Ends = CORE.get(("ends", identity), runs.ends)
    kept = (identity, circuit.kept.tobytes(), circuit.kept.shape)
    mask = circuit.mask()[None]
    baseline: CoreScores = CORE.get(("core", kept), lambda: core_scores(runs, mask, *ends)[0])
    entries = active_entries(desk.bench)
    if not entries:
        return Live(runs, ends, baseline, None, "")
    try:
        stacked = runs_of(desk.bench, desk.model, chosen.pairs, entries)
        changed: CoreScores = CORE.get(("core", kept, entries), lambda: core_scores(stacked, mask, *ends)[0])
    except ExplorerError as error:
        return Live(runs, ends, baseline, None, str(error))
    return Live(runs, ends, baseline, changed, "")


def scores_panel(desk: Desk, chosen: Chosen, circuit: Circuit, live: Live) -> None:
    """The verdict, the three scores beside their band, then the other checks."""
    refused = refusal(*live.ends)
    key = (desk.model.identity, chosen.pairs, desk.bench.bos, circuit.kept.tobytes(), circuit.kept.shape)
    band = live_work("circuit_band", key, lambda show, stop: band_of(live, circuit, show, stop), 0.0)
    variants = live_work("circuit_variants", key, lambda show, stop: variants_of(live, circuit, show, stop), 0.0)
    with st.container(border=True, key="circuit_scores"):
        st.markdown(
            "**Scores**",
            help=help_for(
                "faithfulness", "completeness (of a circuit)", "random circuits", "ablation variants (of a circuit)"
            ),
        )
        if refused:
            st.warning(refused.split(":")[0] + ".", icon=":material/block:")
            say(refused)
        core_table(live, band.result)
        if live.problem:
            message("circuit_stack_error", "Under the interventions there are no scores.", CircuitError(live.problem))
        if variants.result is not None:
            variants_table(variants.result)
            if not refused:
                verdict(live, band.result, variants.result)
        n = len(chosen.pairs)
        clean, corrupt = (float(end.mean()) for end in live.ends)
        say(
            f"{n} pair{'s' if n > 1 else ''}; model {clean:+.2f}, corrupt {corrupt:+.2f} logits. "
            + ("Intervals: 95 %, bootstrap over pairs." if n > 1 else "One pair gives no interval: take a task.")
        )
        waiting: list[Job] = [band, variants]
        for job in waiting:
            if job.error:
                st.text(job.error)
        under_way("circuit_scores", *waiting)


def band_of(live: Live, circuit: Circuit, show: Any, stop: Any) -> Band | None:
    show(0.0, f"{N_RANDOM} random circuits")
    found = random_band(live.runs, circuit, *live.ends, N_RANDOM, cancelled=stop, chunk_positions=SMALL_CHUNK)
    return None if stop() else found


def variants_of(live: Live, circuit: Circuit, show: Any, stop: Any) -> pd.DataFrame | None:
    show(0.0, "Six ways of ablating")
    found = variant_scores(live.runs, circuit, live.ends[0], cancelled=stop, chunk_positions=SMALL_CHUNK)
    return None if stop() else found


NAMES = {
    "faithfulness": "faithfulness",
    "reverse": "the other direction",
    "completeness": "completeness",
}


def core_table(live: Live, band: Band | None) -> None:
    alone = len(live.ends[0]) < 2
    head = ["", "score", *["95 %"] * (not alone), "random", "p"]
    if live.changed is not None:
        head = ["", "baseline", "changed", "Δ", "random", "p"]
    rows = []
    for name, title in NAMES.items():
        score: Score = getattr(live.baseline, name)
        cells = [title, shown(score.value)]
        if live.changed is None:
            low, high = score.interval
            cells += [] if alone else [spread(low, high)]
        else:
            changed = getattr(live.changed, name).value
            cells += [shown(changed), shown(changed - score.value, sign=True)]
        if band is None:
            cells += ["…", "…"]
        else:
            values = getattr(band, name)
            cells += [spread(values.min(), values.max()), shown_p(band.p_value(score.value, name))]
        rows.append(cells)
    st.html(f"<div class='ce-scores'>{grid(head, rows)}</div>")


def shown(value: float, sign: bool = False) -> str:
    return "–" if np.isnan(value) else f"{value:+.3f}" if sign else f"{value:.3f}"


def shown_p(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"


def spread(low: float, high: float) -> str:
    """A range, without the sign of a zero."""
    return " … ".join(f"{value:.2f}".replace("-0.00", "0.00") for value in (low, high))


def variants_table(variants: pd.DataFrame) -> None:
    hows = list(dict.fromkeys(variants["ablation"]))
    table = variants.pivot_table(index="unit", columns="ablation", values="faithfulness", dropna=False)
    rows = [
        [f"faithfulness, {unit}", *(shown(float(table.loc[unit, how])) for how in hows)] for unit in ("edges", "nodes")
    ]
    st.html(grid(["rest ablated by", *hows], rows))


def verdict(live: Live, band: Band | None, variants: pd.DataFrame) -> None:
    """The worst variant decides; nothing is called faithful that random circuits are too."""
    worst = worst_variant(variants)
    value = float(worst["faithfulness"])
    words = f"Worst variant: {worst['unit']}, {worst['ablation']}: {value:.2f}."
    if band is None:
        say(words)
        return
    p = band.p_value(live.baseline.faithfulness.value, "faithfulness")
    if abs(value - 1) <= 1 - FAITHFUL and live.baseline.completeness.value >= COMPLETE and p <= 0.05:
        verdict_ = "faithful and complete under every ablation here"
    elif live.baseline.faithfulness.value < FAITHFUL:
        verdict_ = "not faithful: what is left out matters"
    elif p > 0.05:
        verdict_ = f"not set apart from random circuits of this size (p {p:.2f})"
    else:
        verdict_ = "faithful under resampling; not under every ablation"
    say(f"{words} Held-out pairs and stability stand in their view.", f"Verdict: {verdict_}.")


def node_checks(desk: Desk, chosen: Chosen, circuit: Circuit, live: Live) -> pd.DataFrame | None:
    """Minimality of every node, and the worst knock-out; None until they are there."""
    names = circuit.components
    if not names:
        return None
    key = (desk.model.identity, chosen.pairs, desk.bench.bos, circuit.kept.tobytes(), circuit.kept.shape, "nodes")

    def work(show: Any, stop: Any) -> tuple[pd.DataFrame, Incompleteness] | None:
        show(0.0, f"The circuit without each of {len(names)} nodes")
        found = node_minimality(live.runs, circuit, *live.ends, cancelled=stop, chunk_positions=SMALL_CHUNK)
        show(0.4, f"Knock-outs of {len(names)} nodes and 10 random halves")
        worst = incompleteness(live.runs, circuit, *live.ends, cancelled=stop, chunk_positions=SMALL_CHUNK)
        return None if stop() else (found, worst)

    with st.container(border=True, key="circuit_nodes"):
        st.markdown("**Nodes**", help=help_for("minimality (of a node)", "incompleteness"))
        if len(names) > MEASURED_UP_TO and not st.session_state.get("_minimal_all"):
            st.button(f"Measure all {len(names)} nodes", key="measure_nodes", on_click=lambda: st.session_state.update(_minimal_all=True))  # fmt: skip
            return None
        job = live_work("circuit_nodes", key, work, 0.0)
        if job.error:
            st.text(job.error)
        under_way("circuit_nodes", job)
        if job.result is None:
            return None
        table, worst = job.result
        rows = [
            [circuit.labels.get(row["node"], row["node"]), f"{row['loss']:+.3f}", "–" if np.isnan(row["low"]) else f"{row['low']:+.2f} … {row['high']:+.2f}"]
            for row in table.head(NODES_SHOWN).to_dict("records")
        ]  # fmt: skip
        st.html(grid(["without the node", "circuit loses", "95 % interval"], rows))
        inert = int((table["loss"].abs() < 0.01).sum())
        say(
            f"{len(table)} node{'s' if len(table) > 1 else ''}, {inert} of them below 1 % of the model's behaviour. Incompleteness {worst.value:.2f}: the largest gap "
            f"between circuit and model after a knock-out, of {worst.tried} tried ({'none' if not worst.nodes else ', '.join(worst.nodes[:4])}"
            f"{'…' if len(worst.nodes) > 4 else ''} knocked out)."
        )  # fmt: skip
        return table  # type: ignore[no-any-return]
