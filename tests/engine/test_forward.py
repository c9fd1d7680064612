"""The forward pass against Hugging Face and the bridge, and its identities."""

import pytest
import torch

from explorer.core.errors import InterventionError, SiteError
from explorer.core.sites import Head, MlpOut, Resid
from explorer.engine.backends import Bridge
from explorer.engine.edits import Tape
from explorer.engine.generation import generate
from explorer.engine.interventions import Ablate
from explorer.engine.model import Model
from explorer.engine.run import run
from tests.conftest import PROMPT, TWIN
from tests.tiny import COVERED, hf_model

pytestmark = pytest.mark.reference

ALL = ("resid_pre", "pattern", "z", "attn_out", "resid_mid", "mlp_out", "resid_post")


@pytest.mark.parametrize("family", COVERED)
@pytest.mark.parametrize("text", [PROMPT, "x", "The capital of France is Paris " * 3])
def test_log_probs_equal_hugging_face(tiny_models, family: str, text: str) -> None:
    model = tiny_models[family]
    result = run(model, text)
    with torch.no_grad():
        reference = hf_model(family).double()(torch.tensor([result.tokens.ids])).logits[0].log_softmax(-1)
    # Hugging Face computes RMSNorm in float32, also in a float64 model
    assert (torch.from_numpy(result.log_probs()) - reference).abs().max() < 1e-5


def test_log_probs_of_smollm2_equal_an_independent_forward_of_the_same_file(smollm2: Model) -> None:
    from transformers import AutoModelForCausalLM

    reference = AutoModelForCausalLM.from_pretrained(smollm2.info.source, dtype=torch.float32)
    for text in (PROMPT, "The capital of France is", "def add(a, b):\n    return a +"):
        result = run(smollm2, text)
        with torch.no_grad():
            expected = reference(torch.tensor([result.tokens.ids])).logits[0].double().log_softmax(-1)
        assert (torch.from_numpy(result.log_probs()) - expected).abs().max() < 1e-3


def test_published_numbers_of_smollm2(smollm2: Model) -> None:
    result = run(smollm2, PROMPT)
    top = result.top(1).iloc[0]
    assert top.token == " Mary" and top.prob > 0.8
    assert result.logit_difference(" Mary", " John") == pytest.approx(6.12, abs=0.01)
    ablated = run(smollm2, PROMPT, [Ablate(Head(23, 3))])
    assert ablated.logit_difference(" Mary", " John") == pytest.approx(3.08, abs=0.01)
    raised = run(smollm2, PROMPT, [Ablate(Head(24, 4))])
    assert raised.logit_difference(" Mary", " John") == pytest.approx(6.84, abs=0.01)
    assert run(smollm2, "The capital of France is").top(1).iloc[0].token == " Paris"


def test_a_pattern_that_is_kept_changes_nothing(tiny: Model) -> None:
    """Two code paths (fused attention, explicit pattern) give one result."""
    tokens = tiny.batch(tiny.tokenize(PROMPT).ids)
    fused, explicit = tiny.runtime.run(tokens, Tape((), ())), tiny.runtime.run(tokens, Tape((), ("pattern",)))
    assert (fused - explicit).abs().max() < 1e-12


@pytest.mark.parametrize("family", COVERED)
def test_every_activation_equals_the_bridge(tiny_models, family: str) -> None:
    model = tiny_models[family]
    tokens = model.batch(model.tokenize(PROMPT).ids)
    kinds = [kind for kind in ALL if not (kind == "resid_mid" and model.info.parallel)]
    ours, theirs = Tape((), kinds), Tape((), kinds)
    model.runtime.run(tokens, ours)
    Bridge(model.bridge).run(tokens, theirs)
    for kind in ours.kept:
        for layer in range(model.info.n_layers):
            assert (ours.kept[kind][layer] - theirs.kept[kind][layer]).abs().max() < 1e-5, (kind, layer)


