"""Attention as heatmaps: all heads as thumbnails in one, and one head large."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

from explorer.core.sites import Head
from explorer.plots.heatmap import Heatmap, Mark
from explorer.plots.theme import position_label, symmetric_limit

THUMBNAIL = 32
"""Largest side of a thumbnail, in cells; longer prompts are pooled."""
LARGE = 256
"""Largest side of the large view, in cells."""
SCORED_FROM = 0.15
"""Heads are outlined from this score on, the stronger the more opaque."""

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
    difference: bool = False,
    ablated: Iterable[Head] = (),
    selected: Head | None = None,
    scores: Float[np.ndarray, "layer head"] | None = None,
    score_name: str = "",
) -> Heatmap:
    """Every head as a thumbnail: layer 0 at the bottom, heads across; in each, destinations run down.

    `scores` outline the heads that have them and stand in the hover.  Targets are the heads: row is layer, column head.
    """
    small, block = pool(patterns, THUMBNAIL)
    n_layers, n_heads, side, _ = small.shape
    pitch = side + max(2, side // 7)
    tiles = np.full((n_layers, n_heads, pitch, pitch), np.nan)
    tiles[:, :, :side, :side] = masked(small)[:, :, ::-1]  # rows are drawn upwards, destinations run down
    limit = symmetric_limit(small) if difference else 1.0
    remarks = [f"full colour: ±{limit:.2f}"] if difference else []
    if block > 1:
        remarks.append(f"each cell: the strongest of {block} × {block} tokens")
    return Heatmap(
        values=tiles.swapaxes(1, 2).reshape(n_layers * pitch, n_heads * pitch),
        low=-limit if difference else 0.0,
        high=limit,
        palette="diverging" if difference else "sequential",
        legend="",
        x_title="head",
        y_title="layer",
        x_labels=[(head, str(head)) for head in range(n_heads)],
        y_labels=[(layer, str(layer)) for layer in range(n_layers)],
        hovers=[head_hover(layer, head, scores, score_name) for layer in range(n_layers) for head in range(n_heads)],
        height=max(360, min(46, max(26, 560 // n_layers)) * n_layers + 64),
        upwards=True,
        pitch=pitch,
        marks=[*scored_marks(scores), *ablated_marks(ablated), *selected_marks(selected)],
        title="; ".join(remarks),
    )


def head_hover(layer: int, head: int, scores: np.ndarray | None, score_name: str) -> str:
    line = "" if scores is None else f"{score_name} {scores[layer, head]:.2f}\n"
    return f"L{layer}H{head}\n{line}click to open"


def scored_marks(scores: np.ndarray | None) -> list[Mark]:
    if scores is None:
        return []
    found = np.argwhere(scores > SCORED_FROM).tolist()
    return [Mark(layer, head, "scored", min(1.0, float(scores[layer, head]))) for layer, head in found]


def ablated_marks(heads: Iterable[Head]) -> list[Mark]:
    return [Mark(head.layer, head.head, "ablated") for head in heads]


def selected_marks(head: Head | None) -> list[Mark]:
    return [] if head is None else [Mark(head.layer, head.head, "selected")]


def head(
    pattern: Float[np.ndarray, "dest source"],
    texts: Sequence[str],
    *,
    difference: bool = False,
    title: str = "",
    selected: int | None = None,
) -> Heatmap:
    """One head: destination rows from top to bottom, source columns; each row sums to 1 (a difference to 0)."""
    drawn, block = pool(pattern, LARGE)
    length = drawn.shape[0]
    limit = symmetric_limit(drawn) if difference else 1.0
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
        low=-limit if difference else 0.0,
        high=limit,
        palette="diverging" if difference else "sequential",
        legend="difference in attention" if difference else "attention",
        x_title="source",
        y_title="destination",
        x_labels=labels,
        y_labels=labels,
        hovers=hovers,
        height=max(330, min(640, 22 * length + 150)),
        upwards=False,
        marks=[] if selected is None or block > 1 else [Mark(selected, None, "row")],
        title=title if block == 1 else f"{title} (each cell: the strongest of {block} × {block} tokens)",
    )
