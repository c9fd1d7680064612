"""Training of a sparse dictionary or transcoder on a model's activations.

    text -> rows of tokens -> activations of the place, on disk in float16 -> BatchTopK by sae-lens -> card

Everything drawn is a function of recipe and step, each stage is kept in a work folder, and checkpoints are safetensors, so a
training that was interrupted goes on where it was.  The first token of a row and every BOS are left out: their activations are
larger by orders of magnitude in many models and would be most of what there is to explain.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from explorer.core.errors import TrainingError
from explorer.core.sites import place_name
from explorer.engine.backends import Engine
from explorer.engine.model import Model
from explorer.engine.places import places_of, stretches, usable
from explorer.models.cache import alone
from explorer.models.decoder import Block, Decoder, Linear
from explorer.models.dictionary import Dictionary, heads_end_to_end, width_of
from explorer.models.dictionary_files import own_folder, parse_place, read_dictionary, write_text
from explorer.models.info import ModelInfo, Progress
from explorer.models.saelens import batch_topk, step_input, write_trained
from explorer.training.dictionary_card import measure_dictionary, write_dictionary_card
from explorer.training.optimise import Training, restore, save, take_step
from explorer.training.recipes import DictionaryRecipe
from explorer.training.texts import is_small_world, rows_for, rows_from_file, text_digest

HELD_OUT, WORK = 12, "work"
"""One text in so many is held out; what is under way lies in a folder of its own for each recipe and text."""
SAVE_EVERY = 100
WRITTEN_AT_ONCE = 192
KEPT_ROWS = 800
"""Rows of held-out text that stay with a dictionary, for an index of it."""
CHUNK = 16
"""Rows that are run at once."""
DEAD_AFTER = 100
"""Steps without firing after which a feature counts as dead, and is drawn to what the others leave over."""
THRESHOLD_RATE = 0.01
Stage = Literal["model", "random"]


def dictionary_recipe(model: Model, site: str, **chosen: Any) -> DictionaryRecipe:
    """The recipe of a place: 8 times as wide as the place (4 above 512), 32 features a token (16 below 512), unless chosen."""
    layer, kind, _ = parse_place(site)
    info = model.info
    if layer >= info.n_layers:
        raise TrainingError(f"{site}: {info.title} has layers 0 to {info.n_layers - 1}.")
    if kind in ("transcoder", "mlp_out") and not info.d_mlp:
        raise TrainingError(f"{site}: {info.title} has no MLPs.")
    width = width_of(kind, info)
    given = {name: value for name, value in chosen.items() if value is not None}
    for name, value in given.items():
        if name not in ("seed", "adam_lr") and value < (0 if name == "written" else 1):
            raise TrainingError(f"{name} is at least 1; got {value}.")
    features = given.pop("features", (4 if width > 512 else 8) * width)
    k = float(given.pop("k", 32 if width > 512 else 16))
    if k >= features:
        raise TrainingError(
            f"k, the features that fire at a token, is below the number of features; got {k:g} of {features}."
        )
    plain: dict[str, Any] = {"tokens": 1_000_000, "steps": 1500, "row": min(DictionaryRecipe.row, info.n_ctx)} | given
    return DictionaryRecipe(info.key, place_name(*parse_place(site)), features, k, **plain)


class Learner(nn.Module):
    """sae-lens' module and how long each feature has not fired; a checkpoint is its state."""

    silent: Tensor
    scales: Tensor

    def __init__(self, recipe: DictionaryRecipe, d_in: int, d_out: int | None, scales: tuple[float, float]) -> None:
        super().__init__()
        self.register_buffer("scales", torch.tensor(scales, dtype=torch.float64))
        self.sae = batch_topk(d_in, d_out, recipe.features, recipe.k, recipe.seed)
        self.register_buffer("silent", torch.zeros(recipe.features, dtype=torch.int32))


@dataclass(frozen=True)
class Store:
    """Activations on disk: [token, width] in float16, already in units of √width, and by what they were multiplied."""

    source: np.ndarray
    target: np.ndarray | None
    scales: tuple[float, float]
    mean: Tensor

    def batch(self, places: Int[Tensor, " token"]) -> Tensor:
        rows = places.numpy()
        source = torch.from_numpy(self.source[rows]).float() * self.scales[0]
        if self.target is None:
            return source
        return torch.cat([source, torch.from_numpy(self.target[rows]).float() * self.scales[1]], -1)


