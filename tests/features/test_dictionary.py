"""Dictionaries are sae-lens' own; features as sites keep the error term; what does not fit is refused in words."""

import json
from pathlib import Path

import pytest
import sae_lens
import torch

import explorer as ex
from explorer.core.errors import DictionaryError, InterventionError, StateError, UnsafeFileError
from explorer.core.sites import Feature, parse_site
from explorer.engine.interventions import Ablate, Clamp, Freeze, Intervention, Patch, Scale, Steer
from explorer.engine.model import Model
from explorer.models.dictionary_files import add_dictionary, find_dictionary, folders, parse_place
from tests.features.dictionaries import KINDS, added, write

PROMPT, OTHER = "The capital of France is Paris", "The capital of Italy is Rome"
PLACES = {kind: "transcoder" if "transcoder" in kind else "resid_post" for kind in KINDS}


@pytest.mark.reference
@pytest.mark.parametrize("kind", KINDS)
def test_a_saelens_folder_gives_saelens_own_activations(kind: str, tiny_models, tmp_path: Path) -> None:
    model = tiny_models["gpt2"]
    found = add_dictionary(str(write(kind, tmp_path / "sae", model.info.d_model, 1, PLACES[kind])), model.info)
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "sae")
    x = torch.randn(7, model.info.d_model, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        acts, out = theirs.encode(x), theirs(x)
    assert (acts > 0).any() and torch.allclose(found.encode(x), acts, atol=1e-5)
    assert torch.allclose(found.reconstruct(x), out, atol=1e-5)


@pytest.mark.truth
@pytest.mark.parametrize("family", ["gpt2", "llama", "neox"])
@pytest.mark.parametrize("kind", ["relu", "topk", "jumprelu", "gated", "layer_norm", "transcoder", "skip_transcoder"])
def test_changing_a_feature_adds_its_decoder_row_and_keeps_the_error(
    kind: str, family: str, tiny_models, tmp_path: Path
) -> None:
    model = tiny_models[family]
    found = added(model, tmp_path / "sae", kind, 1, PLACES[kind])
    tokens = model.tokenize(PROMPT)
    kinds = (found.reads, found.writes, "resid_post")
    base = model.activations(tokens, (), kinds)
    read = base.kept[found.reads][1]
    acts = found.encode(found.flat(read))
    index = int((acts[2:] > 0).sum(0).argmax())
    own, row = acts[:, index], found.decoder[index] * 1.0
    scale = found.scale(read)
    site = found.feature(index)

    def change(item: Intervention) -> torch.Tensor:
        return model.activations(tokens, (item,), kinds).kept[found.writes][1] - base.kept[found.writes][1]

    for item in (Scale(site, 1.0), Freeze(site), Patch(site, PROMPT), Clamp(site, float(own[2]), (2,))):
        assert change(item).abs().max() < 1e-12, item
    for item, delta in (
        (Ablate(site), -own),
        (Scale(site, 3.0), 2 * own),
        (Clamp(site, 1.5), 1.5 - own),
        (Steer(site, (1.0,), -2.0), torch.full_like(own, -2.0)),
        (Ablate(site, "mean"), own.mean() - own),
    ):
        assert torch.allclose(change(item), (delta[:, None] * scale) * row, atol=1e-9), item
    at = change(Clamp(site, 2.0, (-1,)))
    assert at[:-1].abs().max() == 0 and at[-1].abs().max() > 0


@pytest.mark.truth
def test_engine_and_bridge_change_a_feature_alike(tiny_directories, tiny_models, tmp_path: Path) -> None:
    model = tiny_models["gpt2"]
    bridge = ex.load_model(str(tiny_directories["gpt2"]), dtype="float64", backend="bridge")
    for kind, place in (("jumprelu", "resid_post"), ("transcoder", "transcoder"), ("relu", "z"), ("relu", "attn_out")):
        found = added(model, tmp_path / place, kind, 1, place)
        stack = (Clamp(found.feature(3), 2.0), Scale(found.feature(5), 0.5, (2,)))
        ours, theirs = (each.activations(each.tokenize(PROMPT), stack).final for each in (model, bridge))
        assert torch.allclose(ours, theirs, atol=1e-9) and not torch.allclose(
            ours, model.activations(model.tokenize(PROMPT)).final
        )


@pytest.mark.truth
def test_patching_a_feature_takes_its_activation_from_the_other_prompt(tiny_models, tmp_path: Path) -> None:
    model = tiny_models["llama"]
    found = added(model, tmp_path / "sae", "relu", 0, "resid_post")
    here, there = model.tokenize(PROMPT), model.tokenize(OTHER)
    acts = [found.encode(model.activations(each, (), ("resid_post",)).kept["resid_post"][0]) for each in (here, there)]
    index = int((acts[0][-1] - acts[1][-1]).abs().argmax())
    changed = model.activations(here, (Patch(found.feature(index), OTHER, (-1,)),), ("resid_post",)).kept["resid_post"][
        0
    ]
    base = model.activations(here, (), ("resid_post",)).kept["resid_post"][0]
    delta = acts[1][-1, index] - acts[0][-1, index]
    assert torch.allclose(changed[-1] - base[-1], delta * found.decoder[index], atol=1e-9)


def test_names_of_features_round_trip() -> None:
    for site in (Feature(14, "resid_post", 17), Feature(2, "transcoder", 3, "mine")):
        assert parse_site(str(site)) == site
    assert str(Feature(14, "resid_post", 17)) == "L14.resid_post/17"
    with pytest.raises(StateError, match="no dictionary reads neurons"):
        parse_site("L1.neurons/3")
    assert parse_place("resid_post.14") == (14, "resid_post", "")
    with pytest.raises(DictionaryError, match="no place of a dictionary"):
        parse_place("../../etc")


def test_a_dictionary_of_another_model_or_site_is_refused_with_both_widths(tiny_models, tmp_path: Path) -> None:
    info = tiny_models["gpt2"].info
    with pytest.raises(DictionaryError, match=r"reads 20 numbers; .* has 32 there"):
        add_dictionary(str(write("relu", tmp_path / "narrow", 20, 1, "resid_post")), info)
    with pytest.raises(DictionaryError, match="has layers 0 to 2"):
        add_dictionary(str(write("relu", tmp_path / "deep", 32, 9, "resid_post")), info)
    with pytest.raises(DictionaryError, match="which is not shown here"):
        add_dictionary(str(write("relu", tmp_path / "odd", 32, 1, "rot_q")), info)
    with pytest.raises(DictionaryError, match="no resid_mid"):
        add_dictionary(str(write("relu", tmp_path / "mid", 32, 1, "resid_mid")), tiny_models["neox"].info)
    folder = write("relu", tmp_path / "other", 32, 1, "resid_post")
    (folder / "card.json").write_text(json.dumps({"model": "another", "weight_hash": "ab" * 32}))
    with pytest.raises(DictionaryError, match=r"was trained on another with weights abababababab"):
        add_dictionary(str(folder), info)
    assert folders(info) == {}


def test_pickles_and_damaged_folders_are_refused(tiny_models, tmp_path: Path) -> None:
    info = tiny_models["gpt2"].info
    folder = tmp_path / "pickle"
    folder.mkdir()
    (folder / "sae_weights.pt").write_bytes(b"\x80\x04")
    with pytest.raises(UnsafeFileError, match="pickle"):
        add_dictionary(str(folder), info)
    with pytest.raises(DictionaryError, match=r"holds no dictionary: expected cfg\.json"):
        add_dictionary(str(tmp_path / "nothing"), info)
    broken = write("relu", tmp_path / "broken", 32, 1, "resid_post")
    (broken / "cfg.json").write_text("{")
    with pytest.raises(DictionaryError, match="cannot be read as JSON"):
        add_dictionary(str(broken), info)
    with pytest.raises(DictionaryError, match=r"There is no dictionary at L1\.resid_post of .*train-sae"):
        find_dictionary(info, 1, "resid_post")


def test_a_feature_that_is_not_there_is_named(tiny_models, tmp_path: Path) -> None:
    model: Model = tiny_models["gpt2"]
    found = added(model, tmp_path / "sae", "relu", 1, "resid_post")
    with pytest.raises(DictionaryError, match=r"has features 0 to 47; there is no 48"):
        model.activations(model.tokenize(PROMPT), (Ablate(Feature(1, "resid_post", 48)),))
    with pytest.raises(InterventionError, match="must be finite"):
        model.activations(model.tokenize(PROMPT), (Clamp(found.feature(0), float("nan")),))


def test_two_dictionaries_at_one_place_are_told_apart(tiny_models, tmp_path: Path) -> None:
    model = tiny_models["gpt2"]
    first = added(model, tmp_path / "one", "relu", 1, "resid_post")
    second = add_dictionary(str(write("relu", tmp_path / "two", 32, 1, "resid_post", seed=5)), model.info, name="mine")
    assert second.place == "L1.resid_post~mine" and list(folders(model.info)) == ["L1.resid_post", "L1.resid_post~mine"]
    finals = [
        model.activations(model.tokenize(PROMPT), (Clamp(each.feature(3), 4.0),)).final for each in (first, second)
    ]
    assert not torch.allclose(*finals)


def test_a_release_that_cannot_be_reached_or_is_a_pickle_is_refused(
    tiny_models, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_models["gpt2"]
    with pytest.raises(DictionaryError, match=r"cannot be had: .*a folder on this machine needs no network"):
        ex.load_dictionary(model, "gpt2-small-res-jb", "blocks.8.hook_resid_pre")
    monkeypatch.setattr(
        "huggingface_hub.list_repo_files",
        lambda repo: ["blocks.8.hook_resid_pre/sae.pt", "blocks.8.hook_resid_pre/cfg.json"],
    )
    with pytest.raises(UnsafeFileError, match=r"saved as pickle \(blocks\.8\.hook_resid_pre/sae\.pt\)"):
        ex.load_dictionary(model, "somebody/saes", "blocks.8.hook_resid_pre")


def test_centred_streams_are_read_where_the_dictionary_asks(tiny_models, tmp_path: Path) -> None:
    """`center_writing_weights`: sae-lens' gpt2-small-res-jb was trained on such a stream."""
    model = tiny_models["gpt2"]
    folder = write("relu", tmp_path / "sae", 32, 1, "resid_post")
    config = json.loads((folder / "cfg.json").read_text())
    config["metadata"]["model_from_pretrained_kwargs"] = {"center_writing_weights": True}
    (folder / "cfg.json").write_text(json.dumps(config))
    found = ex.load_dictionary(model, folder)
    x = torch.randn(3, 32, dtype=torch.float64)
    assert found.centred and torch.allclose(found.flat(x + 5.0), found.flat(x))
    assert found is model.dictionary("L1.resid_post") and ex.load_dictionary(model, "L1.resid_post") is found
