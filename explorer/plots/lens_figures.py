"""The logit lens as pictures: a heatmap of layers and positions, and trajectories through the layers."""

from typing import Literal

import numpy as np
import plotly.graph_objects as go

from explorer.analyses.logit_lens import LogitLens
from explorer.plots.heatmap import Heatmap, Mark
from explorer.plots.theme import BLUE, ORANGE, Palette, figure, position_label, safe, symmetric_limit, token_label

LensMode = Literal["probability", "answer probability", "answer rank", "entropy"]
LENS_MODES: tuple[LensMode, ...] = ("probability", "answer probability", "answer rank", "entropy")

STYLES: dict[LensMode, tuple[Palette, float, str]] = {
    "probability": ("sequential", 1.0, "probability of the top token"),
    "answer probability": ("sequential", 1.0, "probability of the answer"),
    "answer rank": ("reversed", 4.0, "log₁₀ rank of the answer"),
    "entropy": ("reversed", 10.0, "entropy (nats)"),
}
"""Palette, value of full colour and legend of each mode."""
FEW_LAYERS = 12
"""Up to so many layers each has its tick."""


def values(lens: LogitLens, mode: LensMode) -> np.ndarray:
    """What a mode colours by, [layer, pos]; rank as log10."""
    match mode:
        case "probability":
            return lens.prob
        case "answer probability":
            return np.zeros_like(lens.prob) if lens.answer_prob is None else lens.answer_prob
        case "answer rank":
            return np.zeros_like(lens.prob) if lens.answer_rank is None else np.log10(lens.answer_rank)
        case "entropy":
            return lens.entropy


def grid(
    lens: LogitLens,
    mode: LensMode = "probability",
    *,
    baseline: LogitLens | None = None,
    selected: tuple[int, int] | None = None,
) -> Heatmap:
    """Layers up, positions across; each cell names the likeliest token there.  With `baseline`: the difference to it.

    Rows are layers, columns indices of the positions read.
    """
    shown = values(lens, mode).astype(np.float64)
    n_layers, length = shown.shape
    palette, high, legend = STYLES[mode]
    low = 0.0
    if baseline is not None:
        shown = shown - values(baseline, mode)
        high = symmetric_limit(shown)
        low, palette, legend = -high, "diverging", f"Δ {legend}"
    return Heatmap(
        values=shown,
        low=low,
        high=high,
        palette=palette,
        legend=legend,
        x_title="",
        y_title="after layer",
        x_labels=[(at, position_label(lens.tokens.texts[place], place)) for at, place in enumerate(lens.positions)],
        y_labels=[(layer, str(layer)) for layer in range(0, n_layers, 1 if n_layers <= 36 else 2)],
        hovers=[hover(lens, baseline, layer, column) for layer in range(n_layers) for column in range(length)],
        height=max(320, 23 * n_layers + 150),
        upwards=True,
        texts=[token_label(text) for row in lens.texts for text in row],
        marks=[] if selected is None else [Mark(selected[0], selected[1], "cell")],
    )


def hover(lens: LogitLens, baseline: LogitLens | None, layer: int, column: int) -> str:
    place = lens.positions[column]
    lines = [
        f"after layer {layer}, position {place} ({token_label(lens.tokens.texts[place])})",
        f"top: {token_label(lens.texts[layer][column])} {lens.prob[layer, column]:.3f}",
        f"entropy {lens.entropy[layer, column]:.2f} nats",
    ]
    if baseline is not None:
        lines.insert(2, f"baseline: {token_label(baseline.texts[layer][column])} {baseline.prob[layer, column]:.3f}")
    if lens.answer_prob is not None and lens.answer_rank is not None:
        lines.append(f"answer {lens.answer_prob[layer, column]:.3f}, rank {lens.answer_rank[layer, column]}")
    return "\n".join(lines)


def trajectories(
    changed: LogitLens,
    column: int,
    *,
    baseline: LogitLens | None = None,
    answer: str = "",
    distractor: str = "",
    scale: Literal["probability", "logit"] = "probability",
) -> go.Figure:
    """Answer and distractor through the layers at one position; the baseline dashed.  A click carries x = layer."""
    drawn = figure(320, legend={"orientation": "h", "y": 1.2, "x": 0}, hovermode="x unified")
    field = "prob" if scale == "probability" else "logit"
    runs = [("", "solid", changed)] if baseline is None else [(" (baseline)", "dash", baseline), ("", "solid", changed)]
    for suffix, dash, lens in runs:
        for name, token, color in (("answer", answer, BLUE), ("distractor", distractor, ORANGE)):
            series = getattr(lens, f"{name}_{field}")
            if series is not None:
                drawn.add_trace(
                    go.Scatter(
                        x=np.arange(series.shape[0]),
                        y=series[:, column],
                        name=f"{safe(token_label(token))}{suffix}",
                        mode="lines" if suffix else "lines+markers",
                        line={"color": color, "dash": dash, "width": 1.5 if suffix else 2.5},
                        marker={"size": 5},
                        hovertemplate="%{y:.3f}",
                    )
                )
    whole_numbers = {"dtick": 1} if len(changed.prob) <= FEW_LAYERS else {}
    drawn.update_xaxes(title="after layer", **whole_numbers)
    drawn.update_yaxes(title=scale, showgrid=True, gridcolor="rgba(128,128,128,0.18)")
    if scale == "probability":
        drawn.update_yaxes(range=[-0.02, 1.02])
    return drawn
