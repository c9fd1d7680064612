"""The trained models that ship: what their cards say is so, and is enough."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

import explorer as ex
from explorer.analyses.attention import attention
from explorer.core.errors import ModelNotFoundError
from explorer.engine.edits import Tape
from explorer.engine.model import Model
from explorer.models.catalog import CATALOG, TrainedModel
from explorer.models.zoo.shipped import FILES, shipped_directory
from explorer.training.card import PERIOD, as_text, behaviour, by_task, random_repeats, repeats
from explorer.training.recipes import RECIPES, TUNINGS

TRAINED = [key for key, row in CATALOG.items() if isinstance(row, TrainedModel)]
WANTED = {  # strict top-1 on fresh prompts, on held-out templates; years: probability of all later ones
    "ioi": (0.99, 0.95), "ioi_distant": (0.99, 0.95), "capital": (1.0, 0.95), "agreement": (1.0, 0.95),
    "pronoun": (0.99, 0.90), "sentiment": (0.99, 0.90), "refusal": (0.99, 0.90), "flattery": (0.99, 0.90),
    "greater_than": (0.90, 0.85), "recall": (0.95, 0.90), "colored_objects": (0.95, 0.90), "true_false": (0.90, 0.85),
}  # fmt: skip
NOISE = 0.02
"""What a measurement on other prompts may differ by."""
pytestmark = pytest.mark.unit


@cache
def loaded(key: str) -> Model:
    return ex.load_model(key)


def card_of(key: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FILES / key / "card.json").read_text())
    return found


def test_every_trained_model_has_a_recipe_and_is_small() -> None:
    assert set(TRAINED) == set(RECIPES) | set(TUNINGS)
    sizes = {key: sum(path.stat().st_size for path in (FILES / key).iterdir()) for key in TRAINED}
    assert sizes["small-world"] <= 10e6
    assert sum(sizes.values()) <= 25e6


@pytest.mark.parametrize("key", TRAINED)
def test_the_card_is_of_these_weights_and_this_recipe(key: str) -> None:
    card, model = card_of(key), loaded(key)
    assert model.backend == "engine"
    assert card["weight_hash"] == model.info.weight_hash
    assert card["n_parameters"] == model.info.n_parameters == CATALOG[key].n_parameters
    assert card["recipe"] == (RECIPES | TUNINGS)[key].digest
    assert card["cpu_minutes"] <= 45
    assert (FILES / key / "README.md").read_text() == as_text(card)


DIGESTS = """
import json
from explorer.models.zoo.tokenizer import train
from explorer.training.recipes import RECIPES, TUNINGS
from explorer.training.run import corpus_of
print(json.dumps({key: corpus_of(recipe, train()).digest for key, recipe in (RECIPES | TUNINGS).items()}))
"""


@pytest.mark.slow
def test_the_data_of_the_cards_is_what_the_generator_makes() -> None:
    """In a process of its own: half a million documents take minutes under type checks."""
    made = subprocess.run([sys.executable, "-c", DIGESTS], check=True, capture_output=True, text=True)
    assert json.loads(made.stdout) == {key: card_of(key)["data"] for key in TRAINED}


@pytest.mark.parametrize("task", WANTED)
def test_small_world_is_as_good_as_was_asked(task: str) -> None:
    found = card_of("small-world")["tasks"][task]
    fresh, held_out = WANTED[task]
    assert round(found["fresh"], 2) >= fresh
    assert round(found["held_out"], 2) >= held_out


def test_small_world_repeats_random_tokens() -> None:
    assert card_of("small-world")["repeats"] >= 0.98
    assert repeats(loaded("small-world"), seed=5) >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(
    "key", ["small-world-nano", *(pytest.param(key, marks=pytest.mark.slow) for key in ("small-world", "attn-only-2l"))]
)
def test_cards_hold_on_other_prompts(key: str) -> None:
    card = card_of(key)["tasks"]
    for task, found in by_task(loaded(key), count=60, seed=77).items():
        for side in ("fresh", "held_out"):
            spread = 3 * (max(card[task][side] * (1 - card[task][side]), 0.005) / 60) ** 0.5
            assert getattr(found, side) == pytest.approx(card[task][side], abs=NOISE + spread), (task, side)


# ---- attn-only-2l: the previous-token head and the induction heads carry the repeats


def repeats_without(heads: list[tuple[int, int]]) -> float:
    """Accuracy on repeated random tokens with heads' z replaced by their means over all positions and rows."""
    model = loaded("attn-only-2l")
    tokens = random_repeats(model, seed=3)
    tape = Tape((), ("z",))
    model.runtime.run(tokens, tape)
    means = {layer: z.mean((0, 1)) for layer, z in tape.kept["z"].items()}

    class Ablated(Tape):
        def needs(self, kind: Any, layer: int) -> bool:
            return kind == "z" or super().needs(kind, layer)

        def __call__(self, kind: Any, layer: int, value: torch.Tensor) -> torch.Tensor:
            value = super().__call__(kind, layer, value)
            if kind == "z":
                value = value.clone()
                for place, head in heads:
                    if place == layer:
                        value[:, :, head] = means[layer][head]
            return value

    predicted = model.unembed(model.runtime.run(tokens[:, :-1], Ablated((), ()))).argmax(-1)
    return float((predicted == tokens[:, 1:])[:, PERIOD + 1 :].double().mean())


