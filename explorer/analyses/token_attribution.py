"""What each input token contributes to the objective: two stories from gradients, and the effect of replacing it.

With x the embeddings (the stream before layer 0), x' those of a baseline, m the objective:

    gradient × input        (x_i − x'_i) · ∂m/∂x_i at x                              (Shrikumar et al. 2016)
    integrated gradients    (x_i − x'_i) · mean of ∂m/∂x_i along the line x' to x     (Sundararajan et al. 2017, eq. 1)
    causal effect           m(x) − m(x with x'_i in place of x_i)

The first two are correlational: they describe the function near a point or along a line.  The third is an intervention.
Integrated gradients add up to m(x) − m(x') (completeness), which is checked.  Real models change abruptly along the line, where
equal steps never converge; so intervals are halved where m itself shows that their gradients miss its change.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from explorer.core.errors import PairError, PromptError
from explorer.core.provenance import Provenance
from explorer.engine.edits import Tape
from explorer.engine.forward import Start, embed, run_blocks, unembed
from explorer.engine.gradients import ScoreOf, embedding_gradients
from explorer.engine.interventions import Intervention, as_stack
from explorer.engine.model import Model
from explorer.engine.sweep import never
from explorer.metrics.objectives import Objective, required_objective
from explorer.models.info import Progress
from explorer.prompts.pairs import check_aligned
from explorer.prompts.tokens import Bos, Tokens

TokenBaseline = Literal["mean", "corrupt"]
FIRST, AT_ONCE, MOST = 16, 16, 160
"""Intervals of integrated gradients to begin with, how many are halved together, and the most points."""
CLOSE = 0.02
"""Intervals are halved until what they miss is this part of the whole change."""
POSITIONS_AT_ONCE = 1024
"""Rows times length of one pass."""


@dataclass(frozen=True, eq=False)
class TokenAttribution:
    tokens: Tokens
    position: int
    """Position whose next token is the objective's; later tokens cannot matter."""
    baseline: TokenBaseline
    gradient: Float[np.ndarray, " pos"]
    """Gradient × input, in logits; positive: the token speaks for the answer."""
    integrated: Float[np.ndarray, " pos"]
    """Integrated gradients, in logits."""
    replaced: Bool[np.ndarray, " pos"]
    """Tokens that the baseline changes, up to the position: the others cannot have an effect."""
    causal: Float[np.ndarray, " pos"]
    """Effect of the token, measured by replacing it, in logits; NaN where not measured."""
    objective: float
    """m(x)."""
    at_baseline: float
    """m(x'), every token replaced."""
    provenance: Provenance

    @property
    def residual(self) -> float:
        """Σ integrated − (m(x) − m(x')): what the points along the line miss."""
        return float(self.integrated.sum() - (self.objective - self.at_baseline))

    @property
    def values(self) -> Float[np.ndarray, "method pos"]:
        """gradient, integrated, causal."""
        return np.stack([self.gradient, self.integrated, self.causal])

    @property
    def frame(self) -> pd.DataFrame:
        """One row a token: pos, token, gradient, integrated, causal."""
        return pd.DataFrame(
            {
                "pos": range(len(self.tokens)),
                "token": self.tokens.texts,
                "gradient": self.gradient,
                "integrated": self.integrated,
                "causal": self.causal,
            }
        )

    @property
    def compared(self) -> Bool[np.ndarray, " pos"]:
        """Tokens whose effect could differ from 0 and is measured."""
        return np.asarray(self.replaced & np.isfinite(self.causal))

    def rank_correlation(self, method: Literal["gradient", "integrated"]) -> float:
        """Spearman's ρ of a story and the measured effects, over the `compared` tokens; NaN for fewer than three."""
        kept = self.compared
        ranks = pd.DataFrame({"story": getattr(self, method)[kept], "causal": self.causal[kept]}).rank()
        return float(ranks["story"].corr(ranks["causal"])) if kept.sum() >= 3 else float("nan")


def token_attribution(
    model: Model,
    prompt: str,
    interventions: Any = (),
    *,
    answer: str,
    distractor: str = "",
    baseline: TokenBaseline = "mean",
    corrupt: str = "",
    position: int = -1,
    causal: bool = True,
    bos: Bos = "default",
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = never,
) -> TokenAttribution:
    """Gradient × input, integrated gradients and measured effect of every token, under interventions.

    Args:
        baseline: what takes a token's place: the "mean" of the prompt's embeddings, the token of the `corrupt` prompt
            at the same position, or "zero".
        causal: whether to measure; one run a token.

    Raises `PromptError`, `AnswerError`, `PairError` (prompts of unequal length), `SiteError`, `InterventionError`,
    `BridgeError` for a model on the bridge.
    """
    decoder = model.decoder("An attribution to tokens")
    objective = required_objective(model, answer, distractor)
    stack, tokens = as_stack(interventions), model.tokenize(prompt, bos)
    place = tokens.place(position)
    with torch.no_grad():
        x = embed(decoder, model.batch(tokens.ids))[0]
        other = baseline_embedding(model, tokens, x, baseline, corrupt)
    score, change = score_of(objective), x - other
    ends, slopes = embedding_gradients(model, tokens, torch.stack([x, other]), score, place, stack)
    found = TokenAttribution(
        tokens, place, baseline,
        gradient=rows(change * slopes[0]),
        integrated=integrate(Line(model, tokens, other, change, score, place, stack)),
        replaced=((x != other).any(-1) & (torch.arange(len(x), device=x.device) <= place)).cpu().numpy(),
        causal=np.full(len(tokens), np.nan),
        objective=float(ends[0]), at_baseline=float(ends[1]),
        provenance=model.provenance([tokens], stack),
    )  # fmt: skip
    if not causal:
        return found
    effects = np.where(found.replaced, np.nan, 0.0)
    for places, scores in replaced(model, tokens, (x, other), found.replaced, score, place, stack):
        effects[places] = float(ends[0]) - scores.double().cpu().numpy()
        if progress is not None:
            progress(float(np.isfinite(effects).mean()), f"{int(np.isfinite(effects).sum())} of {len(tokens)} tokens")
        if cancelled():
            break
    return replace(found, causal=effects)


