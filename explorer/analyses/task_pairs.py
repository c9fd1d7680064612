"""Which contrast pairs of a task a model gets right: measured, so that the rest can be left out.

A pair is right if the answer beats the distractor on the clean prompt and loses to it on the corrupt one.  Stricter is
top-1: the right answer is the likeliest of all tokens.  For years, where the corrupt prompt leaves both open, the clean one
decides alone.
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.pairs import ContrastPair
from explorer.core.provenance import Provenance
from explorer.engine.edits import Tape
from explorer.engine.interventions import Intervention, as_stack
from explorer.engine.model import Model
from explorer.metrics.objectives import rank_of
from explorer.models.info import Progress
from explorer.models.zoo.world import TASKS
from explorer.prompts.tasks import draw_pairs
from explorer.prompts.tokens import Bos, Tokens

BATCH = 128
"""Prompts of one forward pass."""


@dataclass(frozen=True, eq=False)
class TaskPairs:
    """Pairs of a task and a model's answers."""

    task: str
    pairs: tuple[ContrastPair, ...]
    frame: pd.DataFrame
    """A row a pair: prompts, answers, logit(answer) − logit(distractor) of both prompts, rank of each prompt's own right
    answer, and whether the pair is right."""
    refused: dict[str, int]
    """Why other draws did not fit the tokenizer, and how often."""
    provenance: Provenance

    @cached_property
    def right(self) -> tuple[ContrastPair, ...]:
        """The pairs that the model gets right."""
        return tuple(pair for pair, right in zip(self.pairs, self.frame["right"], strict=True) if right)

    @property
    def accuracy(self) -> float:
        """Fraction of pairs that are right."""
        return float(self.frame["right"].mean())

    @property
    def top1(self) -> float:
        """Fraction of prompts, clean and corrupt alike, whose likeliest next token is the right answer."""
        judged = ["rank_clean"] if TASKS[self.task].one_sided else ["rank_clean", "rank_corrupt"]
        return float((self.frame[judged] == 1).to_numpy().mean())


def task_pairs(
    model: Model,
    task: str,
    n: int = 60,
    *,
    seed: int = 0,
    held_out: bool = False,
    interventions: Any = (),
    bos: Bos = "default",
    progress: Progress | None = None,
) -> TaskPairs:
    """Draw `n` contrast pairs of a task that fit the model's tokenizer, and measure which the model gets right.

    Args:
        task: a key of the small world's tasks, such as "ioi", "greater_than", "induction", "capital", "agreement",
            "pronoun".
        held_out: templates that the small-world models never saw.
        interventions: a stack for every prompt, or a function from a pair and "clean" or "corrupt" to that prompt's stack.
        progress: called with the fraction done and a sentence.

    Raises `TaskError` (unknown task, or too few pairs fit the tokenizer), `PromptError` (longer than the context),
    `SiteError` and `InterventionError` (an intervention that does not fit one of the prompts).
    """
    drawn = draw_pairs(model.tokenizer, task, n, seed, held_out)
    texts = [text for pair in drawn.pairs for text in (pair.clean, pair.corrupt)]
    tokens = [model.tokenize(text, bos) for text in texts]
    stacks = [
        as_stack(interventions(pair, side) if callable(interventions) else interventions)
        for pair in drawn.pairs
        for side in ("clean", "corrupt")
    ]
    if any(stacks):
        logits = changed_logits(model, tokens, stacks, progress)
    else:
        logits = last_logits(model, [item.ids for item in tokens], progress)
    answers = torch.tensor(
        [[model.single_token(text) for text in (pair.answer, pair.distractor)] for pair in drawn.pairs]
    )
    right = answers.flatten()  # of clean and corrupt prompt, in turn
    wrong = answers.flip(1).flatten()
    rows = torch.arange(len(right))
    margin = (logits[rows, right].double() - logits[rows, wrong].double()).view(-1, 2)
    ranks = rank_of(logits, logits[rows, right, None]).view(-1, 2)
    frame = pd.DataFrame(
        {
            "clean": [pair.clean for pair in drawn.pairs],
            "corrupt": [pair.corrupt for pair in drawn.pairs],
            "answer": [pair.answer for pair in drawn.pairs],
            "distractor": [pair.distractor for pair in drawn.pairs],
            "logit_difference_clean": margin[:, 0].numpy(),
            "logit_difference_corrupt": -margin[:, 1].numpy(),
            "rank_clean": ranks[:, 0].numpy(),
            "rank_corrupt": ranks[:, 1].numpy(),
            "right": (margin[:, :1] > 0 if TASKS[task].one_sided else margin > 0).all(1).numpy(),
        }
    )
    return TaskPairs(task, drawn.pairs, frame, dict(drawn.refused), model.provenance(tokens, stacks[0], seed))


def changed_logits(
    model: Model, prompts: list[Tokens], stacks: list[tuple[Intervention, ...]], progress: Progress | None = None
) -> Float[Tensor, "prompt vocab"]:
    """Logits behind each prompt under its own stack, one prompt at a time: what is patched or resampled differs by prompt."""
    found = []
    for tokens, stack in zip(prompts, stacks, strict=True):
        found.append(model.unembed(model.activations(tokens, stack).final[-1]).cpu())
        if progress is not None:
            progress(len(found) / len(prompts), f"{len(found):,} of {len(prompts):,} prompts under the interventions")
    return torch.stack(found)


def last_logits(
    model: Model, prompts: list[list[int]], progress: Progress | None = None
) -> Float[Tensor, "prompt vocab"]:
    """Logits behind each prompt, in batches of one length."""
    places: dict[int, list[int]] = defaultdict(list)
    for place, ids in enumerate(prompts):
        places[len(ids)].append(place)
    found: dict[int, Tensor] = {}
    for group in places.values():
        for start in range(0, len(group), BATCH):
            part = group[start : start + BATCH]
            tokens = torch.tensor([prompts[place] for place in part], device=model.info.device)
            logits = model.unembed(model.runtime.run(tokens, Tape((), ()))[:, -1]).cpu()
            found.update(zip(part, logits, strict=True))
            if progress is not None:
                progress(len(found) / len(prompts), f"{len(found):,} of {len(prompts):,} prompts")
    return torch.stack([found[place] for place in range(len(prompts))])
