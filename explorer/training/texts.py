"""Text to train a lens on: a file of the user's, the small world, or what the model itself writes."""

import hashlib
import re
from pathlib import Path
from random import Random

import torch
from jaxtyping import Int
from torch import Tensor

from explorer.core.errors import TrainingError
from explorer.engine.edits import Tape
from explorer.engine.forward import KeyValues
from explorer.engine.model import Model
from explorer.models.catalog import CATALOG, TrainedModel
from explorer.models.info import Progress
from explorer.models.zoo.world import documents

OPENERS = [
    "The history of",
    "In the morning,",
    "She looked at",
    "Scientists have found that",
    "The best way to",
    "Once upon a time, there was",
    "My friend told me",
    "According to the report,",
    "In 1998,",
    "The city of",
    "He said that",
    "When the rain stopped,",
    "If you want to",
    "There are three reasons why",
    "The president of",
    "It was a cold night in",
    "Question: What is",
    "def main():",
    "Dear Sir,",
    "The recipe calls for",
    "They went to the",
    "On the other hand,",
    "The first thing to know about",
    "At the end of the war,",
    "Mathematics is",
    "The teacher asked",
    "A new study shows",
    "I have always wanted",
    "The company announced",
    "Because of the storm,",
    "For example,",
    "The river flows",
    "Music has",
    "In this article,",
    "The old man",
    "We decided to",
    "Most people think that",
    "The theory of",
    "After dinner,",
    "During the summer,",
    "The doctor gave",
    "Three days later,",
    "A good book",
    "In the north of",
    "The king and the queen",
    "You should never",
    "The capital of",
    "Animals that live in",
    "The computer",
    "His sister",
]
"""How texts that the model writes begin: half of them so, half with the first words of a document of the small world."""


def rows_from_file(model: Model, path: Path, length: int) -> Int[Tensor, "row pos"]:
    """A text file, cut into rows of tokens; `TrainingError` if it cannot be read or is too short."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} cannot be read as UTF-8 text ({error}).") from error
    ids = [id_ for part in re.findall(r"[^\n]*\n*", text) if part for id_ in encode(model, part)]
    return cut(ids, length, f"{path} has {len(ids):,} tokens")


def world_rows(model: Model, count: int, length: int, seed: int) -> Int[Tensor, "row pos"]:
    """Documents of the small world end to end, each behind its BOS where the tokenizer has one."""
    first = [model.tokenizer.bos_token_id] if model.tokenizer.bos_token_id is not None else []
    ids: list[int] = []
    for text in documents(seed, 20 * count):
        ids += first + encode(model, text)
        if len(ids) >= count * length:
            break
    return cut(ids, length, "the small world gave too little")


def written_rows(model: Model, count: int, length: int, seed: int, progress: Progress) -> Int[Tensor, "row pos"]:
    """What the model writes at temperature 1, `count` texts of `length` tokens; equal for equal seeds."""
    rng, generator = Random(seed), torch.Generator().manual_seed(seed)
    worlds = [" ".join(text.split()[: rng.randint(3, 8)]) for text in documents(seed, count // 2)]
    starts = [encode(model, text) for text in [*worlds, *(rng.choice(OPENERS) for _ in range(count - len(worlds)))]]
    width = min(*map(len, starts), length - 1)
    rows = torch.tensor([ids[:width] for ids in starts], device=model.info.device)
    past = KeyValues()
    fresh = rows
    for done in range(width, length):
        resid = model.runtime.run(fresh, Tape((), (), done - fresh.shape[1]), past=past)
        probs = model.unembed(resid[:, -1]).float().softmax(-1)
        fresh = torch.multinomial(probs.cpu(), 1, generator=generator).to(rows)
        rows = torch.cat([rows, fresh], 1)
        progress(done / length, "The model writes text to train on")
    return rows


def is_small_world(model: Model) -> bool:
    return isinstance(CATALOG.get(model.info.key), TrainedModel)


def encode(model: Model, text: str) -> list[int]:
    return list(model.tokenizer(text, add_special_tokens=False).input_ids)


def cut(ids: list[int], length: int, otherwise: str) -> Int[Tensor, "row pos"]:
    count = len(ids) // length
    if count < 2:
        raise TrainingError(f"{otherwise}; at least {2 * length:,} are needed.")
    return torch.tensor(ids[: count * length]).view(count, length)


def rows_for(
    model: Model, path: Path | None, count: int, length: int, seed: int, progress: Progress
) -> tuple[str, Int[Tensor, "row pos"]]:
    """Where the text comes from, in words, and its rows (of a file: as many as it has)."""
    if path is not None:
        rows = rows_from_file(model, path, length)
        return f"{path.name}, {rows.numel():,} tokens", rows
    if is_small_world(model):
        return "documents of the small world", world_rows(model, count, length, seed)
    source = "text that the model wrote itself, at temperature 1, from short openers"
    return source, written_rows(model, count, length, seed, progress)


def text_digest(text: Path | None) -> str:
    """SHA-256 of a file; empty for none."""
    if text is None:
        return ""
    try:
        return hashlib.sha256(text.read_bytes()).hexdigest()
    except OSError as error:
        raise TrainingError(f"{text} cannot be read ({error.strerror}).") from error
