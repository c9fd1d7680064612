"""Percentile bootstrap over pairs (Efron & Tibshirani 1993, section 13.3), and p against random controls."""

import numpy as np
from jaxtyping import Float

RESAMPLES = 2000


def mean_interval(
    rows: Float[np.ndarray, "pair cell"], confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Float[np.ndarray, " cell"], Float[np.ndarray, " cell"]]:
    """Lower and upper ends of the interval of each column's mean; all columns with the same draws."""
    picked = np.random.default_rng(seed).integers(len(rows), size=(resamples, len(rows)))
    weights = np.zeros((resamples, len(rows)))
    np.add.at(weights, (np.arange(resamples)[:, None], picked), 1 / len(rows))
    low, high = np.quantile(weights @ rows, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return low, high


def interval(values: Float[np.ndarray, " pair"], seed: int = 0) -> tuple[float, float]:
    """95 % of one mean; NaN for a single pair."""
    if len(values) < 2:
        return float("nan"), float("nan")
    low, high = mean_interval(values[:, None], seed=seed)
    return float(low[0]), float(high[0])


def p_value(value: float, controls: Float[np.ndarray, " control"]) -> float:
    """Share of controls at least as large as the value, which is counted among them (one-sided)."""
    return float((1 + (controls >= value).sum()) / (1 + len(controls)))
