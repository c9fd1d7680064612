"""A dataset's effects in words and as a record: the strongest of each direction, with intervals and controls."""

from typing import Any

import pandas as pd

from explorer.core.records import to_record
from explorer.jobs.patching import DatasetPatching, write_spec
from explorer.metrics.effects import Effects
from explorer.metrics.strongest import band_of, strongest


def named(effects: Effects, control: Effects | None, top: int) -> pd.DataFrame:
    """`strongest`, each cell by its name."""
    frame = strongest(effects, control, top)
    frame.insert(0, "place", [str(effects.place(cell)) for cell in frame["cell"]])
    return frame.drop(columns=[name for name in ("cell", *effects.axes) if name in frame.columns])


def printed(result: DatasetPatching, top: int) -> str:
    """Tables to read in a terminal."""
    parts = []
    for way, effects in result.effects.items():
        control = result.controls.get(way)
        parts.append(
            f"\n{way}, {len(effects.by_pair):,} pairs, clean − corrupt {effects.span:+.3f} logits, 95 % bootstrap intervals"
        )
        parts += [*effects.notes]
        if control is not None:
            band = band_of(control)
            parts.append(
                f"control at random {result.spec.control}: 95 % of cells from {band.low:+.3f} to {band.high:+.3f} logits"
            )
        parts.append(named(effects, control, top).to_string(index=False, float_format=lambda value: f"{value:+.3f}"))
    return "\n".join(parts)


def result_record(result: DatasetPatching, top: int) -> dict[str, Any]:
    """JSON-ready: spec, every cell's effect and interval by direction, the strongest, the control's band."""
    record: dict[str, Any] = {"spec": write_spec(result.spec), "pairs_run": list(result.numbers), "directions": {}}
    for way, effects in result.effects.items():
        control = result.controls.get(way)
        record["directions"][way] = {
            "span": effects.span,
            "notes": list(effects.notes),
            "cells": effects.frame.to_dict("records"),
            "strongest": named(effects, control, top).to_dict("records"),
            "control_band": None if control is None else to_record(band_of(control)),
            "provenance": to_record(effects.provenance),
        }
    return record
