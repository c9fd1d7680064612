"""Train a model from its recipe: resumable, with a progress bar."""

from pathlib import Path

import torch
from tqdm import tqdm

from explorer.models.zoo import tokenizer as world_tokenizer
from explorer.training.corpus import batch, build_corpus
from explorer.training.networks import make_network, write_network
from explorer.training.optimise import Training, advance, begin, restore, save
from explorer.training.recipes import Recipe

SAVE_EVERY = 200
THREADS = 1
"""One: most tokens for a CPU-second, and weights that do not depend on how many cores the machine has."""


def train(recipe: Recipe, directory: Path, until: int | None = None) -> Training:
    """Train to the last step (or to `until`) and write the model; goes on from a checkpoint that lies there."""
    torch.set_num_threads(THREADS)
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = world_tokenizer.train()
    training = begin(recipe, *make_network(recipe, len(tokenizer)))
    checkpoint = directory / "checkpoint.safetensors"
    if checkpoint.is_file():
        restore(training, checkpoint)
    corpus = build_corpus(recipe, tokenizer)
    last = recipe.steps if until is None else min(until, recipe.steps)
    with tqdm(total=recipe.steps, initial=training.step, desc=recipe.key, disable=None, unit="step") as bar:
        while training.step < last:
            loss = advance(training, batch(corpus, recipe, training.step))
            bar.update()
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            if training.step % SAVE_EVERY == 0:
                save(training, checkpoint)
    save(training, checkpoint)
    if training.step == recipe.steps:
        write_network(training.network.eval(), recipe, tokenizer, directory)
    return training
