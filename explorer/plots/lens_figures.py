"""Lenses as pictures: layers and positions, the likeliest tokens of one position, components, and ways through the layers."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, get_args

import numpy as np

from explorer.analyses.component_lens import ComponentLens
from explorer.analyses.lens import Lens
from explorer.plots.heatmap import Heatmap, Mark
from explorer.plots.lines import Lines, Series, limits
from explorer.plots.theme import BLUE, GREEN, GREY, ORANGE, Palette, position_label, symmetric_limit, token_label

LensMode = Literal["probability", "answer probability", "answer rank", "entropy", "KL to output", "top tokens"]
LENS_MODES: tuple[LensMode, ...] = get_args(LensMode)

STYLES: dict[LensMode, tuple[Palette, float, str]] = {
    "probability": ("sequential", 1.0, "probability of the top token"),
    "answer probability": ("sequential", 1.0, "probability of the answer"),
    "answer rank": ("reversed", 4.0, "log₁₀ rank of the answer"),
    "entropy": ("reversed", 10.0, "entropy (nats)"),
    "KL to output": ("reversed", 10.0, "KL(output ‖ lens) (nats)"),
    "top tokens": ("sequential", 1.0, "probability of the top token"),
}
"""Palette, value of full colour and legend of each mode."""


def values(lens: Lens, mode: LensMode) -> np.ndarray:
    """What a mode colours by, [layer, pos]; rank as log10."""
    match mode:
        case "probability" | "top tokens":
            return lens.prob
        case "answer probability":
            return np.zeros_like(lens.prob) if lens.answer_prob is None else lens.answer_prob
        case "answer rank":
            return np.zeros_like(lens.prob) if lens.answer_rank is None else np.log10(lens.answer_rank)
        case "entropy":
            return lens.entropy
        case "KL to output":
            return np.zeros_like(lens.prob) if lens.kl is None else lens.kl


def grid(
    lens: Lens,
    mode: LensMode = "probability",
    *,
    baseline: Lens | None = None,
    selected: tuple[int, int] | None = None,
    layers: range | None = None,
    columns: Sequence[int] | None = None,
) -> Heatmap:
    """Layers up, positions across; each cell names the likeliest token there.  With `baseline`: the difference to it.

    Rows are the chosen `layers`, columns the chosen indices of the positions read; `selected` is a layer and such an index.
    """
    layers = layers or range(len(lens.prob))
    columns = range(len(lens.positions)) if columns is None else columns
    at = np.ix_(list(layers), list(columns))
    shown = values(lens, mode).astype(np.float64)[at]
    palette, high, legend = STYLES[mode]
    low = 0.0
    if baseline is not None:
        shown = shown - values(baseline, mode)[at]
        high = symmetric_limit(shown)
        low, palette, legend = -high, "diverging", f"Δ {legend}"
    marks = [
        Mark(row, column, "cell")
        for row, layer in enumerate(layers)
        for column, index in enumerate(columns)
        if (layer, index) == selected
    ]
    names = [lens.positions[index] for index in columns]
    return Heatmap(
        values=shown,
        low=low,
        high=high,
        palette=palette,
        legend=legend,
        x_title="",
        y_title="after layer",
        x_labels=[(number, position_label(lens.tokens.texts[place], place)) for number, place in enumerate(names)],
        y_labels=[(row, str(layers[row])) for row, _ in layer_labels(len(layers))],
        hovers=[hover(lens, baseline, layer, index) for layer in layers for index in columns],
        height=grid_height(len(layers)),
        upwards=True,
        texts=[token_label(lens.texts[layer][index]) for layer in layers for index in columns],
        marks=marks,
    )


def hover(lens: Lens, baseline: Lens | None, layer: int, column: int) -> str:
    place = lens.positions[column]
    lines = [
        f"after layer {layer}, position {place} ({token_label(lens.tokens.texts[place])})",
        f"top: {token_label(lens.texts[layer][column])} {lens.prob[layer, column]:.3f}",
        f"entropy {lens.entropy[layer, column]:.2f} nats",
    ]
    if lens.kl is not None:
        lines.append(f"KL to the output {lens.kl[layer, column]:.2f} nats")
    if baseline is not None:
        lines.insert(2, f"baseline: {token_label(baseline.texts[layer][column])} {baseline.prob[layer, column]:.3f}")
    if lens.answer_prob is not None and lens.answer_rank is not None:
        lines.append(f"answer {lens.answer_prob[layer, column]:.3f}, rank {lens.answer_rank[layer, column]}")
    return "\n".join(lines)


Scale = Literal["probability", "logit", "log rank"]
COLORS = (BLUE, ORANGE, GREEN, "#b5489a", "#7a5cc7", GREY)
"""Of answer, distractor and further tokens."""


def trajectories(
    changed: Lens,
    column: int,
    *,
    baseline: Lens | None = None,
    answer: str = "",
    distractor: str = "",
    scale: Scale = "probability",
    selected: int | None = None,
) -> Lines:
    """Answer, distractor and followed tokens through the layers at one position; the baseline dashed."""
    runs = [("", changed)] if baseline is None else [(" (baseline)", baseline), ("", changed)]
    series = [
        Series(f"{token_label(token)}{suffix}", values, COLORS[number % len(COLORS)], bool(suffix))
        for suffix, lens in runs
        for number, (token, values) in enumerate(followed(lens, column, scale, answer, distractor))
    ]
    low, high = (-0.02, 1.02) if scale == "probability" else limits(series)
    title = "log₁₀ rank" if scale == "log rank" else scale
    return Lines(series, "after layer", title, low, high, selected, reversed=scale == "log rank")


def followed(lens: Lens, column: int, scale: Scale, answer: str, distractor: str) -> Iterator[tuple[str, np.ndarray]]:
    """Each token and its values through the layers."""
    field = {"probability": "prob", "logit": "logit", "log rank": "rank"}[scale]
    grids = [
        (token, getattr(lens, f"{name}_{field}")) for name, token in (("answer", answer), ("distractor", distractor))
    ]
    grids += list(zip(lens.followed, getattr(lens, f"followed_{field}"), strict=True))
    for token, grid in grids:
        if grid is not None:
            values = grid[:, column].astype(np.float64)
            yield token, np.log10(values) if scale == "log rank" else values


def top_tokens(lens: Lens, column: int, texts: Callable[[int], str], selected: int | None = None) -> Heatmap:
    """The likeliest tokens after each layer at one position: layers up, first to last across, coloured by probability."""
    ids, probs = lens.top_ids[:, column], lens.top_probs[:, column].astype(np.float64)
    n_layers, k = probs.shape
    names = {int(id_): token_label(texts(int(id_))) for id_ in np.unique(ids)}
    return Heatmap(
        values=probs,
        low=0.0,
        high=1.0,
        palette="sequential",
        legend="probability",
        x_title="rank",
        y_title="after layer",
        x_labels=[(rank, str(rank + 1)) for rank in range(k)],
        y_labels=layer_labels(n_layers),
        hovers=[
            f"after layer {layer}, rank {rank + 1}\n{names[int(ids[layer, rank])]} {probs[layer, rank]:.4f}"
            for layer in range(n_layers)
            for rank in range(k)
        ],
        height=grid_height(n_layers),
        upwards=True,
        texts=[names[int(id_)] for id_ in ids.ravel()],
        marks=[] if selected is None else [Mark(selected, None, "row")],
    )


def components(found: ComponentLens, baseline: ComponentLens | None = None, selected: str = "") -> Heatmap:
    """Each head and MLP with the token that it promotes most; coloured by its part of the objective, where there is one."""
    shown = found.logit if found.objective is None else found.objective
    if baseline is not None:
        before = baseline.logit if baseline.objective is None else baseline.objective
        shown = shown - before
    shown = shown.astype(np.float64)
    n_layers, n_columns = shown.shape
    signed = baseline is not None or found.objective is not None
    limit = symmetric_limit(shown)
    legend = "logit of that token" if found.objective is None else "part of the objective (logits)"
    places = [(layer, column) for layer in range(n_layers) for column in range(n_columns)]
    return Heatmap(
        values=shown,
        low=-limit if signed else 0.0,
        high=limit,
        palette="diverging" if signed else "sequential",
        legend=f"Δ {legend}" if baseline is not None else legend,
        x_title="",
        y_title="layer",
        x_labels=list(enumerate(found.columns)),
        y_labels=layer_labels(n_layers),
        hovers=[
            f"{found.name(*place)}\npromotes {token_label(found.texts[place[0]][place[1]])} {found.logit[place]:+.2f}\n"
            f"holds down {token_label(found.lowest_texts[place[0]][place[1]])}\n{legend}: {shown[place]:+.3f}"
            for place in places
        ],
        height=grid_height(n_layers),
        upwards=True,
        texts=[token_label(text) for row in found.texts for text in row],
        marks=[Mark(*place, "cell") for place in places if selected and found.name(*place) == selected],
    )


def layer_labels(n_layers: int) -> list[tuple[int, str]]:
    return [(layer, str(layer)) for layer in range(0, n_layers, 1 if n_layers <= 36 else 2)]


def grid_height(n_layers: int) -> int:
    return max(320, 23 * n_layers + 150)
