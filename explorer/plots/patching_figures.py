"""Effects of patches as heatmaps: which cell stands where, what is measured and what estimated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

from explorer.analyses.path_patching import PathMap
from explorer.metrics.effects import Effects
from explorer.plots.heatmap import Heatmap, Mark
from explorer.plots.points import Points
from explorer.plots.theme import position_label, symmetric_limit

EffectScale = Literal["normalised", "logits"]
MOST_ROWS = 36
"""Rows of heads or neurons by position; the others are in the table."""
MOST_POINTS = 1500
WRITTEN_UP_TO = 24
"""Columns up to which numbers stand in the cells."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Where each cell of an `Effects` stands."""

    index: Int[np.ndarray, "row column"]
    """Number of the cell, counted along `raw.ravel()`."""
    y_labels: tuple[str, ...]
    x_labels: tuple[str, ...]
    y_title: str
    hidden: int
    """Cells that are not shown: weaker rows, and positions at which nothing can differ."""

    def find(self, cell: int) -> tuple[int, int] | None:
        places = np.argwhere(self.index == cell)
        return None if not len(places) else (int(places[0][0]), int(places[0][1]))


def layout_of(effects: Effects, rank_by: np.ndarray, texts: Sequence[str], first: int = 0) -> Layout:
    """Layers up, parts across; by position tokens across, with a row for each of the strongest parts by `rank_by`.

    Positions before `first`, where nothing can differ, are left out of long prompts.
    """
    axes, shape = effects.axes, effects.raw.shape
    cells = np.arange(effects.raw.size).reshape(shape)
    layers = tuple(map(str, effects.layers))
    skipped = sum(at < first for at in effects.positions) if len(effects.positions) > WRITTEN_UP_TO else 0
    skipped = skipped if skipped < len(effects.positions) else 0
    cells = cells[..., skipped:]
    tokens = tuple(position_label(texts[at], at) for at in effects.positions[skipped:])
    if axes == ("layer",):
        return Layout(cells[:, None], layers, (effects.site,), "layer", 0)
    if axes == ("layer", "pos"):
        return Layout(cells, layers, tokens, "layer", effects.raw.size - cells.size)
    if len(axes) == 2 and axes[1] != "neuron":
        letter = {"head": "H", "kv_head": "KV"}[axes[1]]
        return Layout(cells, layers, tuple(f"{letter}{at}" for at in range(shape[1])), "layer", 0)
    rows = cells.reshape(shape[0] * shape[1], -1)
    size = np.abs(np.nan_to_num(rank_by.ravel()))[rows].max(1)
    kept = np.sort(np.argsort(-size, kind="stable")[:MOST_ROWS])
    labels = tuple(str(effects.place(int(rows[row, 0]))).partition("@")[0] for row in kept)
    return Layout(rows[kept], labels, tokens or (effects.site,), "", int(effects.raw.size - rows[kept].size))