def train_dictionary(
    model: Model,
    recipe: DictionaryRecipe | str,
    folder: Path | None = None,
    text: Path | None = None,
    progress: Progress | None = None,
    watch: Callable[[list[float], float], None] | None = None,
    random_baseline: bool = True,
    **chosen: Any,
) -> Dictionary:
    """Train, measure on held-out text, and write a dictionary with its card; goes on from what lies in its work folder.

    Args:
        recipe: a recipe, or a site such as `L14.resid_post` or `L2.transcoder` with what is `chosen` of its recipe by name: features,
            k, tokens, steps, seed, written.
        folder: where it goes; without, where the app looks for it.
        text: UTF-8; without, documents of the small world for its models, else what the model writes itself.
        watch: gets the losses so far and the share of dead features.
        random_baseline: a second dictionary, of the same recipe, on a model whose weights were shuffled.

    Raises `TrainingError` (a text that cannot be read), `DictionaryError`, `BridgeError` (a baseline on the bridge).
    """
    if isinstance(recipe, str):
        recipe = dictionary_recipe(model, recipe, **chosen)
    folder = folder or own_folder(model.info) / recipe.place
    tell = progress or (lambda fraction, stage: None)
    with alone(folder, tell):
        return trained_alone(model, recipe, folder, text, tell, watch, random_baseline)


