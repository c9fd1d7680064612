"""The logit lens as pictures: a grid of layers and positions, and trajectories through the layers."""

from typing import Literal

import numpy as np
import plotly.graph_objects as go

from explorer.analyses.logit_lens import LogitLens
from explorer.plots.theme import (
    BLUE,
    DIVERGING,
    ORANGE,
    SEQUENTIAL,
    Ramp,
    box,
    color_bar,
    figure,
    label_room,
    margins,
    position_labels,
    symmetric_limit,
    token_label,
)

LensMode = Literal["probability", "answer probability", "answer rank", "entropy"]
LENS_MODES: tuple[LensMode, ...] = ("probability", "answer probability", "answer rank", "entropy")
REVERSED: Ramp = [(1 - at, color) for at, color in reversed(SEQUENTIAL)]


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
) -> go.Figure:
    """Layers up, positions across; each cell names the likeliest token there.  With `baseline`: the difference to it.

    A click carries x = index of the position, y = layer.
    """
    shown = values(lens, mode)
    n_layers, length = shown.shape
    style = style_of(mode)
    if baseline is not None:
        shown = shown - values(baseline, mode)
        limit = symmetric_limit(shown)
        style = {"colorscale": DIVERGING, "zmin": -limit, "zmax": limit, "title": f"Δ {style['title']}"}
    title = style.pop("title")
    drawn = figure(
        max(320, 23 * n_layers + 150),
        margin=margins(bottom=label_room([lens.tokens.texts[p] for p in lens.positions]), top=64),
    )
    drawn.add_trace(
        go.Heatmap(
            z=shown.astype(np.float32),
            opacity=0.78,  # so that the theme's text colour reads on every cell, light or dark
            customdata=hovers(lens, baseline),
            hovertemplate="%{customdata}<extra></extra>",
            colorbar=color_bar(str(title)),
            xgap=1,
            ygap=1,
            **style,
        )
    )
    drawn.add_trace(cell_texts(lens))
    labels = position_labels([lens.tokens.texts[p] for p in lens.positions], lens.positions)
    drawn.update_xaxes(tickvals=list(range(length)), ticktext=labels, tickangle=-60, range=[-0.5, length - 0.5])
    step = 1 if n_layers <= 36 else 2
    drawn.update_yaxes(title="after layer", tickvals=list(range(0, n_layers, step)), range=[-0.5, n_layers - 0.5])
    if selected is not None:
        layer, column = selected
        drawn.add_shape(**box(column - 0.5, column + 0.5, layer - 0.5, layer + 0.5, ORANGE))
    return drawn


def cell_texts(lens: LogitLens) -> go.Scatter:
    """The top token of each cell, in the theme's own text colour (a heatmap's texts do not know the page behind it)."""
    n_layers, length = lens.prob.shape
    longest = 8 if length <= 16 else 6
    layers, columns = np.mgrid[0:n_layers, 0:length]
    return go.Scatter(
        x=columns.ravel(),
        y=layers.ravel(),
        text=[token_label(text, longest) for row in lens.texts for text in row],
        mode="text",
        textfont={"size": 10},
        hoverinfo="skip",
        showlegend=False,
    )


def style_of(mode: LensMode) -> dict[str, object]:
    match mode:
        case "probability":
            return {"colorscale": SEQUENTIAL, "zmin": 0, "zmax": 1, "title": "probability of the top token"}
        case "answer probability":
            return {"colorscale": SEQUENTIAL, "zmin": 0, "zmax": 1, "title": "probability of the answer"}
        case "answer rank":
            return {"colorscale": REVERSED, "zmin": 0, "zmax": 4, "title": "log₁₀ rank of the answer"}
        case "entropy":
            return {"colorscale": REVERSED, "zmin": 0, "zmax": 10, "title": "entropy (nats)"}


def hovers(lens: LogitLens, baseline: LogitLens | None) -> list[list[str]]:
    return [
        [hover(lens, baseline, layer, column) for column in range(lens.prob.shape[1])]
        for layer in range(lens.prob.shape[0])
    ]


def hover(lens: LogitLens, baseline: LogitLens | None, layer: int, column: int) -> str:
    position = lens.positions[column]
    lines = [
        f"after layer {layer}, position {position} ({token_label(lens.tokens.texts[position])})",
        f"top: <b>{token_label(lens.texts[layer][column])}</b> {lens.prob[layer, column]:.3f}",
        f"entropy {lens.entropy[layer, column]:.2f} nats",
    ]
    if baseline is not None:
        lines.insert(2, f"baseline: {token_label(baseline.texts[layer][column])} {baseline.prob[layer, column]:.3f}")
    if lens.answer_prob is not None and lens.answer_rank is not None:
        lines.append(f"answer {lens.answer_prob[layer, column]:.3f}, rank {lens.answer_rank[layer, column]}")
    return "<br>".join(lines)


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
    drawn = figure(340, legend={"orientation": "h", "y": 1.16, "x": 0}, hovermode="x unified")
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
                        name=f"{token_label(token)}{suffix}",
                        mode="lines" if suffix else "lines+markers",
                        line={"color": color, "dash": dash, "width": 1.5 if suffix else 2.5},
                        marker={"size": 5},
                        hovertemplate="%{y:.3f}",
                    )
                )
    drawn.update_xaxes(title="after layer")
    drawn.update_yaxes(title=scale, showgrid=True, gridcolor="rgba(128,128,128,0.18)")
    if scale == "probability":
        drawn.update_yaxes(range=[-0.02, 1.02])
    return drawn
