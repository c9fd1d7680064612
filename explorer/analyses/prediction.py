"""Next-token prediction at one position: baseline beside the run under interventions."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from explorer.core.provenance import Provenance
from explorer.engine.interventions import Intervention, as_stack
from explorer.engine.model import Model
from explorer.metrics.objectives import Score, objective_of, rank_of, score
from explorer.prompts.tokens import Bos, Tokens


@dataclass(frozen=True, eq=False)
class Prediction:
    frame: pd.DataFrame
    """The likeliest tokens of either run, by the changed run's probability: token, token_id, and for each of
    baseline and changed prob, logit and rank (1 is the likeliest)."""
    baseline: Score | None
    """The objective on the run without interventions; None if no answer was given."""
    changed: Score | None
    kl: float
    """KL(baseline ‖ changed) of the next-token distribution, in nats."""
    position: int
    provenance: Provenance


def prediction(
    model: Model,
    prompt: str,
    interventions: Any = (),
    *,
    answer: str = "",
    distractor: str = "",
    position: int = -1,
    k: int = 10,
    bos: Bos = "default",
) -> Prediction:
    """What comes after `position`, with and without the interventions.

    Raises `PromptError`, `AnswerError`, `SiteError`, `InterventionError`.
    """
    stack = as_stack(interventions)
    tokens = model.tokenize(prompt, bos)
    place = tokens.place(position)
    objective = objective_of(model, answer, distractor)
    baseline = next_logits(model, tokens, (), position)
    logits = [baseline, next_logits(model, tokens, stack, position) if stack else baseline]
    scores = [None if objective is None else score(row, objective) for row in logits]
    before, after = (row.double().log_softmax(-1) for row in logits)
    return Prediction(
        frame=compare(model, logits[0], logits[1], k),
        baseline=scores[0],
        changed=scores[1],
        kl=max(0.0, (before.exp() * (before - after)).sum().item()),
        position=place,
        provenance=model.provenance([tokens], stack),
    )


def next_logits(model: Model, tokens: Tokens, stack: tuple[Intervention, ...], position: int) -> Tensor:
    return model.unembed(model.activations(tokens, stack, ("resid_post",)).final[position])


def compare(model: Model, baseline: Tensor, changed: Tensor, k: int) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    k = min(k, len(baseline))
    shown = torch.unique(torch.cat([changed.topk(k).indices, baseline.topk(k).indices]))
    shown = shown[changed[shown].argsort(descending=True)]
    columns["token"] = [model.token_text(int(id_)) for id_ in shown]
    columns["token_id"] = shown.tolist()
    for name, logits in (("baseline", baseline), ("changed", changed)):
        columns[f"prob_{name}"] = logits.double().softmax(-1)[shown].tolist()
        columns[f"logit_{name}"] = logits[shown].tolist()
        columns[f"rank_{name}"] = rank_of(logits, logits[shown][:, None]).tolist()
    return pd.DataFrame(columns)
