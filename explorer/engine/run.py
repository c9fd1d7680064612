"""`run`: one prompt through a model, with its logits."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from explorer.core.provenance import Provenance
from explorer.engine.interventions import as_stack
from explorer.engine.model import Model
from explorer.prompts.tokens import Bos, Tokens


@dataclass(frozen=True, eq=False)
class Run:
    """A prompt's logits under a stack of interventions."""

    tokens: Tokens
    logits: Float[np.ndarray, "pos vocab"]
    """Logits before the softmax, in the model's own scale."""
    provenance: Provenance
    model: Model

    @property
    def values(self) -> np.ndarray:
        """Same as `logits`."""
        return self.logits

    @property
    def frame(self) -> pd.DataFrame:
        """The ten likeliest next tokens at every position: pos, token, token_id, prob, logit."""
        return pd.concat([self.top(10, pos).assign(pos=pos) for pos in range(len(self.tokens))], ignore_index=True)

    def log_probs(self) -> Float[np.ndarray, "pos vocab"]:
        """Natural log-probabilities."""
        wide = self.logits.astype(np.float64)
        wide -= wide.max(-1, keepdims=True)
        return np.asarray(wide - np.log(np.exp(wide).sum(-1, keepdims=True)))

    def top(self, k: int = 5, position: int = -1) -> pd.DataFrame:
        """The `k` likeliest next tokens after a position: columns token, token_id, prob, logit."""
        logits = self.logits[position].astype(np.float64)
        probs = np.exp(logits - logits.max())
        probs /= probs.sum()
        ids = np.argsort(-logits, kind="stable")[:k]
        texts = [self.model.token_text(int(id_)) for id_ in ids]
        return pd.DataFrame({"token": texts, "token_id": ids, "prob": probs[ids], "logit": logits[ids]})

    def logit_difference(self, answer: str, distractor: str, position: int = -1) -> float:
        """logit(answer) − logit(distractor) after a position, both single tokens."""
        first, second = self.model.single_token(answer), self.model.single_token(distractor)
        return float(self.logits[position, first] - self.logits[position, second])


def run(model: Model, prompt: str, interventions: Any = (), *, bos: Bos = "default") -> Run:
    """Run a prompt under interventions.

    Args:
        model: from `load_model`.
        prompt: text; tokenised with the tokenizer's own default on BOS unless `bos` is "on" or "off".
        interventions: a sequence of `Ablate`, `Patch`, `Scale`, `Steer`, `Freeze`, `EdgePatch`; they apply in order.

    Raises: `PromptError`, `SiteError`, `InterventionError`.
    """
    stack = as_stack(interventions)
    tokens = model.tokenize(prompt, bos)
    logits = model.unembed(model.activations(tokens, stack, ("resid_post",)).final)
    return Run(tokens, logits.float().cpu().numpy(), model.provenance([tokens], stack), model)
