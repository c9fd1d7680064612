"""Train a shipped model by its key: seeded, resumable, with a progress bar."""

from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from explorer.core.errors import TrainingError
from explorer.engine.model import load_model
from explorer.models.zoo import tokenizer as world_tokenizer
from explorer.models.zoo.world import documents
from explorer.training.card import measure, write_card
from explorer.training.corpus import Corpus, batch, build_corpus
from explorer.training.networks import make_network, write_network
from explorer.training.optimise import Training, advance, begin, restore, save
from explorer.training.recipes import RECIPES, TUNINGS, DictionaryRecipe, LensRecipe, Recipe, Tuning
from explorer.training.tuning import begin_tuning, lessons, write_difference

CHECKPOINT = Path("checkpoint", "state.safetensors")
"""In a folder of its own: the files beside the configuration are the model."""
SAVE_EVERY = 200
THREADS = 1
"""One: most tokens for a CPU-second, and weights that do not depend on how many cores the machine has."""


def recipe_of(key: str) -> Recipe | Tuning:
    """`TrainingError` for a model that has no recipe."""
    known = RECIPES | TUNINGS
    if key not in known:
        raise TrainingError(f"There is no recipe for {key!r}. Known: {', '.join(known)}.")
    return known[key]


def train(recipe: Recipe | Tuning, directory: Path, until: int | None = None) -> tuple[Training, Corpus]:
    """Train to the last step (or to `until`) and write the model; goes on from a checkpoint that lies there.

    Equal recipes give equal weights on one machine, bit for bit, whether interrupted or not.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        return train_here(recipe, directory, until)
    finally:
        torch.set_num_threads(before)


def train_here(recipe: Recipe | Tuning, directory: Path, until: int | None) -> tuple[Training, Corpus]:
    checkpoint = directory / CHECKPOINT
    try:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{directory} cannot be written: {error.strerror}.") from error
    if isinstance(recipe, Tuning):
        training, tokenizer = begin_tuning(recipe)
    else:
        tokenizer = world_tokenizer.train()
        training = begin(recipe, *make_network(recipe, len(tokenizer)))
    corpus = corpus_of(recipe, tokenizer)
    if checkpoint.is_file():
        restore(training, checkpoint)
    run_steps(training, corpus, checkpoint, recipe.steps if until is None else min(until, recipe.steps))
    if training.step == recipe.steps:
        if isinstance(recipe, Tuning):
            write_difference(training, recipe, directory)
        else:
            write_network(training.network.eval(), recipe, tokenizer, directory)
    return training, corpus


def corpus_of(recipe: Recipe | Tuning, tokenizer: Any) -> Corpus:
    """All rows that a training draws from; equal for equal recipes."""
    if isinstance(recipe, Tuning):
        return build_corpus(lessons(recipe), tokenizer, recipe.row)

    def some(keys: tuple[str, ...], steps: int) -> list[str]:
        return list(documents(recipe.seed, recipe.n_documents // 4 if steps else 0, keys))

    return build_corpus(
        list(documents(recipe.seed, recipe.n_documents)),
        tokenizer,
        recipe.row,
        some(recipe.opening, recipe.opening_steps),
        some(recipe.closing, recipe.closing_steps),
    )


def run_steps(training: Training, corpus: Corpus, checkpoint: Path, last: int) -> None:
    recipe = training.recipe
    assert not isinstance(recipe, LensRecipe | DictionaryRecipe)
    with tqdm(total=recipe.steps, initial=training.step, desc=recipe.key, disable=None, unit="step") as bar:
        while training.step < last:
            loss = advance(training, batch(corpus, recipe, training.step))
            bar.update()
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            if training.step % SAVE_EVERY == 0 or training.step == last:
                save(training, checkpoint)


def train_and_measure(recipe: Recipe | Tuning, directory: Path) -> dict[str, Any]:
    """Train, write the files, measure what was written, and write the card."""
    training, corpus = train(recipe, directory)
    card = measure(load_model(str(directory)), training, corpus)
    write_card(card, directory)
    return card
