"""Training finds a planted dictionary; the card's numbers follow their definitions; what was interrupted goes on."""

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
import sae_lens
import torch

from explorer.core.errors import BridgeError, DictionaryError, TrainingError
from explorer.engine.model import Model, load_model
from explorer.engine.places import read_places, usable
from explorer.models.dictionary import Dictionary
from explorer.models.dictionary_files import read_dictionary
from explorer.models.zoo.exact.dictionary import N_WORDS, WORDS, planted
from explorer.training import dictionary as training
from explorer.training.dictionary import dictionary_recipe, train_dictionary
from explorer.training.dictionary_card import quality
from tests.features.dictionaries import added, make

PROMPT = "The capital of France is"


@pytest.fixture(autouse=True)
def own_dictionaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCUIT_EXPLORER_DATA", str(tmp_path / "data"))


@pytest.mark.truth
@pytest.mark.slow
def test_all_forty_planted_atoms_are_recovered(tmp_path: Path) -> None:
    """METHODS: 40 atoms in 20 dimensions, three a word; each found at cosine above .95."""
    rng = Random(0)
    text = tmp_path / "words.txt"
    text.write_text("\n".join(" ".join(rng.choice(WORDS[:N_WORDS]) for _ in range(15)) for _ in range(4000)))
    model = load_model("dictionary-planted")
    found = train_dictionary(
        model, "L0.attn_out", text=text, features=64, k=3.0, tokens=50_000, steps=1500, random_baseline=False
    )
    atoms = planted().vectors["atoms"].float()
    content = atoms.abs().sum(0) > 0
    moved = torch.zeros(len(atoms), model.info.d_model)
    moved[:, -int(content.sum()) :] = atoms[:, content]
    rows = torch.nn.functional.normalize(found.decoder, dim=-1)
    cosines = (moved @ rows.T).max(1).values
    assert int((cosines > 0.95).sum()) == 40
    assert found.card["quality"]["fve"] > 0.9 and abs(found.card["quality"]["fve_mean_predictor"]) < 0.01


def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    rng = np.random.default_rng(0)
    words = [
        "the",
        "a",
        "keys",
        "cabinet",
        "table",
        "store",
        "drink",
        "capital",
        "France",
        "Italy",
        "Paris",
        "Rome",
        "Mary",
        "John",
        "gave",
        "went",
        "is",
        "are",
        "of",
        "to",
        "when",
        "on",
        "and",
    ]
    path.write_text("\n".join(" ".join(rng.choice(words, 9)) for _ in range(600)))
    return path


def rows_of(model: Model, n: int = 12) -> torch.Tensor:
    return torch.randint(1, model.info.vocab_size, (n, 24), generator=torch.Generator().manual_seed(2))


def lossless(model: Model, folder: Path, place: str = "resid_post") -> Dictionary:
    """ReLU(x) and ReLU(−x) of every dimension."""
    from explorer.models.dictionary_files import add_dictionary

    width = model.info.d_model
    sae = make("relu", width, 1, place, n=2 * width)
    eye = torch.eye(width)
    with torch.no_grad():
        sae.W_enc.copy_(torch.cat([eye, -eye], 1))
        sae.W_dec.copy_(torch.cat([eye, -eye]))
        sae.b_enc.zero_()
        sae.b_dec.zero_()
    sae.save_model(folder)
    return model.dictionary(add_dictionary(str(folder), model.info).place)