def trained_alone(
    model: Model,
    recipe: DictionaryRecipe,
    folder: Path,
    text: Path | None,
    tell: Progress,
    watch: Callable[[list[float], float], None] | None,
    random_baseline: bool,
) -> Dictionary:
    """The stages, each from what lies in the work folder."""
    work = folder / f"{WORK}-{recipe.digest[:8]}{text_digest(text)[:8]}"
    work.mkdir(parents=True, exist_ok=True)
    source, rows = text_rows(model, recipe, text, work, tell)
    held = rows[-max(1, len(rows) // HELD_OUT) :]
    rows = rows[: len(rows) - len(held)]
    base = finish_stage(model, recipe, "random", rows, work, tell, None) if random_baseline else None
    trained = finish_stage(model, recipe, "model", rows, work, tell, watch)
    record = {
        "source": source,
        "recipe_digest": recipe.digest,
        "losses": thinned(trained.losses),
        "cpu_minutes": round(trained.cpu_seconds / 60, 1),
    }
    finished = work / "model"
    write_stage(model, recipe, trained, finished)
    found = read_dictionary(finished, model.info, parse_place(recipe.place)[2])
    compared = None
    if base is not None:
        write_stage(model, recipe, base, work / "random")
        compared = replace(read_dictionary(work / "random", model.info), card={})
    card = measure_dictionary(model, found, held, recipe, record, compared, shuffled_engine(model, recipe.seed), tell)
    write_dictionary_card(card, finished)
    write_text(held[:KEPT_ROWS], source, finished)
    for path in finished.iterdir():  # only now: weights never lie beside another training's card
        path.replace(folder / path.name)
    for left in folder.glob(f"{WORK}-*"):
        shutil.rmtree(left)
    return read_dictionary(folder, model.info, found.name)


def text_rows(
    model: Model, recipe: DictionaryRecipe, text: Path | None, work: Path, tell: Progress
) -> tuple[str, Int[Tensor, "row pos"]]:
    """Where the text comes from, and its rows, mixed; kept in the work folder, since a model writes slowly."""
    kept = work / "rows.safetensors"
    if kept.is_file():
        with safe_open(kept, framework="pt") as file:
            return (file.metadata() or {})["source"], file.get_tensor("rows")
    count = -(-recipe.tokens // recipe.row) + -(-recipe.tokens // recipe.row) // HELD_OUT
    generator = torch.Generator().manual_seed(recipe.seed)
    if text is None:
        source, rows = own_text(model, recipe, count, tell)
    else:
        rows = rows_from_file(model, text, recipe.row)
        rows = rows[torch.randperm(len(rows), generator=generator)][: count - recipe.written // recipe.row]
        source = f"{text.name}, {rows.numel():,} tokens"
        if recipe.written:
            said, own = own_text(model, recipe, recipe.written // recipe.row, tell)
            source, rows = f"{source}; {said}, {own.numel():,} tokens", torch.cat([rows, own])
    rows = rows[torch.randperm(len(rows), generator=generator)][:count].contiguous()
    fresh = kept.with_suffix(".new")
    save_file({"rows": rows}, fresh, {"source": source})
    fresh.replace(kept)
    return source, rows


def own_text(model: Model, recipe: DictionaryRecipe, count: int, tell: Progress) -> tuple[str, Int[Tensor, "row pos"]]:
    """Documents of the small world for its models; else what the model writes, so many rows at once as memory holds."""
    sizes = [min(WRITTEN_AT_ONCE, count - begun) for begun in range(0, count, WRITTEN_AT_ONCE)]
    if is_small_world(model):
        sizes = [count]
    parts = [rows_for(model, None, size, recipe.row, recipe.seed + number, tell) for number, size in enumerate(sizes)]
    return parts[0][0], torch.cat([rows for _, rows in parts])


def finish_stage(
    model: Model, recipe: DictionaryRecipe, stage: Stage, rows: Tensor, work: Path, tell: Progress, watch: Any
) -> Training:
    """Activations of the model, or of the shuffled one, and the dictionary trained on them."""
    checkpoint = work / f"{stage}.safetensors"
    engine = shuffled_engine(model, recipe.seed) if stage == "random" else None
    store = harvest(model, recipe, rows, work, stage, engine, tell)
    training = begin(recipe, model.info, store)
    if checkpoint.is_file():
        restore(training, checkpoint)
    what = "dictionary" if stage == "model" else "baseline on shuffled weights"
    with tqdm(total=recipe.steps, initial=training.step, desc=f"{recipe.place}, {what}", disable=None) as bar:
        while training.step < recipe.steps:
            loss = advance(training, store)
            bar.update()
            dead = dead_share(training)
            tell(training.step / recipe.steps, f"Training the {what}: loss {loss:.2f}, {dead:.1%} of features dead")
            if watch is not None:
                watch(training.losses, dead)
            if training.step % SAVE_EVERY == 0 or training.step == recipe.steps:
                save(training, checkpoint)
    return training


def begin(recipe: DictionaryRecipe, info: ModelInfo, store: Store) -> Training:
    """Directions begin as tokens drawn from the text: from random ones, more of them stay dead or stay mixtures."""
    kind = parse_place(recipe.place)[1]
    width = width_of(kind, info)
    learner = Learner(recipe, width, info.d_model if kind == "transcoder" else None, store.scales)
    generator = torch.Generator().manual_seed(recipe.seed)
    drawn = store.batch(torch.randint(len(store.source), (recipe.features,), generator=generator))
    with torch.no_grad():
        targets = drawn[:, -len(store.mean) :] - store.mean
        learner.sae.b_dec.copy_(store.mean)
        learner.sae.W_dec.copy_(unit(targets))
        sources = drawn[:, :width] - (store.mean if kind != "transcoder" else drawn[:, :width].mean(0))
        learner.sae.W_enc.copy_(unit(sources).T)
    return Training(recipe, learner, lambda x: x, [torch.optim.Adam(learner.sae.parameters(), lr=recipe.adam_lr)])


def unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=-1, eps=1e-6)


def advance(training: Training, store: Store) -> float:
    recipe, learner = training.recipe, training.network
    assert isinstance(recipe, DictionaryRecipe) and isinstance(learner, Learner)
    generator = torch.Generator().manual_seed((recipe.seed << 32) + training.step)
    batch = store.batch(torch.randint(len(store.source), (recipe.batch,), generator=generator))

    def backward() -> float:
        learner.sae.train()
        # the threshold is a running mean that begins at 0: the first steps are averaged, so that a short training has one too
        learner.sae.cfg.topk_threshold_lr = max(THRESHOLD_RATE, 1 / (training.step + 1))
        out = learner.sae.training_forward_pass(step_input(batch, learner.silent > DEAD_AFTER, training.step))
        out.loss.backward()
        fired = (out.feature_acts > 0).any(0)
        learner.silent.add_(1).masked_fill_(fired, 0)
        return float(out.losses["mse_loss"].detach())

    return take_step(training, backward)


def dead_share(training: Training) -> float:
    learner = training.network
    assert isinstance(learner, Learner)
    return float((learner.silent > DEAD_AFTER).float().mean())


def harvest(
    model: Model,
    recipe: DictionaryRecipe,
    rows: Tensor,
    work: Path,
    stage: Stage,
    engine: Engine | None,
    tell: Progress,
) -> Store:
    """Activations of all usable tokens on disk; goes on with the first row that is missing."""
    layer, kind, _ = parse_place(recipe.place)
    places = places_of(layer, kind)
    mask = usable(rows, model.tokenizer.bos_token_id)
    n, width = int(mask.sum()), width_of(kind, model.info)
    files = [work / f"{stage}-{number}.f16" for number in range(len(places))]
    done_file = work / f"{stage}.done"
    done = int(done_file.read_text()) if done_file.is_file() else 0
    maps = [np.memmap(path, np.float16, "r+" if path.is_file() else "w+", shape=(n, width)) for path in files]
    at = int(mask[:done].sum())
    for part in stretches(model, places, partial(heads_end_to_end, kind=kind), rows[done:], CHUNK, engine):
        end = at + len(part.source)
        for array, values in zip(maps, (part.source, part.target), strict=False):
            array[at:end] = values.half().numpy()
        at, done = end, done + len(part.rows)
        done_file.write_text(str(done))
        tell(done / len(rows), "Running the text" + (" on shuffled weights" if engine else ""))
    sample = torch.randint(n, (min(n, 20_000),), generator=torch.Generator().manual_seed(0)).numpy()
    drawn = [torch.from_numpy(array[sample]).float() for array in maps]
    scales = [width**0.5 / max(float(values.norm(dim=-1).mean()), 1e-6) for values in drawn]
    mean = drawn[-1].mean(0) * scales[-1]
    return Store(maps[0], maps[1] if len(maps) > 1 else None, (scales[0], scales[-1]), mean)


def write_stage(model: Model, recipe: DictionaryRecipe, training: Training, folder: Path) -> None:
    layer, kind, _ = parse_place(recipe.place)
    learner = training.network
    assert isinstance(learner, Learner)
    hook = "mlp.hook_in" if kind == "transcoder" else {"z": "attn.hook_z"}.get(kind, f"hook_{kind}")
    metadata = {"model_name": model.info.title, "hook_name": f"blocks.{layer}.{hook}"}
    if kind == "transcoder":
        metadata["hook_name_out"] = f"blocks.{layer}.hook_mlp_out"
    source, target = learner.scales.tolist()
    write_trained(learner.sae, folder, (source, target), metadata, torch.float16)


def thinned(values: list[float], most: int = 200) -> list[float]:
    """A curve of at most so many points: means of equal stretches."""
    parts = np.array_split(np.array(values), min(most, len(values)))
    return [round(float(part.mean()), 4) for part in parts]


def shuffled_engine(model: Model, seed: int) -> Engine:
    """The model with the entries of every weight matrix shuffled: nothing learnt is left, the sizes are."""
    generator = torch.Generator().manual_seed(seed)
    decoder = model.decoder("A baseline on shuffled weights")

    def mixed(x: Tensor) -> Tensor:
        return x.flatten()[torch.randperm(x.numel(), generator=generator)].view(x.shape)

    def linear(weights: Linear) -> Linear:
        return replace(weights, weight=mixed(weights.weight))

    def block(old: Block) -> Block:
        mlp = old.mlp and replace(
            old.mlp, up=linear(old.mlp.up), down=linear(old.mlp.down), gate=old.mlp.gate and linear(old.mlp.gate)
        )
        return replace(old, q=linear(old.q), k=linear(old.k), v=linear(old.v), o=linear(old.o), mlp=mlp)

    changed: Decoder = replace(decoder, embed=mixed(decoder.embed), blocks=tuple(map(block, decoder.blocks)))
    return Engine(changed)
