"""The tuned lens, KL, followed tokens and the component lens: definitions, limits, and other models' files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import explorer as ex
from explorer.core.errors import AnswerError, BridgeError, LensError, TrainingError
from explorer.engine.model import Model, load_model
from explorer.models.tuned_lens import NAME, TunedLens, find_lens, own_path, read_lens, write_lens
from explorer.training.lens import lens_recipe, train_lens
from explorer.training.optimise import Training
from explorer.training.texts import written_rows
from tests.conftest import PROMPT, TWIN
from tests.tiny import COVERED, tiered
from tests.toys import affine_toy

STACK = (ex.Ablate(ex.Head(1, 2)),)


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("CIRCUIT_EXPLORER_DATA", str(tmp_path))
    return tmp_path


def with_lens(model: Model, lens: TunedLens, monkeypatch) -> None:
    monkeypatch.setitem(model.__dict__, "tuned_lens", lens)


def random_lens(model: Model, scale: float) -> TunedLens:
    n, d = model.info.n_layers - 1, model.info.d_model
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: scale * torch.randn(shape, generator=generator)  # noqa: E731
    record = {"digest": f"random {scale}", "weight_hash": model.info.weight_hash, "model": model.info.key}
    return TunedLens(draw(n, d, 4), draw(n, 4, d), draw(n, d), record)


@pytest.mark.truth
def test_kl_follows_its_definition_and_is_0_after_the_last_layer(tiny: Model) -> None:
    lens = ex.logit_lens(tiny, PROMPT, STACK, kl=True)
    tokens = tiny.tokenize(PROMPT)
    run = tiny.activations(tokens, STACK, ("resid_post",))
    output = tiny.unembed(run.final).double().log_softmax(-1)
    for layer in range(tiny.info.n_layers):
        read = tiny.unembed(run.kept["resid_post"][layer]).double().log_softmax(-1)
        expected = (output.exp() * (output - read)).sum(-1)
        assert np.abs(lens.kl[layer] - expected.numpy()).max() < 1e-5
    assert lens.kl[-1].max() < 1e-6 and (lens.kl >= 0).all()


@pytest.mark.truth
def test_followed_tokens_and_top_tokens_are_the_distributions_own(tiny: Model) -> None:
    lens = ex.logit_lens(tiny, PROMPT, answer=" Mary", distractor=" John", follow=(" Mary", " the"), top=4)
    assert np.array_equal(lens.followed_prob[0], lens.answer_prob) and np.array_equal(
        lens.followed_rank[0], lens.answer_rank
    )
    logits = ex.run(tiny, PROMPT).logits
    order = np.argsort(-logits[-1], kind="stable")[:4]
    assert lens.top_ids[-1, -1].tolist() == order.tolist() and (np.diff(lens.top_probs, axis=-1) <= 0).all()
    assert lens.followed == (" Mary", " the") and lens.followed_logit.shape == (2, *lens.prob.shape)
    with pytest.raises(AnswerError):
        ex.logit_lens(tiny, PROMPT, follow=(" interpretability",))


@pytest.mark.truth
def test_an_untrained_tuned_lens_is_the_logit_lens(tiny: Model, monkeypatch) -> None:
    with_lens(tiny, random_lens(tiny, 0.0), monkeypatch)
    plain, tuned = ex.logit_lens(tiny, PROMPT, STACK), ex.logit_lens(tiny, PROMPT, STACK, kind="tuned")
    assert np.array_equal(plain.prob, tuned.prob) and np.array_equal(plain.token_id, tuned.token_id)


@pytest.mark.truth
def test_the_tuned_lens_follows_its_formula_under_interventions(tiny: Model, monkeypatch) -> None:
    lens = random_lens(tiny, 0.2)
    with_lens(tiny, lens, monkeypatch)
    found = ex.logit_lens(tiny, PROMPT, STACK, kind="tuned")
    streams = tiny.activations(tiny.tokenize(PROMPT), STACK, ("resid_post",)).kept["resid_post"]
    for layer in range(tiny.info.n_layers - 1):
        h = streams[layer].double()
        matrix = lens.left[layer].double() @ lens.right[layer].double()
        probs = tiny.unembed(h + h @ matrix.T + lens.bias[layer].double()).softmax(-1)
        assert np.abs(found.prob[layer] - probs.max(-1).values.numpy()).max() < 1e-5
    assert np.array_equal(found.prob[-1], ex.logit_lens(tiny, PROMPT, STACK).prob[-1])


@pytest.mark.slow
@pytest.mark.truth
def test_where_the_rest_of_the_network_is_affine_training_reaches_the_output(tmp_path, data) -> None:
    """No norms, no attention and linear MLPs: h_final is affine in h_0, so a tuned lens has KL 0; the logit lens has not."""
    model = affine_toy()
    recipe = replace(lens_recipe(model, steps=300), rows=96, row=8, batch=16)
    record = read_lens(train_lens(model, recipe), model.info).record
    assert record["kl_tuned"][0] < 0.02 * record["kl_logit"][0] and record["kl_logit"][0] > 0.1


@pytest.mark.slow
@pytest.mark.truth
def test_training_lowers_the_kl_resumes_and_is_found(data, monkeypatch, tiny_directories) -> None:
    model = load_model("small-world-nano")
    recipe = replace(lens_recipe(model, steps=24), rows=48)
    path = train_lens(model, recipe)
    record = read_lens(path, model.info).record
    assert path == own_path(model.info) and path.name == NAME
    assert all(tuned < plain for tuned, plain in zip(record["kl_tuned"], record["kl_logit"], strict=True))
    whole = path.read_bytes()

    monkeypatch.setattr("explorer.training.lens.SAVE_EVERY", 8)
    interrupted_at(12, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train_lens(model, recipe)
    monkeypatch.undo()
    monkeypatch.setenv("CIRCUIT_EXPLORER_DATA", str(data))
    again = read_lens(train_lens(model, recipe), model.info)
    first = read_lens_bytes(whole, data, model)
    assert torch.equal(again.left, first.left) and torch.equal(again.bias, first.bias)
    assert find_lens(model.info).identity == again.identity
    checked = ex.logit_lens(model, PROMPT, kind="tuned")
    assert checked.check < 1e-6 and checked.kind == "tuned"


def interrupted_at(step: int, monkeypatch) -> None:
    from explorer.training import lens as module

    plain = module.take_step

    def stopping(training: Training, backward):
        if training.step == step:
            raise KeyboardInterrupt
        return plain(training, backward)

    monkeypatch.setattr(module, "take_step", stopping)


def read_lens_bytes(content: bytes, folder, model: Model) -> TunedLens:
    (folder / "first.safetensors").write_bytes(content)
    return read_lens(folder / "first.safetensors", model.info)


@pytest.mark.unit
def test_a_lens_of_another_model_or_a_damaged_one_is_refused(tiny: Model, data) -> None:
    path = own_path(tiny.info)
    with pytest.raises(LensError, match="There is no tuned lens of"):
        find_lens(tiny.info)
    lens = random_lens(tiny, 0.1)
    write_lens(replace(lens, record={**lens.record, "weight_hash": "0" * 64, "model": "other"}), path)
    with pytest.raises(LensError, match="was trained on other with weights 000000000000"):
        find_lens(tiny.info)
    write_lens(replace(lens, left=lens.left[:1], right=lens.right[:1], bias=lens.bias[:1]), path)
    with pytest.raises(LensError, match="wrong shape"):
        find_lens(tiny.info)
    write_lens(replace(lens, bias=lens.bias * float("nan")), path)
    with pytest.raises(LensError, match="not finite"):
        find_lens(tiny.info)
    path.write_bytes(b"no tensors here")
    with pytest.raises(LensError, match="no tuned lens that can be read"):
        find_lens(tiny.info)
    save_file({"left": torch.zeros(1)}, path)
    with pytest.raises(LensError, match="no tuned lens that can be read"):
        find_lens(tiny.info)
    write_lens(lens, path)
    assert torch.allclose(find_lens(tiny.info).left, lens.left, atol=1e-3)


@pytest.mark.unit
def test_training_refuses_what_it_cannot_do(tiny_models, tmp_path) -> None:
    llama, opt = tiny_models["llama"], tiny_models["opt"]
    with pytest.raises(BridgeError, match="Training a lens needs the engine"):
        train_lens(opt, lens_recipe(opt), tmp_path)
    with pytest.raises(TrainingError, match="rank from 1 to 32; got 99"):
        lens_recipe(llama, rank=99)
    with pytest.raises(TrainingError, match="at least one step"):
        lens_recipe(llama, steps=0)
    with pytest.raises(TrainingError, match="cannot be read as UTF-8"):
        train_lens(llama, lens_recipe(llama, steps=1), tmp_path, tmp_path / "missing.txt")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").touch()
    with pytest.raises(TrainingError, match="is a model's directory"):
        train_lens(llama, lens_recipe(llama, steps=1), tmp_path / "model")
    (tmp_path / "short.txt").write_text("too short")
    with pytest.raises(TrainingError, match="tokens; at least"):
        train_lens(llama, lens_recipe(llama, steps=1), tmp_path, tmp_path / "short.txt")


@pytest.mark.unit
def test_a_lens_trains_on_a_file_and_on_the_models_own_text(tiny_models, tmp_path) -> None:
    llama = tiny_models["llama"]
    (tmp_path / "text.txt").write_text("\n".join([PROMPT, TWIN] * 40))
    recipe = replace(lens_recipe(llama, steps=2), row=16)
    record = read_lens(train_lens(llama, recipe, tmp_path / "a", tmp_path / "text.txt"), llama.info).record
    assert "text.txt" in record["text"] and len(record["kl_tuned"]) == llama.info.n_layers - 1
    rows = written_rows(llama, 6, 20, 0, lambda fraction, stage: None)
    assert rows.shape == (6, 20) and torch.equal(rows, written_rows(llama, 6, 20, 0, lambda fraction, stage: None))
    assert not torch.equal(rows, written_rows(llama, 6, 20, 1, lambda fraction, stage: None))


@pytest.mark.truth
@pytest.mark.parametrize("family", tiered(COVERED))
def test_the_component_lens_is_direct_logit_attribution_over_the_vocabulary(tiny_models, family: str) -> None:
    model = tiny_models[family]
    found = ex.component_lens(model, PROMPT, STACK, answer=" Mary", distractor=" John")
    assert found.columns[-1] == "mlp_out" and len(found.frame) == found.logit.size
    if family == "gemma2":  # its logits are capped: no attribution, and attention as a whole
        assert found.columns == ("attn_out", "mlp_out")
        return
    rows = ex.direct_logit_attribution(model, PROMPT, STACK, answer=" Mary", distractor=" John").frame
    parts = dict(zip(rows["component"], rows["changed"], strict=True))
    for layer in range(model.info.n_layers):
        for column, name in enumerate(found.columns):
            expected = parts[found.name(layer, column)] + (
                parts.get(f"L{layer} MLP bias", 0.0) if name == "mlp_out" else 0.0
            )
            assert found.objective[layer, column] == pytest.approx(expected, abs=1e-9)
    assert found.objective[1, 2] == 0.0


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.parametrize("key", ["smollm2", "small-world", "small-world-nano", "attn-only-2l"])
def test_shipped_lenses_beat_the_logit_lens_at_every_layer(key: str, monkeypatch, tmp_path) -> None:
    """On text that no training saw: the world's held-out prompts."""
    monkeypatch.setenv("CIRCUIT_EXPLORER_DATA", str(tmp_path))
    model = load_model(key)
    pairs = ex.task_pairs(model, "ioi", 12, seed=77, held_out=True).pairs
    totals = {
        kind: np.mean([ex.logit_lens(model, pair.clean, kind=kind, kl=True).kl.mean(1) for pair in pairs], axis=0)
        for kind in ("logit", "tuned")
    }
    assert (totals["tuned"][:-1] < totals["logit"][:-1]).all() and totals["tuned"][-1] < 1e-5 > totals["logit"][-1]
    record = model.tuned_lens.record
    assert all(tuned < plain for tuned, plain in zip(record["kl_tuned"], record["kl_logit"], strict=True))
