"""Whether an attribution graph says what happens: its predictions beside interventions in the model itself, nothing frozen.

Predicted: over all paths of the graph, activations following their pre-activations linearly, what scaling a feature by ×0, ×−1 or ×2
does to the likeliest shown token's logit (mean over the vocabulary taken off).  Measured: `Scale` on that feature and position, and
the model run.  Frozen patterns make one-step effects nearly true by construction, so the test is of total effects.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from explorer.engine.interventions import Scale, as_stack
from explorer.engine.model import Model
from explorer.features.graph import AttributionGraph, Node, feature_of
from explorer.features.influence import over_all_paths
from explorer.models.info import Progress
from explorer.prompts.tokens import Bos

FACTORS = (0.0, -1.0, 2.0)


@dataclass(frozen=True, eq=False)
class GraphCheck:
    nodes: tuple[Node, ...]
    predicted: Float[np.ndarray, "node factor"]
    measured: Float[np.ndarray, "node factor"]
    factors: tuple[float, ...] = FACTORS

    @property
    def spearman(self) -> float:
        """Rank correlation of predicted and measured changes; NaN for fewer than three."""
        if self.predicted.size < 3:
            return float("nan")
        return float(pd.Series(self.predicted.ravel()).rank().corr(pd.Series(self.measured.ravel()).rank()))

    @property
    def wrong_sign(self) -> float:
        """Share of changes whose measured sign is the other one; of those whose prediction is above 1 % of the largest."""
        clear = np.abs(self.predicted) > 0.01 * np.abs(self.predicted).max(initial=0)
        return float((np.sign(self.predicted) != np.sign(self.measured))[clear].mean()) if clear.any() else 0.0


def total_effects(graph: AttributionGraph, logit: int) -> Float[np.ndarray, " node"]:
    """What each node adds to a logit over all paths: its share of every later feature's activation, passed on."""
    values = np.array([node.value if node.kind == "feature" else np.inf for node in graph.nodes])
    shares = graph.edges / np.where(values > 0, values, np.inf)[:, None]
    return over_all_paths(graph.edges[logit], shares)


def check_graph(
    model: Model,
    graph: AttributionGraph,
    text: str,
    *,
    n: int = 12,
    interventions: object = (),
    bos: Bos = "default",
    progress: Progress | None = None,
) -> GraphCheck:
    """Intervene on the `n` features of most influence, one by one."""
    tokens, stack = model.tokenize(text, bos), as_stack(interventions)
    logit = next(number for number, node in enumerate(graph.nodes) if node.kind == "logit")
    token = graph.nodes[logit].index
    order = np.argsort(-np.where(graph.of_kind("feature"), graph.influence, -1))[:n]
    chosen = [int(number) for number in order if graph.nodes[number].kind == "feature"]
    total = total_effects(graph, logit)

    def read(items: tuple[object, ...]) -> float:
        logits = model.unembed(model.activations(tokens, as_stack((*stack, *items))).final[-1]).double()
        return float(logits[token] - logits.mean())

    before, measured = read(()), []
    for number, place in enumerate(chosen):
        node = graph.nodes[place]
        measured.append([read((Scale(feature_of(node), factor, (node.position,)),)) - before for factor in FACTORS])
        if progress is not None:
            progress((number + 1) / len(chosen), f"{number + 1} of {len(chosen)} features changed")
    predicted = total[chosen][:, None] * (np.array(FACTORS) - 1)
    return GraphCheck(
        tuple(graph.nodes[place] for place in chosen), predicted, np.array(measured).reshape(predicted.shape)
    )
