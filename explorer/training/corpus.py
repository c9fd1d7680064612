"""Rows of tokens: documents of the small world, and random tokens repeated."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from explorer.training.recipes import AnyRecipe

BOS_ID = 0
SHORTEST_PERIOD = 6
CHUNK = 20_000
"""Documents tokenised at once."""


@dataclass(frozen=True)
class Corpus:
    rows: Int[Tensor, "row pos"]
    opening: Int[Tensor, "opening_row pos"]
    """Rows of the first steps."""
    closing: Int[Tensor, "closing_row pos"]
    """Half of the rows of the last steps."""
    vocab_size: int

    @property
    def digest(self) -> str:
        """SHA-256 of all rows."""
        parts = (self.opening, self.rows, self.closing)
        return hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()


def build_rows(texts: Sequence[str], length: int, tokenizer: Any) -> Int[Tensor, "row pos"]:
    """Documents end to end, each behind its BOS, in rows of `length` + 1 tokens that begin with a document."""
    rows: list[list[int]] = []
    row: list[int] = []
    for start in range(0, len(texts), CHUNK):
        for ids in tokenizer(texts[start : start + CHUNK]).input_ids:
            row += ids
            if len(row) > length:
                rows.append(row[: length + 1])
                row = []
    return torch.tensor(rows, dtype=torch.int16).view(-1, length + 1)


def build_corpus(
    texts: Sequence[str], tokenizer: Any, length: int, opening: Sequence[str] = (), closing: Sequence[str] = ()
) -> Corpus:
    rows, first, last = (build_rows(part, length, tokenizer) for part in (texts, opening, closing))
    return Corpus(rows, first, last, len(tokenizer))


def repeated_rows(count: int, length: int, vocab_size: int, generator: torch.Generator) -> Int[Tensor, "row pos"]:
    """BOS, then a random period of random tokens, again and again to the end of the row."""
    rows = torch.full((count, length), BOS_ID)
    for row in rows:
        period = int(torch.randint(SHORTEST_PERIOD, length // 2, (), generator=generator))
        tokens = torch.randint(1, vocab_size, (period,), generator=generator)
        row[1:] = tokens.repeat(length // period + 1)[: length - 1]
    return rows


def batch(corpus: Corpus, recipe: AnyRecipe, step: int) -> Int[Tensor, "row pos"]:
    """The rows of a step: a function of recipe and step alone, so a training can go on from any step."""
    generator = torch.Generator().manual_seed((recipe.seed << 32) + step)
    n_repeats = round(recipe.batch * recipe.repeats)
    n_text = recipe.batch - n_repeats
    n_closing = n_text // 2 if step >= recipe.steps - recipe.closing_steps else 0
    rows = corpus.opening if step < recipe.opening_steps else corpus.rows
    parts = [(rows, n_text - n_closing), (corpus.closing, n_closing)]
    text = torch.cat([draw(part, count, generator) for part, count in parts if count])
    return torch.cat([text, repeated_rows(n_repeats, recipe.row + 1, corpus.vocab_size, generator)])


def draw(rows: Int[Tensor, "row pos"], count: int, generator: torch.Generator) -> Int[Tensor, "drawn pos"]:
    return rows[torch.randint(len(rows), (count,), generator=generator)].long()