def effect_map(
    layout: Layout,
    values: np.ndarray,
    measured: np.ndarray,
    hovers: Mapping[int, str],
    *,
    neutral: float = 0.0,
    legend: str,
    title: str,
    signs: Sequence[str] = (),
    selected: int | None = None,
    collected: Sequence[int] = (),
    ablated: Sequence[int] = (),
) -> Heatmap:
    """Values by cell; those not `measured` are hatched.  Colours are centred on `neutral`: what no patch at all would give."""
    index = layout.index
    shown = values.ravel()[index].astype(float)
    reach = symmetric_limit(shown - neutral)
    marks: list[Mark] = []
    for cells, color in ((ablated, "ablated"), (collected, "pinned"), ([selected], "selected")):
        places = [layout.find(cell) for cell in cells if cell is not None]
        marks += [Mark(*place, color) for place in places if place is not None]  # type: ignore[arg-type]
    number = "{:.2f}" if legend.startswith("normalised") else "{:+.2f}"
    texts = [number.format(value) if abs(value - neutral) >= 0.05 * reach else "" for value in shown.ravel()]
    if len(signs):
        texts = [signs[cell] for cell in index.ravel()]
    step = max(1, -(-len(layout.x_labels) // 40))
    return Heatmap(
        values=shown,
        low=neutral - reach,
        high=neutral + reach,
        palette="diverging",
        legend=legend,
        x_title="",
        y_title=layout.y_title,
        x_labels=[(at, layout.x_labels[at]) for at in range(0, len(layout.x_labels), step)],
        y_labels=list(enumerate(layout.y_labels)),
        hovers=[hovers[int(cell)] for cell in index.ravel()],
        height=max(260, 21 * len(layout.y_labels) + (130 if max(map(len, layout.x_labels)) > 3 else 90)),
        upwards=True,
        texts=texts if len(layout.x_labels) <= WRITTEN_UP_TO else (),
        marks=marks,
        hatched=~measured.ravel()[index],
        title=title,
    )


def estimate_against_exact(estimate: Effects, exact: Effects) -> tuple[Points, list[int]]:
    """A point a cell, in logits, and the cells' numbers; the line is where an estimate would be right.

    r is over every measured cell; of very many, those with the largest magnitudes are drawn.
    """
    x, y = estimate.raw.ravel(), exact.raw.ravel()
    there = np.isfinite(x) & np.isfinite(y)
    r = correlation(x[there], y[there])
    title = f"r = {r:+.2f} over {int(there.sum()):,} cells" if np.isfinite(r) else "too few cells for a correlation"
    size = np.maximum(np.abs(np.nan_to_num(x)), np.abs(np.nan_to_num(y)))
    cells = np.sort(np.argsort(-size, kind="stable")[:MOST_POINTS]).tolist()
    hovers = [f"{exact.place(cell)}\nestimate {x[cell]:+.3f}\nexact {y[cell]:+.3f}" for cell in cells]
    shown = Points(x[cells], y[cells], hovers, "estimate (logits)", "exact (logits)", title, diagonal=True, height=280)
    return shown, cells


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's r; NaN for fewer than three points or none that vary."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def receivers_of(found: PathMap, n_layers: int) -> tuple[list[str], np.ndarray, list[list[str]]]:
    """Columns (q, k and v by head, MLP, logits), changes [layer, column] (NaN where there is no receiver), and their names."""
    frame = found.frame
    columns = [
        (kind, int(index))
        for kind in ("q", "k", "v", "mlp_in", "logits")
        for index in sorted(set(frame.loc[frame["kind"] == kind, "index"]))
    ]
    values = np.full((n_layers, len(columns)), np.nan)
    names = [[""] * len(columns) for _ in range(n_layers)]
    for row in frame.to_dict("records"):
        at = columns.index((row["kind"], row["index"]))
        layer = n_layers - 1 if row["kind"] == "logits" else row["layer"]
        values[layer, at], names[layer][at] = row["change"], row["receiver"]
    labels = [kind.replace("_in", "") if index < 0 else f"{kind}{index}" for kind, index in columns]
    return labels, values, names


def path_figure(found: PathMap, n_layers: int, chosen: Sequence[str] = ()) -> tuple[Heatmap, list[list[str]]]:
    """The effect of a sender through each receiver alone, in logits, and the receivers' names by row and column.

    Layers below the sender are left out; blank where nothing can be received.
    """
    labels, values, names = receivers_of(found, n_layers)
    first = int(np.isfinite(values).any(1).argmax())
    values, names = values[first:], names[first:]
    limit = symmetric_limit(values)
    cells = [(row, at) for row in range(len(names)) for at in range(len(labels))]
    shown = Heatmap(
        values=values,
        low=-limit,
        high=limit,
        palette="diverging",
        legend="change through it alone (logits)",
        x_title="",
        y_title="layer",
        x_labels=list(enumerate(labels)),
        y_labels=[(row, str(first + row)) for row in range(len(names))],
        hovers=[f"{found.sender} → {names[row][at]}\n{values[row, at]:+.4f} logits" if names[row][at] else "" for row, at in cells],
        height=max(200, 21 * len(names) + 110),
        upwards=True,
        marks=[Mark(row, at, "pinned") for row, at in cells if names[row][at] and names[row][at] in chosen],
        title=f"2. Receivers of {found.sender}",
    )  # fmt: skip
    return shown, names


def strip_plot(
    values: Mapping[str, np.ndarray],
    names: Mapping[str, Sequence[str]],
    title: str,
    y_title: str,
    band: tuple[float, float] | None,
) -> Points:
    """One point a pair and column, spread sideways by a fixed rule; `band` is shaded."""
    rng = np.random.default_rng(0)
    x = np.concatenate([at + rng.uniform(-0.22, 0.22, len(each)) for at, each in enumerate(values.values())])
    y = np.concatenate(list(values.values()))
    hovers = [f"{column}\n{name}\n{value:+.3f}" for column, each in values.items() for name, value in zip(names[column], each, strict=True)]  # fmt: skip
    ticks = [(float(at), column) for at, column in enumerate(values)]
    return Points(x, y, hovers, "", y_title, title, x_ticks=ticks, band=band, height=300)


def sender_figure(
    values: np.ndarray, measured: np.ndarray, names: Sequence[Sequence[str]], selected: str, title: str
) -> Heatmap:
    """Total effects of writers [layer, head or MLP], in logits; those not measured are hatched."""
    rows, columns = values.shape
    limit = symmetric_limit(values)
    labels = [name.partition(".")[2].replace("_out", "") or f"H{at}" for at, name in enumerate(names[0])]
    chosen = [Mark(row, at, "selected") for row in range(rows) for at in range(columns) if names[row][at] == selected]
    return Heatmap(
        values=values,
        low=-limit,
        high=limit,
        palette="diverging",
        legend="change of the objective (logits)",
        x_title="",
        y_title="layer",
        x_labels=list(enumerate(labels)),
        y_labels=[(layer, str(layer)) for layer in range(rows)],
        hovers=[f"{names[row][at]}\n{values[row, at]:+.3f} logits{'' if measured[row, at] else ', ESTIMATE'}" for row in range(rows) for at in range(columns)],
        height=max(260, 21 * rows + 110),
        upwards=True,
        marks=chosen,
        hatched=~measured,
        title=title,
    )  # fmt: skip


def mediation_bars(named: dict[str, float]) -> Heatmap:
    """Effects side by side, in logits."""
    values = np.array([list(named.values())])
    limit = symmetric_limit(values)
    return Heatmap(
        values=values,
        low=-limit,
        high=limit,
        palette="diverging",
        legend="logits",
        x_title="",
        y_title="",
        x_labels=list(enumerate(named)),
        y_labels=[],
        hovers=[f"{name}\n{value:+.4f} logits" for name, value in named.items()],
        height=170,
        upwards=False,
        texts=[f"{value:+.2f}" for value in named.values()],
    )
