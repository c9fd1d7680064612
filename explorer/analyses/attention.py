"""Attention patterns of every head, and head types scored on repeated random tokens.

Scores are means over the second half of a sequence `r1 … rn r1 … rn` of distinct random tokens, where a head's target
is known (Elhage et al. 2021, A Mathematical Framework; Olsson et al. 2022, In-context Learning and Induction Heads):

    previous token    attention from i to i − 1
    duplicate token   attention from i to the same token's first occurrence, i − n
    induction         attention from i to the token after that occurrence, i − n + 1
    first token       attention from i to position 0

Each score has a null, what a head of no such type would show: for duplicate token and induction the same mean on
`r1 … rn` followed by the tokens in another order; for previous and first token the mean attention to a source drawn evenly.

They describe what a head looks at, not what it does: only an ablation shows that (`analyses/head_check.py`).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.errors import PromptError
from explorer.core.provenance import Provenance
from explorer.engine.interventions import Ablate, Intervention, OnlyEdges, Scale, Steer, as_stack
from explorer.engine.model import Model
from explorer.prompts.random_tokens import repeated_tokens, reversed_tokens
from explorer.prompts.tokens import Bos, Tokens

HeadType = Literal["previous token", "duplicate token", "induction", "first token"]
HEAD_TYPES: tuple[HeadType, ...] = ("previous token", "duplicate token", "induction", "first token")
PATTERN_BYTES = 512 << 20
"""Largest set of patterns that is held at once."""
SEED = 0
NAMED_ABOVE = 0.4
"""A head is named by a type from this score on."""


@dataclass(frozen=True, eq=False)
class Attention:
    tokens: Tokens
    patterns: Float[np.ndarray, "layer head dest source"]
    """Attention probabilities; each row sums to 1, sources after the destination hold 0."""
    scores: dict[HeadType, Float[np.ndarray, "layer head"]]
    """Head-type scores, 0 to 1, on repeated random tokens under the same interventions."""
    nulls: dict[HeadType, Float[np.ndarray, "layer head"]]
    """The same where the pattern cannot be what the type says, without interventions: see the head of this file."""
    entropy: Float[np.ndarray, "layer head"]
    """Mean entropy of a head's rows on the prompt, in nats; 0 where each looks at one source, ln(i + 1) where evenly."""
    left_out: tuple[Intervention, ...]
    """Interventions tied to this prompt's positions, which the scores therefore leave out."""
    provenance: Provenance

    @property
    def values(self) -> Float[np.ndarray, "layer head dest source"]:
        """Same as `patterns`."""
        return self.patterns

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a head: layer, head, its four scores and their nulls, entropy, and its type where a score exceeds
        `NAMED_ABOVE`."""
        n_layers, n_heads = self.patterns.shape[:2]
        layers, heads = np.divmod(np.arange(n_layers * n_heads), n_heads)
        table = pd.DataFrame(
            {"layer": layers, "head": heads} | {name: grid.ravel() for name, grid in self.scores.items()}
        )
        best = table[list(self.scores)].idxmax(axis=1)
        strongest = table[list(self.scores)].max(axis=1)
        nulls = {f"{name}, null": grid.ravel() for name, grid in self.nulls.items()}
        return table.assign(**nulls, entropy=self.entropy.ravel(), type=best.where(strongest > NAMED_ABOVE, ""))


def attention(model: Model, prompt: str, interventions: Any = (), *, bos: Bos = "default") -> Attention:
    """Patterns of every head on a prompt, and head-type scores, under interventions.

    Raises `PromptError` (also where all patterns together would exceed 512 MB), `SiteError`, `InterventionError`.
    """
    stack = as_stack(interventions)
    tokens = model.tokenize(prompt, bos)
    patterns = pattern_tensor(model, tokens, stack)
    scores, left_out = head_scores(model, stack)
    entropy = torch.special.entr(patterns.float()).sum(-1).mean(-1).cpu().numpy()
    return Attention(
        tokens,
        patterns.float().cpu().numpy(),
        scores,
        head_nulls(model),
        entropy,
        left_out,
        model.provenance([tokens], stack, SEED),
    )


def pattern_tensor(
    model: Model, tokens: Tokens, stack: tuple[Intervention, ...]
) -> Float[Tensor, "layer head dest source"]:
    """All patterns of one run; refuses prompts whose patterns would not fit."""
    longest = int((PATTERN_BYTES / (model.info.n_layers * model.info.n_heads * 4)) ** 0.5)
    if len(tokens) > longest:
        raise PromptError(
            f"Attention views hold the patterns of all {model.info.n_layers * model.info.n_heads} heads at once. For this "
            f"model that works up to {longest} tokens; the prompt has {len(tokens)}. Shorten it to see attention."
        )
    return model.activations(tokens, stack, ("pattern", "resid_post")).stack("pattern")


Scores = dict[HeadType, Float[np.ndarray, "layer head"]]


def head_scores(model: Model, interventions: tuple[Intervention, ...] = ()) -> tuple[Scores, tuple[Intervention, ...]]:
    """Head-type scores under those interventions that do not depend on a prompt's positions; and the others."""
    carried = tuple(item for item in interventions if is_portable(item))
    left_out = tuple(item for item in interventions if not is_portable(item))
    return model.remember(("head_scores", carried), lambda: score_heads(model, carried), size_of), left_out


def head_nulls(model: Model) -> Scores:
    """The nulls of all types, without interventions: one run a model."""
    nulls: Scores = model.remember(("head_nulls",), lambda: null_scores(model), size_of)
    return nulls


def size_of(scores: Scores) -> int:
    return sum(grid.nbytes for grid in scores.values())


def is_portable(item: Intervention) -> bool:
    """Whether an intervention means the same on any prompt."""
    if isinstance(item, OnlyEdges) or item.positions is not None:
        return False
    return isinstance(item, Scale | Steer) or (
        isinstance(item, Ablate) and (item.how == "zero" or (item.how == "mean" and bool(item.reference)))
    )


def score_heads(model: Model, interventions: tuple[Intervention, ...]) -> Scores:
    tokens = repeated_tokens(*vocabulary(model), SEED)
    patterns = pattern_tensor(model, tokens, interventions).double()
    dest, sources = targets(len(tokens) // 2)
    return {name: patterns[:, :, dest, sources[name]].mean(-1).cpu().numpy() for name in HEAD_TYPES}


def vocabulary(model: Model) -> tuple[Any, int, int]:
    return model.tokenizer, model.info.vocab_size, model.info.n_ctx


def targets(period: int) -> tuple[Tensor, dict[HeadType, Tensor]]:
    """Destinations in the second half, and where a head of each type looks from them."""
    dest = torch.arange(period + 1, 2 * period)
    return dest, {
        "previous token": dest - 1,
        "duplicate token": dest - period,
        "induction": dest - period + 1,
        "first token": dest * 0,
    }


def null_scores(model: Model) -> Scores:
    """What a head would score that does not look for the thing."""
    tokens = reversed_tokens(*vocabulary(model), SEED)
    patterns = pattern_tensor(model, tokens, ()).double()
    dest, sources = targets(len(tokens) // 2)
    even = (patterns[:, :, dest].sum(-1) / (dest + 1)).mean(-1).cpu().numpy()
    return {
        name: patterns[:, :, dest, sources[name]].mean(-1).cpu().numpy()
        if name in ("duplicate token", "induction")
        else even
        for name in HEAD_TYPES
    }
