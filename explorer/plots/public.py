"""`ex.plots`: a figure for each result."""

import plotly.graph_objects as go

from explorer.analyses.attention import Attention
from explorer.analyses.logit_lens import LogitLens
from explorer.plots import attention as attention_plots
from explorer.plots import logit_lens as lens_plots
from explorer.plots.logit_lens import LensMode


def attention_grid(result: Attention) -> go.Figure:
    """Every head's pattern as a thumbnail; layer 0 at the bottom."""
    return attention_plots.grid(result.patterns)


def attention_head(result: Attention, layer: int, head: int) -> go.Figure:
    """One head's pattern: destination rows, source columns."""
    return attention_plots.head(result.patterns[layer, head], result.tokens.texts, title=f"L{layer}H{head}")


def logit_lens(result: LogitLens, mode: LensMode = "probability") -> go.Figure:
    """Layers up, positions across, coloured by `mode`."""
    return lens_plots.grid(result, mode)


def logit_lens_trajectories(result: LogitLens, answer: str, distractor: str = "", column: int = -1) -> go.Figure:
    """Probability of answer and distractor through the layers at one position."""
    return lens_plots.trajectories(result, column, answer=answer, distractor=distractor)
