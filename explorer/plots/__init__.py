"""Figures: result to plotly figure, pure.  `ex.plots.<name>(result)` draws what `ex.<name>` returns."""

import plotly.graph_objects as go

from explorer.analyses.attention import Attention
from explorer.analyses.logit_lens import LogitLens
from explorer.plots import attention_figures, lens_figures
from explorer.plots.heatmap import to_plotly
from explorer.plots.lens_figures import LensMode


def attention(result: Attention) -> go.Figure:
    """Every head's pattern as a thumbnail; layer 0 at the bottom, heads across."""
    return to_plotly(attention_figures.grid(result.patterns))


def attention_head(result: Attention, layer: int, head: int) -> go.Figure:
    """One head's pattern: destination rows, source columns."""
    return to_plotly(
        attention_figures.head(result.patterns[layer, head], result.tokens.texts, title=f"L{layer}H{head}")
    )


def logit_lens(result: LogitLens, mode: LensMode = "probability") -> go.Figure:
    """Layers up, positions across, coloured by `mode`; each cell names the likeliest token there."""
    return to_plotly(lens_figures.grid(result, mode))


def trajectories(result: LogitLens, answer: str, distractor: str = "", column: int = -1) -> go.Figure:
    """Probability of answer and distractor through the layers at one position (`column` of the result)."""
    return lens_figures.trajectories(result, column, answer=answer, distractor=distractor)
