"""Direct logit attribution as pictures: a grid of components, and one head's sources."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from explorer.analyses.attribution import Attribution
from explorer.analyses.token_attribution import TokenAttribution
from explorer.plots.heatmap import Heatmap, Mark
from explorer.plots.theme import position_label, symmetric_limit

Column = Literal["baseline", "changed", "difference"]
BIASES = "bias"
MOST_TOKENS = 64
"""Columns of a row of tokens; longer prompts are gathered in blocks."""


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
    row = attribution.heads_by_source[layer, head].double().numpy()
    return token_rows({f"L{layer}H{head}": row}, attribution.tokens.texts, "logits, by source")


def by_token(attribution: Attribution) -> Heatmap:
    """What all heads together bring from each source position."""
    return token_rows(
        {"all heads": attribution.by_token.double().numpy()}, attribution.tokens.texts, "logits, directly"
    )


def stories(found: TokenAttribution, measured: bool) -> Heatmap:
    """The two stories from gradients and, where measured, the effect of the same tokens, on one scale."""
    named = {"gradient × input": found.gradient, "integrated gradients": found.integrated}
    return token_rows(named | ({"measured effect": found.causal} if measured else {}), found.tokens.texts, "logits")


def token_rows(named: dict[str, np.ndarray], texts: Sequence[str], legend: str) -> Heatmap:
    """Numbers a token, a row a method; of long prompts each cell holds the strongest of some tokens."""
    length = len(texts)
    block = -(-length // MOST_TOKENS)
    rows = np.stack([strongest(values, block) for values in named.values()])
    limit = symmetric_limit(rows)
    labels = [position_label(texts[at * block], at * block) for at in range(rows.shape[1])]
    step = -(-len(labels) // 40)
    return Heatmap(
        values=rows,
        low=-limit,
        high=limit,
        palette="diverging",
        legend=legend + ("" if block == 1 else f"; each cell: the strongest of {block} tokens"),
        x_title="",
        y_title="",
        x_labels=[(at, labels[at]) for at in range(0, len(labels), step)],
        y_labels=list(enumerate(named)),
        hovers=[
            f"{name}\n{labels[at]}: {rows[row, at]:+.3f}" for row, name in enumerate(named) for at in range(len(labels))
        ],
        height=34 * len(named) + 150,
        upwards=False,
        texts=[f"{value:+.1f}" if abs(value) >= 0.05 else "" for value in rows.ravel()] if length <= 24 else (),
    )


def strongest(values: np.ndarray, block: int) -> np.ndarray:
    """Blocks of neighbours, each by its value of largest magnitude."""
    padded = np.pad(values, (0, -len(values) % block)).reshape(-1, block)
    return np.asarray(padded[np.arange(len(padded)), np.abs(np.nan_to_num(padded)).argmax(1)])
