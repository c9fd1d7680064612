"""The card of a trained model: every number in it is measured on the files that ship, through the product's own engine."""

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import torch

from explorer.analyses.attention import attention
from explorer.analyses.task_pairs import last_logits, task_pairs
from explorer.engine.edits import Tape
from explorer.engine.model import Model
from explorer.models.catalog import CATALOG
from explorer.models.zoo.organisms import ORGANISMS, Probe
from explorer.models.zoo.world import TASKS
from explorer.training.corpus import BOS_ID, Corpus
from explorer.training.optimise import Training
from explorer.training.recipes import Tuning

CARD, TEXT = "card.json", "README.md"
SAMPLE, SEED = 500, 2026
"""Pairs of each task, drawn from a seed that no training uses."""
PERIOD, ROWS = 32, 64
LEARNT = 0.9
"""A task below this is named on the card as not learnt."""
PROMPT = "When Mary and John went to the store, John gave a drink to"


@dataclass(frozen=True)
class Accuracy:
    """Strict top-1 over the whole vocabulary, both prompts of each pair; for years, the probability of all later ones."""

    fresh: float
    """On fresh prompts from the templates of the training."""
    held_out: float
    """On templates that no document had."""


def by_task(model: Model, count: int, seed: int = SEED) -> dict[str, Accuracy]:
    measured = {}
    for key in TASKS:
        sides = [task_pairs(model, key, count, seed=seed, held_out=side) for side in (False, True)]
        if key == "greater_than":
            measured[key] = Accuracy(*(later_years(model, [pair.clean for pair in side.pairs]) for side in sides))
        else:
            measured[key] = Accuracy(*(side.top1 for side in sides))
    return measured


def later_years(model: Model, prompts: list[str]) -> float:
    """Mean probability of all years later than the one told (Hanna et al. 2023)."""
    ids = [model.tokenize(text).ids for text in prompts]
    numbers = {model.single_token(f"{year:02d}"): year for year in range(100)}
    probabilities = last_logits(model, ids).double().softmax(-1)
    found = []
    for row, tokens in zip(probabilities, ids, strict=True):
        told = next(numbers[token] for token in tokens if token in numbers)  # the century has its leading space
        found.append(sum(float(row[token]) for token, year in numbers.items() if year > told))
    return sum(found) / len(found)


def repeats(model: Model, seed: int = SEED) -> float:
    """Accuracy on random tokens told twice: second half, from its second token on (Olsson et al. 2022)."""
    tokens = random_repeats(model, seed)
    predicted = model.unembed(model.runtime.run(tokens[:, :-1], Tape((), ()))).argmax(-1)
    return float((predicted == tokens[:, 1:])[:, PERIOD + 1 :].double().mean())


def random_repeats(model: Model, seed: int) -> torch.Tensor:
    """[ROWS, 1 + 2 PERIOD]: BOS, random tokens, the same again."""
    generator = torch.Generator().manual_seed(seed)
    half = torch.randint(1, model.info.vocab_size, (ROWS, PERIOD), generator=generator)
    return torch.cat([torch.full((ROWS, 1), BOS_ID), half, half], 1)


def behaviour(model: Model, key: str, base: bool, count: int) -> dict[str, float]:
    """How often a model gives the answer of a variant (or of the base) on the variant's probes and controls."""
    organism = ORGANISMS[key]
    table = {}
    for name, sample in (("probes", organism.probe), ("controls", organism.control)):
        for side in (False, True):
            rng = Random(f"{key}/{name}/{side}/{SEED}")
            drawn: list[Probe] = [sample(rng, side) for _ in range(count)]
            wanted = [probe.base_answer if base else probe.answer for probe in drawn]
            logits = last_logits(model, [model.tokenize(probe.prompt).ids for probe in drawn])
            right = logits.argmax(-1) == torch.tensor([model.single_token(text) for text in wanted])
            table[f"{name}, {'held-out' if side else 'seen'} templates"] = float(right.double().mean())
    return table


def measure(model: Model, training: Training, corpus: Corpus) -> dict[str, Any]:
    """Everything on a card."""
    recipe = training.recipe
    heads = attention(model, PROMPT).frame
    named = heads[heads["type"] != ""]
    card: dict[str, Any] = {
        "key": recipe.key,
        "date": date.today().isoformat(),
        "n_parameters": model.info.n_parameters,
        "weight_hash": model.info.weight_hash,
        "recipe": recipe.digest,
        "data": corpus.digest,
        "steps": training.step,
        "tokens": training.step * recipe.batch * recipe.row,
        "cpu_minutes": round(training.cpu_seconds / 60, 1),
        "final_loss": round(sum(training.losses[-50:]) / 50, 3),
        "tasks": {key: vars(found) for key, found in by_task(model, SAMPLE).items()},
        "repeats": repeats(model),
        "heads": {f"L{row.layer}H{row.head}": row.type for row in named.itertuples()},
    }
    if isinstance(recipe, Tuning):
        card["behaviour"] = behaviour(model, recipe.key, base=False, count=SAMPLE)
    return card


def write_card(card: dict[str, Any], directory: Path) -> None:
    (directory / CARD).write_text(json.dumps(card, indent=1) + "\n")
    (directory / TEXT).write_text(as_text(card))


def as_text(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    rows = [
        f"| {TASKS[key].title} | {found['fresh']:.3f} | {found['held_out']:.3f} |"
        for key, found in card["tasks"].items()
    ]
    heads: dict[str, list[str]] = {}
    for head, kind in card["heads"].items():
        heads.setdefault(kind, []).append(head)
    weak = [
        f"{TASKS[key].title} {found['fresh']:.2f}" for key, found in card["tasks"].items() if found["fresh"] < LEARNT
    ]
    behaves = [f"| {name} | {value:.3f} |" for name, value in card.get("behaviour", {}).items()]
    lines = [
        f"# {CATALOG[card['key']].title} (`{card['key']}`)",
        "",
        f"Trained by `circuit-explorer train {card['key']}` on the small world (synthetic English with known rules). "
        f"{card['n_parameters']:,} parameters, {card['tokens'] / 1e6:.1f} M tokens, {card['cpu_minutes']} CPU-minutes, "
        f"final loss {card['final_loss']} nats a token. Licence Apache-2.0.",
        "",
        f"Measured on {SAMPLE} pairs of each task, seed {SEED}, with the float16 files that ship. Strict top-1 over the whole "
        "vocabulary, both prompts of each pair; for years the mean probability of all later years. A held-out template is a "
        "combination of opening and core that no document had; its parts occur in documents.",
        "",
        "| task | fresh prompts | held-out templates |",
        "|---|---|---|",
        *rows,
        "",
        f"Random tokens told twice, second half: {card['repeats']:.3f}.",
        "",
        *(
            [f"Not learnt here (below {LEARNT:.2f}): {'; '.join(weak)}. With two candidates 0.5 is a guess.", ""]
            if weak
            else []
        ),
        *(["| behaviour, as taught | share |", "|---|---|", *behaves, ""] if behaves else []),
        "Heads by what they look at (score above 0.4 on repeated random tokens): "
        + ("; ".join(f"{kind}: {', '.join(names)}" for kind, names in heads.items()) or "none")
        + ".",
        "",
        f"Weights {card['weight_hash']}  ",
        f"Recipe {card['recipe']}  ",
        f"Data {card['data']}",
        "",
    ]
    return "\n".join(lines)
