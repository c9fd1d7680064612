"""Figures: result to plotly figure, pure.  `ex.plots.<name>(result)` draws what `ex.<name>` returns."""

import plotly.graph_objects as go

from explorer.analyses.attention import Attention
from explorer.analyses.attention_score import AttentionScore
from explorer.analyses.attribution import Attribution
from explorer.analyses.component_effect import ComponentEffect
from explorer.analyses.component_lens import ComponentLens
from explorer.analyses.lens import Lens
from explorer.analyses.probe import Probe
from explorer.analyses.token_attribution import TokenAttribution
from explorer.circuits.circuit import Circuit
from explorer.features.graph import AttributionGraph
from explorer.features.steering import DoseResponse
from explorer.metrics.effects import Effects
from explorer.plots import (
    attention_figures,
    attribution_figures,
    circuit_figures,
    evidence_figures,
    feature_figures,
    lens_figures,
)
from explorer.plots import lines as line_charts
from explorer.plots.graph import to_plotly as graph_to_plotly
from explorer.plots.heatmap import to_plotly
from explorer.plots.lens_figures import LensMode
from explorer.plots.points import to_plotly as points_to_plotly


def component_effect(result: ComponentEffect) -> go.Figure:
    """What components do for the objective, pair by pair, beside the means of matched random sets."""
    return points_to_plotly(evidence_figures.beside_controls(result))


def probe(result: Probe) -> go.Figure:
    """A probe's held-out accuracy beside that of labels drawn anew."""
    return points_to_plotly(evidence_figures.probe_points(result))


def effects(result: Effects) -> go.Figure:
    """A patching sweep, exact or estimated: mean change of the objective, layers up."""
    return to_plotly(evidence_figures.effect_grid(result))


def circuit(result: Circuit) -> go.Figure:
    """A circuit's graph, layers upwards; blue helps the answer, orange works against it."""
    return graph_to_plotly(circuit_figures.circuit_graph(result))


def attention(result: Attention) -> go.Figure:
    """Every head's pattern as a thumbnail; layer 0 at the bottom, heads across."""
    return to_plotly(attention_figures.grid(result.patterns))


def attention_head(result: Attention, layer: int, head: int) -> go.Figure:
    """One head's pattern: destination rows, source columns."""
    return to_plotly(
        attention_figures.head(result.patterns[layer, head], result.tokens.texts, title=f"L{layer}H{head}")
    )


def attention_score(result: AttentionScore) -> go.Figure:
    """Which components at destination and source make the head look there rather than elsewhere."""
    return to_plotly(attention_figures.score_parts(result.relative, result.components))


def direct_logit_attribution(result: Attribution) -> go.Figure:
    """Layers up, components across; blue adds to the answer."""
    return to_plotly(attribution_figures.grid(result))


def token_attribution(result: TokenAttribution) -> go.Figure:
    """Gradient × input, integrated gradients and measured effect of every token."""
    return to_plotly(attribution_figures.stories(result, measured=True))


def logit_lens(result: Lens, mode: LensMode = "probability") -> go.Figure:
    """Layers up, positions across, coloured by `mode`; each cell names the likeliest token there."""
    return to_plotly(lens_figures.grid(result, mode))


def component_lens(result: ComponentLens) -> go.Figure:
    """Each head and MLP with the token that it promotes most."""
    return to_plotly(lens_figures.components(result))


def trajectories(result: Lens, answer: str = "", distractor: str = "", column: int = -1) -> go.Figure:
    """Probability of answer, distractor and followed tokens through the layers at one position (`column` of the result)."""
    return line_charts.to_plotly(lens_figures.trajectories(result, column, answer=answer, distractor=distractor))


def dose_response(result: DoseResponse) -> go.Figure:
    """The objective by dose: the feature, and random features of equal norm."""
    return line_charts.to_plotly(feature_figures.dose_lines(result))


def attribution_graph(result: AttributionGraph, share: float = 0.8) -> go.Figure:
    """An attribution graph: features that hold a share of the influence; positions across, layers up."""
    return graph_to_plotly(feature_figures.attribution_picture(result.shown(share), {}))


def plotly_source() -> str:
    """The drawing library itself, for pages that may fetch nothing."""
    from plotly.offline import get_plotlyjs

    source: str = get_plotlyjs()
    return source