@pytest.mark.truth
def test_a_lossless_dictionary_explains_all_and_an_empty_one_nothing(tiny_models, tmp_path: Path) -> None:
    model, rows = tiny_models["gpt2"], rows_of(tiny_models["gpt2"])
    whole = quality(model, lossless(model, tmp_path / "whole"), rows)
    assert whole.fve == pytest.approx(1, abs=1e-9) and whole.l0 == pytest.approx(32, abs=0.1)
    assert whole.ce_recovered_zero == pytest.approx(1, abs=1e-9) and whole.ce_recovered_mean == pytest.approx(
        1, abs=1e-9
    )
    assert whole.kl_score == pytest.approx(1, abs=1e-9) and whole.ce_dictionary == pytest.approx(whole.ce, abs=1e-9)
    assert abs(whole.fve_mean_predictor) < 0.01
    from explorer.models.dictionary_files import add_dictionary

    sae = make("relu", 32, 1, "resid_post")
    with torch.no_grad():
        sae.b_enc.fill_(-1e6)
        sae.b_dec.zero_()
    sae.save_model(tmp_path / "empty")
    empty = quality(
        model, model.dictionary(add_dictionary(str(tmp_path / "empty"), model.info, name="empty").place), rows
    )
    assert empty.densities[0] == sum(empty.densities) == 48
    assert empty.l0 == 0 and empty.dead == 1 and empty.ce_recovered_zero == pytest.approx(0, abs=1e-9)
    assert empty.kl_score == pytest.approx(0, abs=1e-9) and empty.fve < 0


@pytest.mark.truth
def test_variance_explained_is_of_all_tokens_about_one_mean(tiny_models, tmp_path: Path) -> None:
    """Not the mean of ratios, and not about zero: computed here in one piece."""
    model, rows = tiny_models["llama"], rows_of(tiny_models["llama"])
    found = added(model, tmp_path / "sae", "jumprelu", 1, "resid_post")
    keep = usable(rows, model.tokenizer.bos_token_id)
    x = read_places(model, rows, [("resid_post", 1)])[0][keep]
    wanted = 1 - float((x - found.reconstruct(x)).pow(2).sum() / (x - x.mean(0)).pow(2).sum())
    measured = quality(model, found, rows)
    assert measured.fve == pytest.approx(wanted, abs=1e-9) and measured.tokens == int(keep.sum())
    assert measured.l0 == pytest.approx(float((found.encode(x) > 0).sum(1).double().mean()))
    assert sum(measured.densities) == found.n_features


def small(model: Model, site: str, **more: object):
    plain = {"features": 40, "k": 4.0, "tokens": 3000, "steps": 120} | more
    return dictionary_recipe(model, site, **plain)


@pytest.mark.parametrize(
    ("family", "site"),
    [("gpt2", "L1.resid_post"), ("llama", "L1.transcoder"), ("gpt2", "L0.z"), ("qwen2", "L2.mlp_out")],
)
def test_a_training_ends_in_a_folder_that_saelens_reads(
    family: str, site: str, tiny_directories, tmp_path: Path
) -> None:
    model = load_model(str(tiny_directories[family]))
    seen: list[float] = []
    found = train_dictionary(
        model, small(model, site), text=text_file(tmp_path), watch=lambda losses, dead: seen.append(losses[-1])
    )
    assert (
        found.place == site and seen[-1] < seen[0] and not list((training.own_folder(model.info) / site).glob("work-*"))
    )
    theirs = sae_lens.SAE.load_from_disk(training.own_folder(model.info) / site, dtype="float32")
    x = torch.randn(5, found.d_in)
    assert torch.allclose(found.encode(x), theirs.encode(x), atol=1e-5)
    assert torch.allclose(torch.linalg.vector_norm(found.decoder, dim=-1), torch.ones(40), atol=2e-3)
    card = found.card
    assert (
        card["weight_hash"] == model.info.weight_hash
        and card["shuffled_weights"]["l0"] >= 0
        and len(card["losses"]) == 120
    )
    assert card["quality"]["fve"] > 0.2 and "text.txt" in card["source"]


