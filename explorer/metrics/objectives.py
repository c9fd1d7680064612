"""Objectives: what a view asks of the logits."""

from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.core.errors import AnswerError
from explorer.engine.model import Model


@dataclass(frozen=True)
class Objective:
    """Token ids of the answer and, if there is one, the distractor."""

    answer: int
    distractor: int | None = None


def objective_of(model: Model, answer: str, distractor: str) -> Objective | None:
    """The objective of two texts; None where the answer is left empty."""
    if not answer:
        return None
    return Objective(model.single_token(answer), model.single_token(distractor) if distractor else None)


def required_objective(model: Model, answer: str, distractor: str) -> Objective:
    """The objective of an attribution; `AnswerError` where the answer is left empty."""
    objective = objective_of(model, answer, distractor)
    if objective is None:
        raise AnswerError("An attribution needs an answer: one token, usually with its leading space.")
    return objective


@dataclass(frozen=True)
class Score:
    """An objective's value on one row of logits."""

    logit_difference: float | None
    """logit(answer) − logit(distractor); None without a distractor."""
    answer_logit: float
    answer_prob: float
    answer_rank: int
    """1 for the likeliest token."""
    distractor_prob: float | None

    @property
    def objective(self) -> float:
        """The logit difference; logit(answer) alone without a distractor."""
        return self.answer_logit if self.logit_difference is None else self.logit_difference


def score(logits: Tensor, objective: Objective) -> Score:
    """Score one row of logits [vocab]."""
    wide = logits.double()
    probs = wide.softmax(-1)
    other = objective.distractor
    return Score(
        logit_difference=None if other is None else (wide[objective.answer] - wide[other]).item(),
        answer_logit=wide[objective.answer].item(),
        answer_prob=probs[objective.answer].item(),
        answer_rank=int(rank_of(wide, wide[objective.answer, None])),
        distractor_prob=None if other is None else probs[other].item(),
    )


def rank_of(logits: Tensor, logit: Tensor) -> Tensor:
    """Rank of a `logit` [..., 1] among `logits` [..., vocab]: 1 for the likeliest token; equal logits share a rank."""
    likelier = logits > logit
    return 1 + likelier.view(torch.uint8).sum(-1, dtype=torch.int32)  # seven times as fast as summing booleans