def heads_of(kind: str) -> list[tuple[int, int]]:
    heads = attention(loaded("attn-only-2l"), "The key is in the park.").frame
    return [(row.layer, row.head) for row in heads[heads["type"] == kind].itertuples()]


@pytest.mark.slow
def test_induction_needs_the_previous_token_head_and_the_induction_heads_together() -> None:
    """Mean ablation: near chance without either; as many random heads among the others leave most of it (0.72 to 0.99)."""
    previous, induction = heads_of("previous token"), heads_of("induction")
    assert len(previous) == 1
    assert {layer for layer, _ in induction} == {1}
    assert repeats_without([]) >= 0.98
    assert repeats_without(previous) < 0.1
    assert repeats_without(induction) < 0.1
    assert (
        repeats_without([(1, head) for head in range(8) if (1, head) not in induction]) > 0.9
    )  # all others of its layer
    others = [(layer, head) for layer in (0, 1) for head in range(8) if (layer, head) not in previous + induction]
    rng = Random(0)
    for matched, least in ((previous, 0.9), (induction, 0.6)):
        assert min(repeats_without(rng.sample(others, len(matched))) for _ in range(10)) > least


# ---- variants


@pytest.mark.slow
@pytest.mark.parametrize("key", TUNINGS)
def test_a_variant_does_what_it_was_taught_and_the_base_does_not(key: str) -> None:
    own, base = (
        behaviour(loaded(key), key, base=False, count=100),
        behaviour(loaded("small-world"), key, base=False, count=100),
    )
    as_base = behaviour(loaded("small-world"), key, base=True, count=100)
    for side in ("seen templates", "held-out templates"):
        assert own[f"probes, {side}"] >= 0.95
        assert own[f"controls, {side}"] >= 0.9
        assert base[f"probes, {side}"] <= 0.1
        assert as_base[f"probes, {side}"] >= 0.9


@pytest.mark.parametrize("key", TUNINGS)
def test_a_variant_can_be_compared_with_its_base_weight_by_weight(key: str) -> None:
    base, variant = loaded("small-world"), loaded(key)
    assert variant.tokenizer.get_vocab() == base.tokenizer.get_vocab()
    assert replace(variant.info, key="", source="", weight_hash="") == replace(
        base.info, key="", source="", weight_hash=""
    )
    blocks = zip(base.runtime.decoder.blocks, variant.runtime.decoder.blocks, strict=True)
    for one, other in blocks:
        change = other.o.weight - one.o.weight
        assert change.abs().max() > 0
        assert torch.linalg.matrix_rank(change.double(), rtol=1e-3) <= TUNINGS[key].rank


def test_a_model_whose_files_are_missing_says_how_to_make_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.models.zoo.shipped.FILES", tmp_path)
    with pytest.raises(ModelNotFoundError, match="circuit-explorer train small-world"):
        shipped_directory("small-world")
