"""Continue a text under interventions, greedily or by sampling, one token at a time."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from explorer.core.errors import PromptError
from explorer.engine.edits import Tape
from explorer.engine.forward import KeyValues
from explorer.engine.interventions import Intervention, as_stack
from explorer.engine.model import Model
from explorer.prompts.tokens import Bos, Tokens


def generate(
    model: Model,
    prompt: str,
    interventions: Any = (),
    *,
    n_tokens: int = 20,
    temperature: float = 0.0,
    seed: int = 0,
    bos: Bos = "default",
) -> Iterator[int]:
    """Yield the ids of up to `n_tokens` new tokens; stops at the tokenizer's end-of-text token.

    Interventions at all positions also act on new tokens; those at chosen positions, and resampling, act on the
    prompt alone.  `temperature` 0 takes the likeliest token; above, tokens are sampled with `seed`.
    """
    stack = as_stack(interventions)
    tokens = model.tokenize(prompt, bos)
    if len(tokens) + n_tokens > model.info.n_ctx:
        raise PromptError(f"{len(tokens)} tokens and {n_tokens} new ones exceed the context of {model.info.n_ctx}.")
    generator = torch.Generator().manual_seed(seed)
    ids = list(tokens.ids)
    step = stepper(model, stack, tokens)
    for _ in range(n_tokens):
        logits = step(ids)
        chosen = choose(logits, temperature, generator)
        if chosen == model.tokenizer.eos_token_id:
            return
        yield chosen
        ids.append(chosen)


def stepper(model: Model, stack: tuple[Intervention, ...], tokens: Tokens) -> Callable[[list[int]], Tensor]:
    """A function from all ids so far to the next token's logits; the engine runs only the new positions."""
    backend, edits = model.runtime, model.edits(tokens, stack)
    past = KeyValues() if backend.can_resume else None
    done = 0

    def step(ids: list[int]) -> Tensor:
        nonlocal done
        resid = backend.run(model.batch(ids[done:]), Tape(edits, (), done), past=past)
        done = len(ids) if past is not None else 0
        return backend.unembed(resid[0, -1])

    return step


def choose(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature <= 0:
        return int(logits.argmax())
    probs = (logits.float().cpu() / temperature).softmax(-1)
    return int(torch.multinomial(probs, 1, generator=generator))
