"""What each entry of a stack does there: the objective under the whole stack, minus the objective without that one entry.

Effects of entries that act on each other do not add up to the stack's effect; the difference is their interaction.
"""

from typing import Any

from explorer.core.errors import AnswerError
from explorer.engine.interventions import as_stack
from explorer.engine.model import Model
from explorer.metrics.objectives import objective_of, score
from explorer.prompts.tokens import Bos


def leave_one_out(
    model: Model,
    prompt: str,
    interventions: Any,
    *,
    answer: str,
    distractor: str = "",
    position: int = -1,
    bos: Bos = "default",
) -> list[float]:
    """One effect an entry, in logits: logit(answer) − logit(distractor) with it, minus without it.

    Raises `PromptError`, `AnswerError`, `SiteError`, `InterventionError`.
    """
    stack, tokens = as_stack(interventions), model.tokenize(prompt, bos)
    objective = objective_of(model, answer, distractor)
    if objective is None:
        raise AnswerError(
            "An effect is measured on an objective: give an answer, one token, usually with its leading space."
        )

    def measure(entries: tuple[Any, ...]) -> float:
        def make() -> float:
            logits = model.unembed(model.activations(tokens, entries, ("resid_post",)).final[position])
            return score(logits, objective).objective

        key = ("leave_one_out", tuple(tokens.ids), tokens.bos, entries, objective, position)
        value: float = model.remember(key, make, lambda made: 64)
        return value

    whole = measure(stack)
    return [whole - measure((*stack[:index], *stack[index + 1 :])) for index in range(len(stack))]
