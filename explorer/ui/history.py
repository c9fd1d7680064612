"""The history of runs: noted as they are looked at, listed, reopened and compared; and named presets."""

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlencode

import pandas as pd
import streamlit as st

from explorer.analyses.prediction import Prediction
from explorer.core.errors import ShelfError
from explorer.prompts.tokens import visible
from explorer.ui import session, shelf
from explorer.ui.address import from_params, to_params
from explorer.ui.html import say
from explorer.ui.state import INPUTS, Workbench

NOTED = "_noted_run"
COLUMNS = {
    "made": "time (UTC)",
    "model": "model",
    "prompt": "prompt",
    "interventions": "interventions",
    "baseline": "objective, baseline",
    "changed": "objective, changed",
    "kl": "KL to baseline",
    "top": "likeliest token",
}


def note(bench: Workbench, predicted: Prediction) -> None:
    """Note what is run now, once for each change of it; a shelf that cannot be written never stops a page."""
    if st.session_state.get(NOTED) == (bench.inputs(), bench.side):
        return
    st.session_state[NOTED] = bench.inputs(), bench.side
    first = predicted.frame.sort_values("rank_changed").iloc[0]
    summary = {
        "model": bench.model,
        "prompt": bench.prompt[:200],
        "interventions": ", ".join(str(entry) for entry in bench.entries if entry.enabled) or "none",
        "baseline": predicted.baseline and predicted.baseline.objective,
        "changed": predicted.changed and predicted.changed.objective,
        "kl": predicted.kl,
        "top": f"{visible(str(first['token']))} {first['prob_changed']:.3f}",
    }
    try:
        shelf.note_run(run_address(bench), summary)
    except ShelfError as error:
        st.session_state[NOTED] = None
        with st.sidebar:
            say(f"This run is not in the history: {error}")


def run_address(bench: Workbench) -> str:
    """The address of what is run, without what is looked at."""
    plain = replace(Workbench(), **{name: getattr(bench, name) for name in INPUTS}, side=bench.side)
    return urlencode(to_params(plain), doseq=True)


def runs_table() -> None:
    """All runs of this machine; one chosen can be reopened, two or more compared."""
    found = shelf.runs()
    if not found:
        st.info("No run has been noted yet. Every run that a page shows is noted here.", icon=":material/history:")
        return
    table = pd.DataFrame([{"made": row.made, **row.summary} for row in found])[list(COLUMNS)].rename(columns=COLUMNS)
    numbers = ("objective, baseline", "objective, changed", "KL to baseline")
    event: Any = st.dataframe(
        table,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key="runs",
        height=min(560, 38 + 35 * len(table)),
        column_config={name: st.column_config.NumberColumn(format="%.3f") for name in numbers}
        | {"prompt": st.column_config.TextColumn(width="medium")},
    )
    chosen = [found[index] for index in event.selection.rows if index < len(found)]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Open this run",
            key="open_run",
            type="primary",
            icon=":material/arrow_forward:",
            disabled=len(chosen) != 1,
            **session.calling(session.open_address, chosen[0].address if chosen else ""),
        )
        st.button("Clear the history", key="clear_runs", type="tertiary", **session.calling(shelf.clear_runs))
        st.download_button("CSV", table.to_csv(index=False), "runs.csv", "text/csv", icon=":material/download:")
    if len(chosen) < 2:
        st.caption("Choose one run, by the box before it, to open it; two or more to compare them.")
    else:
        comparison(chosen)


def comparison(chosen: list[shelf.Kept]) -> None:
    """What differs between runs, side by side; what is equal is left out."""
    columns = {f"{row.made} (run {row.id})": described(row) for row in chosen}
    table = pd.DataFrame(columns)
    differs = table.nunique(axis=1, dropna=False) > 1
    st.markdown("**Compared**: only what differs")
    st.dataframe(table[differs].astype(str), width="stretch")


def described(row: shelf.Kept) -> dict[str, Any]:
    bench, _ = from_params(parse_qs(row.address, keep_blank_values=True))
    pair = {name: visible(getattr(bench.pair, name)) for name in ("clean", "corrupt", "answer", "distractor")}
    numbers = {COLUMNS[name]: row.summary.get(name) for name in ("interventions", "baseline", "changed", "kl", "top")}
    return {"model": bench.model, "BOS": bench.bos, "shown prompt": bench.side, **pair, **numbers}


def presets_panel() -> None:
    """Save what is open under a name; open or delete what was saved."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="preset_save"):
        name = st.text_input(
            "Name", key="preset_name", placeholder="Name of what is open now", max_chars=shelf.LONGEST_NAME
        )
        if st.button("Save preset", key="save_preset", icon=":material/bookmark_add:"):
            try:
                shelf.save_preset(name, session.address())
            except ShelfError as error:
                st.error(str(error), icon=":material/error:")
    found = shelf.presets()
    if not found:
        st.caption("No preset yet. A preset keeps model, prompts, interventions and all choices under a name.")
    for preset in found:
        with st.container(horizontal=True, vertical_alignment="center", key=f"preset_{preset.id}"):
            st.text(preset.name)
            st.caption(preset.made)
            st.space("stretch")
            st.button("Open", key=f"open_{preset.id}", **session.calling(session.open_address, preset.address))
            st.button(
                "",
                key=f"delete_{preset.id}",
                icon=":material/delete:",
                help="Delete this preset",
                type="tertiary",
                **session.calling(shelf.delete_preset, preset.name),
            )