def test_an_interrupted_training_ends_alike(tiny_directories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(str(tiny_directories["gpt2"]))
    recipe, text = small(model, "L1.resid_post"), text_file(tmp_path)
    whole = train_dictionary(model, recipe, tmp_path / "whole", text, random_baseline=False)
    monkeypatch.setattr(training, "SAVE_EVERY", 10)

    def stop(losses: list[float], dead: float) -> None:
        if len(losses) == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_dictionary(model, recipe, tmp_path / "parts", text, watch=stop, random_baseline=False)
    assert len(list((tmp_path / "parts").glob("work-*/model.safetensors"))) == 1
    resumed = train_dictionary(model, recipe, tmp_path / "parts", text, random_baseline=False)
    assert resumed.card["losses"] == whole.card["losses"] and torch.equal(resumed.decoder, whole.decoder)
    assert not list((tmp_path / "parts").glob("work-*"))


def test_a_place_keeps_its_dictionary_and_card_until_the_new_one_is_measured(tiny_directories, tmp_path: Path) -> None:
    model = load_model(str(tiny_directories["gpt2"]))
    folder, text = tmp_path / "place", text_file(tmp_path)
    first = train_dictionary(model, small(model, "L1.resid_post"), folder, text, random_baseline=False)
    other = small(model, "L1.resid_post", seed=1)

    def stop(fraction: float, stage: str) -> None:
        if stage.startswith("Measuring"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_dictionary(model, other, folder, text, stop, random_baseline=False)
    kept = read_dictionary(folder, model.info)
    assert kept.identity == first.identity and kept.card == first.card
    again = train_dictionary(model, other, folder, text, random_baseline=False)
    assert again.identity != first.identity and again.card["seed"] == 1


def test_what_cannot_be_trained_is_said(tiny_models, tmp_path: Path) -> None:
    model = tiny_models["gpt2"]
    with pytest.raises(TrainingError, match="has layers 0 to 2"):
        dictionary_recipe(model, "L7.resid_post")
    with pytest.raises(TrainingError, match="steps is at least 1"):
        dictionary_recipe(model, "L1.resid_post", steps=0)
    with pytest.raises(TrainingError, match="below the number of features"):
        dictionary_recipe(model, "L1.resid_post", features=4, k=4.0)
    with pytest.raises(DictionaryError, match="no place of a dictionary"):
        dictionary_recipe(model, "somewhere")
    with pytest.raises(TrainingError, match="has 0 tokens"):
        (tmp_path / "empty.txt").write_text("")
        train_dictionary(model, small(model, "L1.resid_post"), tmp_path / "out", tmp_path / "empty.txt")
    with pytest.raises(BridgeError, match="baseline on shuffled weights"):
        train_dictionary(
            tiny_models["opt"], small(tiny_models["opt"], "L1.resid_post"), tmp_path / "opt", text_file(tmp_path)
        )


@pytest.mark.parametrize("place", ["L0.resid_post", "L3.resid_post", "L1.transcoder"])
def test_shipped_cards_say_what_is_measured(place: str) -> None:
    """A part of the card is measured again, on other documents of the small world."""
    from explorer.training.texts import world_rows

    model = load_model("small-world")
    found = model.dictionary(place)
    again = quality(model, found, world_rows(model, 24, 96, 5)[:24])
    card = found.card["quality"]
    assert abs(again.fve - card["fve"]) < 0.03 and abs(again.l0 - card["l0"]) < 1.5
    assert abs(again.ce_recovered_zero - card["ce_recovered_zero"]) < 0.05


def test_shipped_dictionaries_are_small() -> None:
    from explorer.models.dictionary_files import SHIPPED as HOME

    files = [path for path in HOME.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 15_000_000
    places = sorted(path.parent.name for path in HOME.glob("small-world/*/cfg.json"))
    assert places == sorted(
        [*(f"L{layer}.resid_post" for layer in range(4)), *(f"L{layer}.transcoder" for layer in range(4))]
    )
    for path in HOME.glob("*/*/cfg.json"):
        assert json.loads(path.read_text())["dtype"] == "float16" and (path.parent / "card.json").is_file()


def test_the_readme_says_what_the_cards_say() -> None:
    from explorer.models.dictionary_files import SHIPPED as HOME

    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for path in HOME.glob("*/*/card.json"):
        card = json.loads(path.read_text())
        assert all(sum(card[part]["densities"]) == card["features"] for part in ("quality", "shuffled_weights"))
        own, other = card["quality"], card["shuffled_weights"]
        row = (
            f"| `{path.parent.parent.name}` {card['place']} | {card['features']:,} | {own['l0']:.1f} | {own['fve']:.3f} | {other['fve']:.3f} | "
            f"{own['ce_recovered_zero']:.3f} | {own['ce_recovered_mean']:.3f} | {own['kl_score']:.3f} | {own['dead']:.1%} |"
        )
        assert row in readme, row
