"""Dose and response of steering with a feature, its side effects, and what random features of equal norm do.

    x' = x + c · d      c in units of the feature's largest known activation; d its decoder row  (Templeton et al. 2024)

The control: features drawn from the same dictionary, their rows scaled to the norm of d, the same coefficients.  The side effect is the
mean KL(without ‖ with) in nats a token over texts that have nothing to do with the prompt.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from explorer.core.provenance import Provenance
from explorer.core.sites import Feature
from explorer.engine.interventions import Steer, as_stack
from explorer.engine.model import Model
from explorer.engine.sweep import never
from explorer.metrics.objectives import required_objective, score
from explorer.models.info import Progress
from explorer.models.zoo.world import documents
from explorer.prompts.tokens import Bos
from explorer.training.texts import OPENERS, is_small_world

DOSES = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0)
CONTROLS = 10
TEXTS = 4


@dataclass(frozen=True, eq=False)
class DoseResponse:
    feature: Feature
    unit: float
    """The activation that dose 1 adds."""
    doses: tuple[float, ...]
    objective: Float[np.ndarray, " dose"]
    """logit(answer) − logit(distractor), or logit(answer)."""
    answer_prob: Float[np.ndarray, " dose"]
    side_effect: Float[np.ndarray, " dose"]
    """Mean KL on unrelated text, nats a token."""
    random: tuple[Feature, ...]
    random_objective: Float[np.ndarray, "control dose"]
    random_side_effect: Float[np.ndarray, "control dose"]
    texts: tuple[str, ...]
    provenance: Provenance

    @property
    def slope(self) -> float:
        """Change of the objective by one dose: least squares over the doses within ±1."""
        return slope_of(self.doses, self.objective)

    @property
    def random_slopes(self) -> Float[np.ndarray, " control"]:
        return np.array([slope_of(self.doses, row) for row in self.random_objective])

    def table(self) -> pd.DataFrame:
        """One row a dose."""
        low, high = (np.quantile(self.random_objective, share, 0) for share in (0.025, 0.975))
        return pd.DataFrame(
            {
                "dose": self.doses, "objective": self.objective, "P(answer)": self.answer_prob, "KL, unrelated text": self.side_effect,
                "random, 2.5 %": low, "random, 97.5 %": high, "random, KL": self.random_side_effect.mean(0),
            }
        )  # fmt: skip


def slope_of(doses: Sequence[float], values: np.ndarray) -> float:
    inside = [number for number, dose in enumerate(doses) if abs(dose) <= 1]
    return float(np.polyfit(np.array(doses)[inside], values[inside], 1)[0])


def unrelated_texts(model: Model, n: int = TEXTS) -> tuple[str, ...]:
    """Documents of the small world for its models, openers of ordinary texts for others."""
    return tuple(documents(77, n)) if is_small_world(model) else tuple(OPENERS[3 : 3 + n])


def dose_response(
    model: Model,
    feature: Feature,
    text: str,
    answer: str,
    distractor: str = "",
    *,
    unit: float | None = None,
    doses: Sequence[float] = DOSES,
    controls: int = CONTROLS,
    interventions: object = (),
    seed: int = 0,
    bos: Bos = "default",
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = never,
) -> DoseResponse:
    """Steer a prompt with a feature at all positions, dose by dose, and random features beside it.

    `unit`: what dose 1 adds; without, the feature's largest activation behind the prompt's first token, or 1 where it does not
    fire there.
    Raises `DictionaryError`, `AnswerError`, `PromptError`.
    """
    dictionary = model.dictionary(feature)
    dictionary.feature(feature.index)
    stack = as_stack(interventions)
    wanted = required_objective(model, answer, distractor)
    tokens = model.tokenize(text, bos)
    rows = torch.linalg.vector_norm(dictionary.decoder, dim=-1)
    unit = unit or own_unit(model, feature, text, bos)
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        index for index in torch.randperm(dictionary.n_features, generator=generator).tolist() if index != feature.index
    ]
    chosen = [feature, *(dictionary.feature(index) for index in drawn[:controls])]
    texts = unrelated_texts(model)
    bases = [model.unembed(model.activations(model.tokenize(each), stack).final).log_softmax(-1) for each in texts]
    objective, probs, kl = (np.zeros((len(chosen), len(doses))) for _ in range(3))
    for number, site in enumerate(chosen):
        size = unit * float(rows[feature.index] / rows[site.index].clamp_min(1e-9))
        for place, dose in enumerate(doses):
            items = (*stack, Steer(site, (1.0,), dose * size))
            found = score(model.unembed(model.activations(tokens, items).final[-1]), wanted)
            objective[number, place], probs[number, place] = found.objective, found.answer_prob
            kl[number, place] = np.mean(
                [divergence(model, each, base, items) for each, base in zip(texts, bases, strict=True)]
            )
        if progress is not None:
            progress((number + 1) / len(chosen), f"{number} of {controls} random features")
        if cancelled():
            chosen = chosen[: number + 1]
            break
    done = len(chosen)
    return DoseResponse(
        feature, unit, tuple(doses), objective[0], probs[0], kl[0], tuple(chosen[1:]), objective[1:done], kl[1:done], texts,
        model.provenance([tokens], stack, seed),
    )  # fmt: skip


def own_unit(model: Model, feature: Feature, text: str, bos: Bos) -> float:
    from explorer.features.dashboard import prompt_acts

    acts = prompt_acts(model, model.dictionary(feature), text, bos)[:, feature.index]
    return float((acts[1:] if len(acts) > 1 else acts).max()) or 1.0


def divergence(model: Model, text: str, base: torch.Tensor, items: tuple[object, ...]) -> float:
    """Mean KL(base ‖ changed) over the positions of a text, in nats."""
    changed = model.unembed(model.activations(model.tokenize(text), as_stack(items)).final).log_softmax(-1)
    return float((base.exp() * (base - changed)).sum(-1).mean())
