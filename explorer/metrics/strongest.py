"""The cells with the largest effects over a dataset, as a table that shows what each claim rests on."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from explorer.metrics.effects import Effects, only


@dataclass(frozen=True)
class Band:
    """Where the effects of a control lie: the central 95 % of its cells' means, in logits."""

    low: float
    high: float
    largest: float
    """The largest magnitude of any cell's mean."""


def band_of(control: Effects) -> Band:
    means = control.raw.ravel()
    low, high = np.quantile(means, [0.025, 0.975])
    return Band(float(low), float(high), float(np.abs(means).max()))


def halves(n_pairs: int, seed: int = 0) -> np.ndarray:
    """A mask of the pairs that choose the strongest cells; on the others, held out, these are measured again."""
    return np.asarray(np.random.default_rng(seed).permutation(n_pairs) < (n_pairs + 1) // 2)


def strongest(effects: Effects, control: Effects | None = None, top: int = 10, seed: int = 0) -> pd.DataFrame:
    """The `top` cells by |mean change| on one half of the pairs, measured on the other half too, and on all.

    Columns: the cell's number (see `Effects.place`) and place; effect (normalised), change and its 95 % interval on all pairs, in logits; change on the
    choosing half and on the held-out half, with the latter's interval; with a control its mean in that cell, and whether
    the interval lies outside the control's band (`band_of`).  With fewer than four pairs all of them choose.
    """
    n_pairs = len(effects.by_pair)
    half = halves(n_pairs, seed) if n_pairs >= 4 else np.ones(n_pairs, dtype=bool)
    chosen_on, held_out = only(effects, half), only(effects, ~half) if n_pairs >= 4 else None
    order = np.argsort(-np.abs(chosen_on.raw.ravel()), kind="stable")[:top]
    frame = effects.frame.iloc[order].reset_index(drop=True)
    frame.insert(0, "cell", order)
    if n_pairs == 1:
        frame["change_low"] = frame["change_high"] = np.nan
    frame["change_chosen_on"] = chosen_on.raw.ravel()[order]
    if held_out is not None:
        frame["change_held_out"] = held_out.raw.ravel()[order]
        for name, ends in zip(("held_out_low", "held_out_high"), held_out.interval(), strict=True):
            frame[name] = ends.ravel()[order]
    if control is not None:
        band = band_of(control)
        frame["control"] = control.raw.ravel()[order]
        frame["beyond_control"] = (frame["change_low"] > band.high) | (frame["change_high"] < band.low)
    return frame
