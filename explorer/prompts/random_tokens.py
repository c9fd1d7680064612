"""Random tokens, twice: what heads are typed on."""

from typing import Any

import torch

from explorer.prompts.tokens import Tokens, token_text

PERIOD = 32
"""Distinct tokens of a sequence, if the context holds twice as many."""


def repeated_tokens(tokenizer: Any, vocab_size: int, n_ctx: int, seed: int) -> Tokens:
    """`PERIOD` distinct random tokens, twice; no special tokens."""
    ids = random_ids(tokenizer, vocab_size, n_ctx, seed)
    return as_tokens(tokenizer, [*ids, *ids], f"random tokens, seed {seed}, twice")


def reversed_tokens(tokenizer: Any, vocab_size: int, n_ctx: int, seed: int) -> Tokens:
    """The same tokens, then backwards: no token follows what it followed before."""
    ids = random_ids(tokenizer, vocab_size, n_ctx, seed)
    return as_tokens(tokenizer, [*ids, *ids[::-1]], f"random tokens, seed {seed}, then backwards")


def random_ids(tokenizer: Any, vocab_size: int, n_ctx: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(min(vocab_size, len(tokenizer)), generator=generator).tolist()
    special = frozenset(tokenizer.all_special_ids)
    return [id_ for id_ in order if id_ not in special][: min(PERIOD, n_ctx // 2)]


def as_tokens(tokenizer: Any, ids: list[int], text: str) -> Tokens:
    return Tokens(text, ids, [token_text(tokenizer, id_) for id_ in ids], has_bos=False, bos="off")
