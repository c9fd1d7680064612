"""Direct logit attribution as pictures: a grid of components, and one head's sources."""

from typing import Literal

import numpy as np

from explorer.analyses.attribution import Attribution
from explorer.plots.heatmap import Heatmap, Mark
from explorer.plots.theme import position_label, symmetric_limit

Column = Literal["baseline", "changed", "difference"]
BIASES = "bias"
FEW = 10
"""Up to so many sources have room for their numbers."""


def columns_of(attribution: Attribution) -> list[str]:
    """Names of the grid's columns: heads (or the whole attention), the MLP, and the biases of the layer."""
    kinds = set(attribution.frame["kind"])
    n_heads = attribution.heads_by_source.shape[1]
    attention = [f"H{head}" for head in range(n_heads)] if "head" in kinds else ["attn_out"]
    biased = attribution.frame["component"].str.fullmatch(r"L\d+ (attention|MLP) bias").any()
    return [*attention, *(["mlp_out"] if "mlp" in kinds else []), *([BIASES] if biased else [])]


def component(layer: int, name: str) -> str:
    """Name of the component in a layer's column; empty for the biases."""
    return "" if name == BIASES else f"L{layer}{name}" if name.startswith("H") else f"L{layer}.{name}"


def component_at(attribution: Attribution, layer: int, column: int) -> str:
    """Name of the component in a cell; empty for a layer's biases."""
    return component(layer, columns_of(attribution)[column])


def grid(attribution: Attribution, show: Column = "changed", selected: str = "") -> Heatmap:
    """Layers up, components across; blue adds to the answer, orange to the distractor.  Logits."""
    names = columns_of(attribution)
    n_layers = attribution.heads_by_source.shape[0]
    values = dict(zip(attribution.frame["component"], attribution.frame[show], strict=True))
    components = [[component(layer, name) for name in names] for layer in range(n_layers)]
    cells = np.zeros((n_layers, len(names)))
    for layer, row in enumerate(components):
        biases = sum(values.get(f"L{layer} {part} bias", 0.0) for part in ("attention", "MLP"))
        cells[layer] = [values.get(name, 0.0) if name else biases for name in row]
    limit = symmetric_limit(cells)
    chosen = [
        Mark(layer, column, "cell")
        for layer in range(n_layers)
        for column in range(len(names))
        if selected and components[layer][column] == selected
    ]
    return Heatmap(
        values=cells,
        low=-limit,
        high=limit,
        palette="diverging",
        legend="direct contribution (logits)" if show != "difference" else "Δ direct contribution (logits)",
        x_title="",
        y_title="layer",
        x_labels=list(enumerate(names)),
        y_labels=[(layer, str(layer)) for layer in range(0, n_layers, 1 if n_layers <= 36 else 2)],
        hovers=[
            f"{components[layer][column] or f'biases of layer {layer}'}\n{cells[layer, column]:+.3f} logits"
            for layer in range(n_layers)
            for column in range(len(names))
        ],
        height=max(240, 23 * n_layers + 120),
        upwards=True,
        texts=[f"{value:+.1f}" if abs(value) >= 0.05 else "" for value in cells.ravel()],
        marks=chosen,
    )


def sources(attribution: Attribution, layer: int, head: int) -> Heatmap:
    """One head's contribution by the position that its values come from."""
    row = attribution.heads_by_source[layer, head].double().numpy()[None]
    limit = symmetric_limit(row)
    labels = [position_label(text, place) for place, text in enumerate(attribution.tokens.texts)]
    return Heatmap(
        values=row,
        low=-limit,
        high=limit,
        palette="diverging",
        legend="logits",
        x_title="source",
        y_title="",
        x_labels=list(enumerate(labels)),
        y_labels=[(0, f"L{layer}H{head}")],
        hovers=[f"from {label}: {value:+.3f} logits" for label, value in zip(labels, row[0], strict=True)],
        height=150,
        upwards=False,
        texts=[f"{value:+.1f}" if abs(value) >= 0.05 else "" for value in row[0]] if row.size <= FEW else (),
    )