def test_resampling_the_whole_stream_gives_the_other_run(tiny: Model) -> None:
    other = run(tiny, TWIN).logits
    patched = run(tiny, PROMPT, [Ablate(Resid(1, "resid_post"), "resample", reference=(TWIN,))]).logits
    assert abs(patched - other).max() < 1e-6


def test_zeroing_all_heads_leaves_the_output_bias_alone(tiny: Model) -> None:
    tokens = tiny.tokenize(PROMPT)
    stack = tuple(Ablate(Head(1, head)) for head in range(tiny.info.n_heads))
    written = tiny.activations(tokens, stack, ("attn_out", "resid_post")).kept["attn_out"][1]
    bias = tiny.runtime.decoder.blocks[1].o.bias
    expected = torch.zeros_like(written) if bias is None else bias.expand_as(written)
    assert (written - expected).abs().max() < 1e-12


def test_mean_ablation_writes_the_mean(tiny: Model) -> None:
    tokens, twin = tiny.tokenize(PROMPT), tiny.tokenize(TWIN)
    values = torch.cat([tiny.activations(text, (), ("mlp_out",)).kept["mlp_out"][1] for text in (tokens, twin)])
    stack = (Ablate(MlpOut(1), "mean", reference=(PROMPT, TWIN)),)
    written = tiny.activations(tokens, stack, ("mlp_out",)).kept["mlp_out"][1]
    assert (written - values.mean(0)).abs().max() < 1e-12


def test_a_change_after_the_last_use_changes_nothing_earlier(tiny: Model) -> None:
    """Causality: an ablation at position 5 leaves positions 0 to 4 as they were."""
    base = run(tiny, PROMPT).logits
    changed = run(tiny, PROMPT, [Ablate(Resid(0, "resid_pre"), positions=(5,))]).logits
    assert abs(changed[:5] - base[:5]).max() < 1e-6 and abs(changed[5:] - base[5:]).max() > 1e-3


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (Ablate(Head(7, 0)), "has layers 0 to 2"),
        (Ablate(Head(0, 4)), "has heads 0 to 3"),
        (Ablate(MlpOut(-1)), "has layers 0 to 2"),
    ],
)
def test_sites_the_model_does_not_have(tiny: Model, item: Ablate, said: str) -> None:
    with pytest.raises(SiteError, match=said):
        run(tiny, PROMPT, [item])


def test_interventions_that_do_not_fit_the_prompt(tiny: Model) -> None:
    length = len(tiny.tokenize(PROMPT))
    with pytest.raises(InterventionError, match=f"positions run from 0 to {length - 1}"):
        run(tiny, PROMPT, [Ablate(Head(0, 0), positions=(length,))])
    with pytest.raises(InterventionError, match="make them equally long"):
        run(tiny, PROMPT, [Ablate(Head(0, 0), "resample", reference=("Mary",))])
    with pytest.raises(InterventionError, match="has no position"):
        run(tiny, PROMPT, [Ablate(Head(0, 0), "resample", (length - 1,), ("Mary",))])
    with pytest.raises(InterventionError, match="exactly one reference"):
        run(tiny, PROMPT, [Ablate(Head(0, 0), "resample")])
    with pytest.raises(InterventionError, match="is no intervention"):
        run(tiny, PROMPT, ["L0H0"])


@pytest.mark.parametrize(
    "stack",
    [
        (),
        (Ablate(Head(1, 1)),),
        (Ablate(MlpOut(0), positions=(2, 4)),),
        (Ablate(Head(0, 1), "resample", reference=(TWIN,)),),
    ],
)
def test_generation_with_a_cache_equals_whole_texts(tiny: Model, stack) -> None:
    """Each greedy token is the argmax of a run of the whole text so far, with the interventions fixed to the prompt."""
    ids = list(tiny.tokenize(PROMPT).ids)
    edits = tiny.edits(tiny.tokenize(PROMPT), stack)
    for new in generate(tiny, PROMPT, stack, n_tokens=6):
        resid = tiny.runtime.run(tiny.batch(ids), Tape(edits, ()))
        assert new == int(tiny.unembed(resid[0, -1]).argmax())
        ids.append(new)


