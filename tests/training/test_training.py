"""Training: equal recipes give equal weights, interrupted or not; what is written can be loaded; errors name what to do."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from explorer.core.errors import DamagedModelError, TrainingError
from explorer.engine.model import load_model
from explorer.models import catalog
from explorer.models.zoo import shipped
from explorer.training import run as running
from explorer.training.corpus import BOS_ID, batch, build_corpus, repeated_rows
from explorer.training.optimise import rate
from explorer.training.recipes import RECIPES, TUNINGS, Recipe
from explorer.training.run import recipe_of, train

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("shipped_tokenizer")]

SMALL = Recipe(
    "small-world-nano", n_layers=2, n_heads=2, d_model=32, steps=6, n_documents=800, batch=4, row=48, opening_steps=2
)
ATTENTION = replace(SMALL, attn_only=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, shipped_tokenizer: None) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("trained")
    for name, recipe in (("gpt2", SMALL), ("attention", ATTENTION)):
        train(recipe, root / name)
    return {name: root / name for name in ("gpt2", "attention")}


@pytest.mark.parametrize("name", ["gpt2", "attention"])
def test_equal_seeds_give_equal_weights_even_after_an_interruption(
    name: str, trained: dict[str, Path], tmp_path: Path
) -> None:
    recipe = ATTENTION if name == "attention" else SMALL
    train(recipe, tmp_path, until=2)
    assert not (tmp_path / "model.safetensors").exists()
    train(recipe, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == (trained[name] / "model.safetensors").read_bytes()
    train(replace(recipe, seed=1), tmp_path / "other")
    other, first = (load_file(path / "model.safetensors") for path in (tmp_path / "other", trained[name]))
    assert any((other[key] != first[key]).any() for key in first)


@pytest.mark.parametrize("name", ["gpt2", "attention"])
def test_what_is_written_is_loaded_and_run_by_the_engine(name: str, trained: dict[str, Path]) -> None:
    model = load_model(str(trained[name]))
    assert model.backend == "engine"
    assert model.check.passed
    assert model.tokenize("When Mary and John went").has_bos
    assert (model.info.d_mlp == 0) == (name == "attention")
    assert {tensor.dtype for tensor in load_file(trained[name] / "model.safetensors").values()} == {torch.float16}


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    train(SMALL, tmp_path, until=1)
    with pytest.raises(TrainingError, match=r"another recipe.*Remove it"):
        train(replace(SMALL, steps=7), tmp_path)


def test_a_damaged_checkpoint_and_a_place_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    train(SMALL, tmp_path, until=1)
    checkpoint = tmp_path / running.CHECKPOINT
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(TrainingError, match="cannot be read"):
        train(SMALL, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot be written"):
        train(SMALL, tmp_path / "file")


def test_training_learns(tmp_path: Path) -> None:
    training, _ = train(replace(SMALL, steps=60, adam_lr=0.01, warm_up=5), tmp_path)
    assert sum(training.losses[-5:]) / 5 < training.losses[0] - 1.5


def test_unknown_recipes_are_named() -> None:
    with pytest.raises(TrainingError, match=r"no recipe for 'gpt2'\. Known: small-world, "):
        recipe_of("gpt2")
    assert set(TUNINGS) & set(RECIPES) == set()


def test_the_learning_rate_rises_stays_and_falls() -> None:
    recipe = RECIPES["small-world"]
    found = [rate(recipe, step) for step in range(recipe.steps)]
    assert found[0] == 1 / recipe.warm_up
    assert max(found) == 1
    assert found[recipe.steps // 2] == 1
    assert found[-1] < 0.03


def told(thing: str) -> list[str]:
    return [f"The {thing} is in the park."] * 40


def test_rows_are_whole_documents_and_repeats(tmp_path: Path) -> None:
    tokenizer = running.world_tokenizer.train()
    corpus = build_corpus(told("ball"), tokenizer, 20, told("key"), told("hat"))
    assert (corpus.rows[:, 0] == BOS_ID).all()
    assert corpus.rows.shape[1] == 21
    recipe = replace(SMALL, row=20, closing_steps=2)
    one, later, last = (batch(corpus, recipe, step) for step in (0, 2, 5))
    assert (one == batch(corpus, recipe, 0)).all()
    key, ball, hat = (tokenizer(word, add_special_tokens=False).input_ids[0] for word in (" key", " ball", " hat"))
    assert (one == key).any() and not (one == ball).any()  # the opening's rows come first
    assert (later == ball).any() and not (later == key).any() and not (later == hat).any()
    assert (last == ball).any() and (last == hat).any()  # the closing ones make up half of the last rows
    rows = repeated_rows(8, 49, 100, torch.Generator().manual_seed(0))
    for row in rows[:, 1:].tolist():
        assert any(row[period:] == row[: len(row) - period] for period in range(6, 25))
        assert BOS_ID not in row


@pytest.fixture
def tuned(tmp_path: Path, trained: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A variant of the tiny model, beside it."""
    monkeypatch.setattr(shipped, "FILES", tmp_path)
    (tmp_path / "base").symlink_to(trained["gpt2"])
    monkeypatch.setitem(catalog.CATALOG, "base", replace(catalog.CATALOG["small-world"], key="base"))
    directory = tmp_path / "small-world-backdoor"
    train(replace(TUNINGS["small-world-backdoor"], base="base", steps=4, n_documents=200, batch=4, row=48), directory)
    return directory


def test_a_variant_is_its_base_plus_changes_of_low_rank(tuned: Path, trained: dict[str, Path]) -> None:
    variant, base = load_model(str(tuned)), load_model(str(trained["gpt2"]))
    assert variant.info.weight_hash != base.info.weight_hash
    changed = 0
    for own, other in zip(variant.runtime.decoder.blocks, base.runtime.decoder.blocks, strict=True):
        for name in ("o", "q"):
            difference = getattr(own, name).weight - getattr(other, name).weight
            changed += bool(difference.abs().max() > 0)
            assert torch.linalg.matrix_rank(difference.double(), rtol=1e-4) <= TUNINGS["small-world-backdoor"].rank
    assert changed
    assert (variant.runtime.decoder.embed == base.runtime.decoder.embed).all()


def test_a_variant_of_other_weights_is_refused(tuned: Path, tmp_path: Path) -> None:
    train(replace(SMALL, seed=5), tmp_path / "another")
    (tmp_path / "base").unlink()
    (tmp_path / "base").symlink_to(tmp_path / "another")
    with pytest.raises(DamagedModelError, match="is a change of base with weights"):
        load_model(str(tuned))


def test_configuration_and_weights_must_fit(tmp_path: Path, trained: dict[str, Path]) -> None:
    for path in filter(Path.is_file, trained["attention"].iterdir()):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = tmp_path / "config.json"
    text = config.read_text()
    for broken, message in (
        (text.replace('"d_model": 32', '"d_model": 64'), "size mismatch"),
        (text.replace('"n_heads": 2', '"n_heads": "two"'), "cannot be loaded"),
        ("{", "is no JSON"),
        ("[]", "not a JSON object"),
    ):
        config.write_text(broken)
        with pytest.raises(DamagedModelError, match=message):
            load_model(str(tmp_path))
