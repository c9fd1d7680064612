"""How well a model of the small world answers, by task; each number is strict top-1 over the whole vocabulary."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from explorer.models.zoo.frames import Example
from explorer.models.zoo.world import TASKS, examples
from explorer.training.corpus import BOS_ID

Logits = Callable[[Tensor], Tensor]
GREATER = "greater_than"
BATCH = 100
PERIOD = 32


def last_logits(logits: Logits, prompts: Sequence[Sequence[int]]) -> Float[Tensor, "prompt vocab"]:
    """Logits behind each prompt; shorter ones are filled up on the right, which a causal model does not see."""
    kept = []
    for start in range(0, len(prompts), BATCH):
        group = prompts[start : start + BATCH]
        longest = max(map(len, group))
        tokens = torch.tensor([[*ids, *[BOS_ID] * (longest - len(ids))] for ids in group])
        kept.append(logits(tokens)[range(len(group)), [len(ids) - 1 for ids in group]].float())
    return torch.cat(kept)


@torch.no_grad()
def accuracy(logits: Logits, tokenizer: Any, sample: Sequence[Example]) -> float:
    """Fraction of prompts, clean and corrupt alike, whose likeliest next token is the right answer."""
    prompts = [text for example in sample for text in (example.pair.clean, example.pair.corrupt)]
    answers = [text for example in sample for text in (example.pair.answer, example.pair.distractor)]
    right = torch.tensor([ids[0] for ids in tokenizer(answers, add_special_tokens=False).input_ids])
    return float((last_logits(logits, tokenizer(prompts).input_ids).argmax(-1) == right).float().mean())


@torch.no_grad()
def later_years(logits: Logits, tokenizer: Any, sample: Sequence[Example]) -> float:
    """Mean probability of a later year (Hanna et al. 2023), out of the whole vocabulary."""
    prompts = [example.pair.clean for example in sample]
    years = tokenizer([f"{year:02d}" for year in range(100)], add_special_tokens=False).input_ids
    probabilities = last_logits(logits, tokenizer(prompts).input_ids).softmax(-1)[:, [ids[0] for ids in years]]
    starts = torch.tensor([int(tokenizer.decode(ids[-1])) for ids in start_years(tokenizer, prompts)])
    return float((probabilities * (torch.arange(100) > starts[:, None])).sum(-1).mean())


def start_years(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Tokens of each prompt up to its first year's last two digits: the second number in it."""
    found = []
    for ids in tokenizer(list(prompts)).input_ids:
        numbers = [place for place, token in enumerate(ids) if tokenizer.decode(token).strip().isdigit()]
        found.append(ids[: numbers[1] + 1])
    return found


@torch.no_grad()
def repeats(logits: Logits, vocab_size: int, seed: int = 0, rows: int = 64) -> float:
    """Accuracy on the second half of random tokens told twice, from the second token on."""
    generator = torch.Generator().manual_seed(seed)
    half = torch.randint(1, vocab_size, (rows, PERIOD), generator=generator)
    tokens = torch.cat([torch.full((rows, 1), BOS_ID), half, half], 1)
    predicted = logits(tokens[:, :-1]).argmax(-1)
    return float((predicted == tokens[:, 1:])[:, PERIOD + 1 :].float().mean())


def measure(logits: Logits, tokenizer: Any, count: int, seed: int) -> dict[str, tuple[float, float]]:
    """By task: on fresh prompts from templates of the training, and from held-out templates."""
    table = {}
    for key in TASKS:
        score = later_years if key == GREATER else accuracy
        fresh, held_out = (score(logits, tokenizer, examples(key, count, seed, side)) for side in (False, True))
        table[key] = fresh, held_out
    return table
