"""The numbers behind a chart: as a table, as CSV and as JSON, with what is needed to compute them again."""

import json
from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from explorer.core.provenance import Provenance
from explorer.core.records import to_record

SHOWN = 2000
"""Rows of the table that are shown; the files have all."""


def data_menu(key: str, make: Callable[[], pd.DataFrame], provenance: Provenance | None = None) -> None:
    """A popover; the table is made when it is opened."""
    menu: Any = st.popover("Data", icon=":material/table_view:", key=f"{key}_data", type="tertiary", on_change="rerun")
    if not menu.open:
        return
    with menu:
        frame = make()
        st.dataframe(frame.head(SHOWN), hide_index=True, height=320)
        if len(frame) > SHOWN:
            st.caption(f"The first {SHOWN:,} of {len(frame):,} rows are shown; the files have all.")
        with st.container(horizontal=True):
            st.download_button("CSV", frame.to_csv(index=False), f"{key}.csv", "text/csv", key=f"{key}_csv")
            st.download_button("JSON", as_json(frame, provenance), f"{key}.json", "application/json", key=f"{key}_json")
        st.caption("PNG and SVG: the buttons at the chart's lower right corner.")


def as_json(frame: pd.DataFrame, provenance: Provenance | None) -> str:
    """Rows and provenance; numbers that are none (NaN) as null."""
    rows = json.loads(frame.to_json(orient="records"))
    return json.dumps({"rows": rows, "provenance": to_record(provenance)}, ensure_ascii=False, indent=1)
