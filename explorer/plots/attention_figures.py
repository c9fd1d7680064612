"""Attention as heatmaps: all heads as thumbnails in one, and one head large."""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from explorer.core.sites import Head
from explorer.plots.heatmap import Heatmap, Mark, MarkColor
from explorer.plots.theme import position_label, symmetric_limit

THUMBNAIL = 32
"""Largest side of a thumbnail, in cells; longer prompts are pooled."""
LARGE = 256
"""Largest side of the large view, in cells."""
GridColor = Literal[
    "patterns", "previous token", "duplicate token", "induction", "first token", "entropy", "direct contribution",
    "ablation effect",
]  # fmt: skip
"""What the grid of heads shows: thumbnails, or one number a head."""
GRID_COLORS: tuple[GridColor, ...] = get_args(GridColor)
SIGNED = ("direct contribution", "ablation effect")

Patterns = Float[np.ndarray, "layer head dest source"]


def pool(pattern: Float[np.ndarray, "*batch dest source"], side: int) -> tuple[np.ndarray, int]:
    """Shrink the last two axes to at most `side` cells; each cell keeps its block's value of largest magnitude.

    Also gives the size of a block, in tokens.
    """
    length = pattern.shape[-1]
    block = math.ceil(length / side)
    if block == 1:
        return pattern, 1
    cells = math.ceil(length / block)
    gap = cells * block - length
    padded = np.pad(pattern, [(0, 0)] * (pattern.ndim - 2) + [(0, gap), (0, gap)])
    blocks = padded.reshape(*pattern.shape[:-2], cells, block, cells, block).swapaxes(-3, -2)
    flat = blocks.reshape(*blocks.shape[:-2], block * block)
    strongest = np.abs(flat).argmax(-1)[..., None]
    return np.take_along_axis(flat, strongest, -1)[..., 0], block


def masked(pattern: Float[np.ndarray, "*batch dest source"]) -> np.ndarray:
    """Sources after the destination are not drawn."""
    future = np.triu(np.ones(pattern.shape[-2:], dtype=bool), 1)
    return np.where(future, np.nan, pattern)


