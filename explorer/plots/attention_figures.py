"""Attention as pictures: all heads as thumbnails in one heatmap, and one head large."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from explorer.core.sites import Head
from explorer.plots.theme import (
    BLUE,
    DIVERGING,
    GREY,
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

THUMBNAIL = 32
"""Largest side of a thumbnail, in cells; longer prompts are pooled."""
LARGE = 256
"""Largest side of the large view, in cells."""

BLANK: Ramp = [(0.0, "rgba(0,0,0,0)"), (0.5 / 255, "rgba(0,0,0,0)")]

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
    return np.where(future, np.nan, pattern).astype(np.float32)


def grid(
    patterns: Patterns,
    *,
    difference: bool = False,
    ablated: Iterable[Head] = (),
    selected: Head | None = None,
    scores: Float[np.ndarray, "layer head"] | None = None,
    score_name: str = "",
) -> go.Figure:
    """Every head as a thumbnail: layer 0 at the bottom, heads across; in each, destinations run down.

    `scores` outline the heads that have them (the stronger, the more opaque) and stand in the hover.
    A click anywhere on a thumbnail carries `customdata` [layer, head].
    """
    small, block = pool(patterns, THUMBNAIL)
    n_layers, n_heads, side, _ = small.shape
    pitch = side + max(2, side // 7)
    tiles = np.full((n_layers * pitch, n_heads * pitch), np.nan, dtype=np.float32)
    for layer in range(n_layers):
        for head in range(n_heads):
            tiles[layer * pitch : layer * pitch + side, head * pitch : head * pitch + side] = masked(
                small[layer, head]
            )[::-1]
    limit = symmetric_limit(small) if difference else 1.0
    drawn = figure(
        max(360, min(46, max(26, 560 // n_layers)) * n_layers + 60),
        shapes=outlines(pitch, side, ablated, selected, scores),
    )
    drawn.add_trace(
        go.Heatmap(
            z=as_bytes(tiles, -limit if difference else 0.0, limit),
            colorscale=BLANK
            + [((1 + 254 * at) / 255, color) for at, color in (DIVERGING if difference else SEQUENTIAL)],
            zmin=0,
            zmax=255,
            showscale=False,
            hoverinfo="skip",
        )
    )
    drawn.add_trace(click_targets(n_layers, n_heads, pitch, side, scores, score_name))
    centres = (side - 1) / 2
    drawn.update_xaxes(
        title="head",
        tickvals=[head * pitch + centres for head in range(n_heads)],
        ticktext=list(range(n_heads)),
        range=[-1.5, n_heads * pitch],
    )
    drawn.update_yaxes(
        title="layer",
        tickvals=[layer * pitch + centres for layer in range(n_layers)],
        ticktext=list(range(n_layers)),
        range=[-1.5, n_layers * pitch],
    )
    remarks = [f"full colour: ±{limit:.2f}"] if difference else []
    if block > 1:
        remarks.append(f"each cell: the strongest of {block} × {block} tokens")
    drawn.update_layout(title={"text": "; ".join(remarks), "font": {"size": 12}})
    return drawn


def as_bytes(tiles: Float[np.ndarray, "row column"], low: float, high: float) -> np.ndarray:
    """Values as 1 to 255, blanks (NaN) as 0: a quarter of the bytes on the wire, and finer than the eye can tell."""
    scaled = 1 + 254 * (tiles - low) / (high - low)
    return np.where(np.isnan(tiles), 0, np.clip(np.nan_to_num(scaled), 1, 255).round()).astype(np.uint8)


def click_targets(
    n_layers: int, n_heads: int, pitch: int, side: int, scores: np.ndarray | None, score_name: str
) -> go.Heatmap:
    """One invisible cell a head, which takes hovers and clicks."""
    layers, heads = np.mgrid[0:n_layers, 0:n_heads]
    shown = np.zeros((n_layers, n_heads)) if scores is None else scores
    line = "" if scores is None else f"<br>{score_name} %{{customdata[2]:.2f}}"
    return go.Heatmap(
        z=np.zeros((n_layers, n_heads)),
        x=np.arange(n_heads) * pitch + (side - 1) / 2,
        y=np.arange(n_layers) * pitch + (side - 1) / 2,
        customdata=np.stack([layers, heads, shown], -1).tolist(),
        hovertemplate=f"<b>L%{{customdata[0]}}H%{{customdata[1]}}</b>{line}<br>click to open<extra></extra>",
        colorscale=[[0, "rgba(0,0,0,0)"], [1, "rgba(0,0,0,0)"]],
        showscale=False,
    )


def outlines(
    pitch: int, side: int, ablated: Iterable[Head], selected: Head | None, scores: np.ndarray | None
) -> list[dict[str, object]]:
    def around(head: Head, color: str, dash: str = "solid", grow: float = 0.0) -> dict[str, object]:
        x0, y0 = head.head * pitch - 1 - grow, head.layer * pitch - 1 - grow
        return box(x0, x0 + side + 1 + 2 * grow, y0, y0 + side + 1 + 2 * grow, color, dash)

    scored = [] if scores is None else [Head(int(layer), int(head)) for layer, head in np.argwhere(scores > 0.15)]
    marks = [
        around(head, f"rgba(34,160,90,{float(scores[head.layer, head.head]):.2f})")
        for head in scored
        if scores is not None
    ]
    marks += [around(head, ORANGE) for head in ablated]
    if selected is not None:
        marks.append(around(selected, BLUE, "dot", grow=0.5))
    return marks


def head(
    pattern: Float[np.ndarray, "dest source"],
    texts: Sequence[str],
    *,
    difference: bool = False,
    title: str = "",
    selected: int | None = None,
) -> go.Figure:
    """One head: destination rows from top to bottom, source columns; each row sums to 1 (a difference to 0).

    A click carries x = source and y = destination position.
    """
    drawn_pattern, block = pool(pattern, LARGE)
    length = drawn_pattern.shape[0]
    labels = position_labels(texts[::block], range(0, len(texts), block))
    hover = "%{customdata[0]} → looks at %{customdata[1]}<br>%{z:.3f}<extra></extra>"
    limit = symmetric_limit(drawn_pattern) if difference else 1.0
    names = [token_label(text) for text in texts[::block]]
    room = label_room(texts)
    drawn = figure(
        max(320, min(640, 22 * length + 64 + room)),
        margin=margins(room, room, 64),
        title={"text": title, "font": {"size": 14}},
    )
    drawn.add_trace(
        go.Heatmap(
            z=masked(drawn_pattern),
            customdata=[
                [[f"{names[dest]} {dest * block}", f"{names[source]} {source * block}"] for source in range(length)]
                for dest in range(length)
            ],
            hovertemplate=hover,
            hoverongaps=False,
            colorscale=DIVERGING if difference else SEQUENTIAL,
            zmin=-limit if difference else 0,
            zmax=limit,
            colorbar=color_bar("difference" if difference else "attention"),
            xgap=1 if length <= 40 else 0,
            ygap=1 if length <= 40 else 0,
        )
    )
    step = math.ceil(length / 40)
    ticks = list(range(0, length, step))
    shown = [labels[tick] for tick in ticks]
    drawn.update_xaxes(title="source", tickvals=ticks, ticktext=shown, tickangle=-60, range=[-0.5, length - 0.5])
    drawn.update_yaxes(title="destination", tickvals=ticks, ticktext=shown, range=[length - 0.5, -0.5])
    if selected is not None and block == 1:
        drawn.add_shape(**box(-0.5, length - 0.5, selected - 0.5, selected + 0.5, GREY, "dot"))
    return drawn