def test_generation_on_the_bridge_equals_the_engine(tiny: Model, tiny_directories) -> None:
    from explorer.engine.model import load_model

    slow = load_model(tiny.info.source, dtype="float64", backend="bridge")
    stack = (Ablate(Head(1, 1)),)
    assert list(generate(slow, PROMPT, stack, n_tokens=5)) == list(generate(tiny, PROMPT, stack, n_tokens=5))


def test_sampling_is_seeded(tiny: Model) -> None:
    first, again, other = (list(generate(tiny, PROMPT, n_tokens=8, temperature=1.0, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_bos_shifts_the_reference_too(tiny: Model) -> None:
    stack = [Ablate(Head(0, 0), "resample", reference=(TWIN,))]
    result = run(tiny, PROMPT, stack, bos="on")
    assert result.tokens.has_bos and result.provenance.interventions == tuple(stack)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_runs_and_passes_its_own_check(tiny_directories, dtype) -> None:
    from explorer.engine.model import load_model

    for family in ("gpt2", "llama"):
        model = load_model(str(tiny_directories[family]), dtype=dtype)
        assert model.backend == "engine", model.check
        assert run(model, PROMPT, [Ablate(Head(0, 0))]).logits.dtype == "float32"


def test_the_bridge_serves_a_family_that_the_engine_does_not_cover(tiny_models) -> None:
    """OPT: an ablation on the bridge against a hook put on the Hugging Face model by hand."""
    model, layer, head = tiny_models["opt"], 1, 2
    reference = hf_model("opt").double()
    width = model.info.d_head

    def silence(module, arguments):
        z = arguments[0].clone()
        z[..., head * width : (head + 1) * width] = 0
        return (z, *arguments[1:])

    handle = reference.model.decoder.layers[layer].self_attn.out_proj.register_forward_pre_hook(silence)
    tokens = model.tokenize(PROMPT)
    with torch.no_grad():
        expected = reference(torch.tensor([tokens.ids])).logits[0].log_softmax(-1)
    handle.remove()
    changed = torch.from_numpy(run(model, PROMPT, [Ablate(Head(layer, head))]).log_probs())
    assert (changed - expected).abs().max() < 1e-5
    assert abs(run(model, PROMPT).log_probs() - changed.numpy()).max() > 1e-3


def test_a_parallel_block_has_no_resid_mid(tiny_models) -> None:
    with pytest.raises(SiteError, match="read the same stream"):
        run(tiny_models["neox"], PROMPT, [Ablate(Resid(1, "resid_mid"))])


@pytest.mark.parametrize("family", [family for family in COVERED if family not in ("gpt2", "llama")])
def test_generation_with_a_cache_in_every_family(tiny_models, family: str) -> None:
    """Soft caps, windows, partial rotary and fused projections also hold when only the new position is run."""
    model = tiny_models[family]
    ids, edits = list(model.tokenize(PROMPT).ids), model.edits(model.tokenize(PROMPT), (Ablate(Head(1, 1)),))
    for new in generate(model, PROMPT, (Ablate(Head(1, 1)),), n_tokens=5):
        assert new == int(model.unembed(model.runtime.run(model.batch(ids), Tape(edits, ()))[0, -1]).argmax())
        ids.append(new)


@pytest.mark.parametrize("family", COVERED)
def test_resuming_from_the_cached_run_changes_no_number(tiny_models, family: str) -> None:
    model = tiny_models[family]
    tokens, stack = model.tokenize(PROMPT), (Ablate(Head(2, 3)),)
    whole = model.runtime.run(model.batch(tokens.ids), Tape(model.edits(tokens, stack), ()))[0]
    resumed = model.activations(tokens, stack, ("resid_post", "pattern"))
    assert resumed.first_changed == 2 and (whole - resumed.final).abs().max() < 1e-12