def grid(
    patterns: Patterns,
    *,
    signed: bool = False,
    high: float | None = None,
    ablated: Iterable[Head] = (),
    pinned: Iterable[Head] = (),
    selected: Head | None = None,
    hovers: Sequence[str] = (),
) -> Heatmap:
    """Every head as a thumbnail: layer 0 at the bottom, heads across; in each, destinations run down.

    `signed` draws differences and contributions, on both sides of 0; `high` is the value of full colour.  Targets are the
    heads: row is layer, column head; `hovers` says more of each.
    """
    small, block = pool(patterns, THUMBNAIL)
    n_layers, n_heads, side, _ = small.shape
    pitch = side + max(2, side // 7)
    tiles = np.full((n_layers, n_heads, pitch, pitch), np.nan)
    tiles[:, :, :side, :side] = masked(small)[:, :, ::-1]  # rows are drawn upwards, destinations run down
    limit = full_color(small, signed, high)
    remarks = [f"full colour: {'±' if signed else ''}{limit:.2f}"] if signed or limit != 1 else []
    if block > 1:
        remarks.append(f"each cell: the strongest of {block} × {block} tokens")
    return Heatmap(
        values=tiles.swapaxes(1, 2).reshape(n_layers * pitch, n_heads * pitch),
        low=-limit if signed else 0.0,
        high=limit,
        palette="diverging" if signed else "sequential",
        legend="",
        x_title="head",
        y_title="layer",
        x_labels=[(head, str(head)) for head in range(n_heads)],
        y_labels=[(layer, str(layer)) for layer in range(n_layers)],
        hovers=hovers or names_of(n_layers, n_heads),
        height=grid_height(n_layers),
        upwards=True,
        pitch=pitch,
        marks=[*marked(ablated, "ablated"), *marked(pinned, "pinned"), *selected_marks(selected)],
        title="; ".join(remarks),
        tokens=block,
    )


def grid_height(n_layers: int) -> int:
    return max(360, min(46, max(26, 560 // n_layers)) * n_layers + 64)


def names_of(n_layers: int, n_heads: int) -> list[str]:
    return [f"L{layer}H{head}\nclick to open" for layer in range(n_layers) for head in range(n_heads)]


def full_color(values: np.ndarray, signed: bool, high: float | None) -> float:
    """The value of full colour: given, or 1 for probabilities, or what the largest needs."""
    if high is not None:
        return high
    return symmetric_limit(values) if signed else max(1.0, float(np.nanmax(values, initial=0.0)))


def score_grid(
    scores: Float[np.ndarray, "layer head"],
    name: GridColor,
    *,
    difference: bool = False,
    ablated: Iterable[Head] = (),
    pinned: Iterable[Head] = (),
    selected: Head | None = None,
    hovers: Sequence[str] = (),
) -> Heatmap:
    """One number a head: layer 0 at the bottom, heads across."""
    n_layers, n_heads = scores.shape
    signed = difference or name in SIGNED
    limit = symmetric_limit(scores) if signed else max(1.0, float(np.nanmax(scores, initial=0.0)))
    legends = {
        "entropy": "mean entropy of rows (nats)",
        "direct contribution": "direct contribution (logits)",
        "ablation effect": "effect of zero ablation (logits)",
    }
    legend = legends.get(name, f"{name} score")
    return Heatmap(
        values=scores,
        low=-limit if signed else 0.0,
        high=limit,
        palette="diverging" if signed else "sequential",
        legend=f"Δ {legend}" if difference else legend,
        x_title="head",
        y_title="layer",
        x_labels=[(head, str(head)) for head in range(n_heads)],
        y_labels=[(layer, str(layer)) for layer in range(n_layers)],
        hovers=hovers or names_of(n_layers, n_heads),
        height=grid_height(n_layers),
        upwards=True,
        texts=["" if np.isnan(value) else f"{value:.2f}" for value in scores.ravel()],
        marks=[*marked(ablated, "ablated"), *marked(pinned, "pinned"), *selected_marks(selected)],
    )


def marked(heads: Iterable[Head], color: MarkColor) -> list[Mark]:
    return [Mark(head.layer, head.head, color) for head in heads]


def selected_marks(head: Head | None) -> list[Mark]:
    return [] if head is None else [Mark(head.layer, head.head, "selected")]


def head(
    pattern: Float[np.ndarray, "dest source"],
    texts: Sequence[str],
    *,
    signed: bool = False,
    legend: str = "attention",
    high: float | None = None,
    title: str = "",
    selected: tuple[int, int | None] | None = None,
) -> Heatmap:
    """One head: destination rows from top to bottom, source columns.  A pattern's rows sum to 1 (a difference's to 0).

    `selected` is a destination, with a source or without.
    """
    drawn, block = pool(pattern, LARGE)
    length = drawn.shape[0]
    limit = full_color(drawn, signed, high)
    names = [position_label(texts[at * block], at * block) for at in range(length)]
    step = math.ceil(length / 40)
    labels = [(at, names[at]) for at in range(0, length, step)]
    hovers = [
        f"{names[dest]} looks at {names[source]}\n{drawn[dest, source]:.3f}" if source <= dest else ""
        for dest in range(length)
        for source in range(length)
    ]
    return Heatmap(
        values=masked(drawn),
        low=-limit if signed else 0.0,
        high=limit,
        palette="diverging" if signed else "sequential",
        legend=legend,
        x_title="source",
        y_title="destination",
        x_labels=labels,
        y_labels=labels,
        hovers=hovers,
        height=max(330, min(640, 22 * length + 150)),
        upwards=False,
        marks=row_marks(selected, block),
        title=title if block == 1 else f"{title} (each cell: the strongest of {block} × {block} tokens)",
        tokens=block,
    )


def row_marks(selected: tuple[int, int | None] | None, block: int) -> list[Mark]:
    if selected is None:
        return []
    dest, source = selected
    cell = [] if source is None or source > dest else [Mark(dest // block, source // block, "cell")]
    return [Mark(dest // block, None, "row"), *cell]


def score_parts(
    values: Float[np.ndarray, "dest_component source_component"], names: Sequence[str], shown: int = 10
) -> Heatmap:
    """Parts of an attention score: the components with the largest parts on either side, the others added up in `others`."""
    rows, row_names = gathered(values, names, shown)
    columns, column_names = gathered(rows.T, names, shown)
    cells = columns.T
    limit = symmetric_limit(cells)
    return Heatmap(
        values=cells,
        low=-limit,
        high=limit,
        palette="diverging",
        legend="part of the score",
        x_title="at the source (key)",
        y_title="at the destination (query)",
        x_labels=list(enumerate(column_names)),
        y_labels=list(enumerate(row_names)),
        hovers=[
            f"query from {row}\nkey from {column}\n{cells[i, j]:+.3f}"
            for i, row in enumerate(row_names)
            for j, column in enumerate(column_names)
        ],
        height=26 * len(row_names) + 190,
        upwards=False,
        texts=[f"{value:+.1f}" if abs(value) >= 0.05 else "" for value in cells.ravel()],
    )


def gathered(values: np.ndarray, names: Sequence[str], shown: int) -> tuple[np.ndarray, list[str]]:
    """The rows that weigh most (by the sum of their magnitudes), then the sum of all others."""
    order = np.abs(values).sum(1).argsort()[::-1]
    kept, rest = order[:shown], order[shown:]
    if not len(rest):
        return values[kept], [names[index] for index in kept]
    return np.vstack([values[kept], values[rest].sum(0)]), [*(names[index] for index in kept), f"{len(rest)} others"]