def baseline_embedding(
    model: Model, tokens: Tokens, x: Float[Tensor, "pos d_model"], baseline: TokenBaseline, corrupt: str
) -> Float[Tensor, "pos d_model"]:
    match baseline:
        case "mean":
            return x.mean(0, keepdim=True).expand_as(x)
        case "corrupt":
            if not corrupt.strip():
                raise PairError("The other prompt of the pair is empty, so no token of it can take another's place.")
            twin = model.tokenize(corrupt, tokens.bos)
            check_aligned(tokens, twin)
            return embed(model.decoder("An attribution"), model.batch(twin.ids))[0]
    raise PromptError(f"There is no baseline {baseline!r}; choose mean or corrupt.")


def score_of(objective: Objective) -> ScoreOf:
    def score(logits: Tensor) -> Tensor:
        answer = logits[:, objective.answer]
        return answer if objective.distractor is None else answer - logits[:, objective.distractor]

    return score


def rows(products: Float[Tensor, "pos d_model"]) -> Float[np.ndarray, " pos"]:
    return products.double().sum(-1).cpu().numpy()


@dataclass(frozen=True, eq=False)
class Line:
    """The straight line of embeddings from the baseline to the prompt."""

    model: Model
    tokens: Tokens
    start: Float[Tensor, "pos d_model"]
    direction: Float[Tensor, "pos d_model"]
    score: ScoreOf
    place: int
    stack: tuple[Intervention, ...]

    def at(self, places: np.ndarray) -> list["Point"]:
        """The objective, and each token's part of its slope, at places from 0 to 1."""
        found = []
        steps = torch.from_numpy(places).to(self.start)
        for some in torch.split(steps, max(1, POSITIONS_AT_ONCE // len(self.tokens))):
            points = self.start + some[:, None, None] * self.direction
            scores, slopes = embedding_gradients(self.model, self.tokens, points, self.score, self.place, self.stack)
            parts = (slopes.double() * self.direction.double()).sum(-1).cpu().numpy()
            found += [Point(*each) for each in zip(some.tolist(), scores.tolist(), parts, strict=True)]
        return found


@dataclass(frozen=True, eq=False)
class Point:
    place: float
    value: float
    slopes: Float[np.ndarray, " pos"]


def integrate(line: Line) -> Float[np.ndarray, " pos"]:
    """Each token's integral by the trapezoid rule, finer where it misses the objective's own change."""
    points = line.at(np.linspace(0, 1, FIRST + 1))
    while True:
        pairs = list(itertools.pairwise(points))
        missed = np.abs([right.value - left.value - area(left, right).sum() for left, right in pairs])
        enough = missed.sum() <= CLOSE * abs(points[-1].value - points[0].value) + 1e-9
        if enough or len(points) + AT_ONCE > MOST:
            return np.asarray(sum(area(left, right) for left, right in pairs))
        worst = missed.argsort()[-AT_ONCE:]
        middles = np.array([(pairs[index][0].place + pairs[index][1].place) / 2 for index in worst])
        points = sorted([*points, *line.at(middles)], key=lambda point: point.place)


def area(left: Point, right: Point) -> Float[np.ndarray, " pos"]:
    return np.asarray((left.slopes + right.slopes) / 2 * (right.place - left.place))


@torch.no_grad()
def replaced(
    model: Model, tokens: Tokens, ends: tuple[Tensor, Tensor], which: Bool[np.ndarray, " pos"], score: ScoreOf, place: int,
    stack: tuple[Intervention, ...],
) -> Iterator[tuple[list[int], Float[Tensor, " row"]]]:  # fmt: skip
    """The objective with one token replaced, some positions at a time."""
    decoder, (x, other) = model.decoder("An attribution"), ends
    tape = Tape(model.edits(tokens, stack), ())

    different = np.flatnonzero(which).tolist()
    size = max(1, POSITIONS_AT_ONCE // len(tokens))
    for first in range(0, len(different), size):
        places = different[first : first + size]
        points = x.repeat(len(places), 1, 1)
        points[range(len(places)), places] = other[places]
        yield places, score(unembed(decoder, run_blocks(decoder, Start(0, points), tape)[:, place]))
