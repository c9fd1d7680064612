"""Gradients, integrated gradients and measured effects of input tokens: closed forms, completeness, and interventions."""

from dataclasses import replace

import numpy as np
import pytest

import explorer as ex
from explorer.core.errors import AnswerError, BridgeError, PairError, PromptError
from explorer.core.sites import Resid
from explorer.engine.model import Model
from tests.conftest import PROMPT, TWIN
from tests.tiny import QUICK
from tests.toys import affine_toy

OBJECTIVE = {"answer": " Mary", "distractor": " John"}
STACK = (ex.Ablate(ex.Head(1, 2)),)


@pytest.mark.truth
def test_in_an_affine_model_all_three_agree() -> None:
    """At the last position alone, since heads write nothing there; and the sums are exact."""
    found = ex.token_attribution(affine_toy(), PROMPT, **OBJECTIVE)
    assert np.abs(found.gradient - found.causal).max() < 1e-9 and np.abs(found.integrated - found.causal).max() < 1e-9
    assert abs(found.residual) < 1e-9 and np.abs(found.causal[:-1]).max() < 1e-9 < abs(found.causal[-1])


@pytest.mark.truth
@pytest.mark.parametrize("family", QUICK)
@pytest.mark.parametrize("stack", [(), STACK], ids=["plain", "changed"])
def test_effects_are_runs_with_one_token_replaced(tiny_models, family: str, stack) -> None:
    model: Model = tiny_models[family]
    found = ex.token_attribution(model, PROMPT, stack, **OBJECTIVE)
    whole = ex.run(model, PROMPT, stack).logit_difference(*OBJECTIVE.values())
    assert found.objective == pytest.approx(whole, abs=1e-5)
    for position in (0, 9, len(found.tokens) - 1):
        changed = (*stack, ex.Ablate(Resid(0, "resid_pre"), "mean", (position,)))
        after = ex.run(model, PROMPT, changed).logit_difference(*OBJECTIVE.values())
        assert found.causal[position] == pytest.approx(whole - after, abs=1e-5)
    assert abs(found.residual) <= 0.02 * abs(found.objective - found.at_baseline) + 1e-6


@pytest.mark.truth
def test_the_corrupt_baseline_patches_and_later_tokens_cannot_matter(tiny_models) -> None:
    model = tiny_models["llama"]
    found = ex.token_attribution(model, PROMPT, **OBJECTIVE, baseline="corrupt", corrupt=TWIN)
    differs = [a != b for a, b in zip(model.tokenize(PROMPT).ids, model.tokenize(TWIN).ids, strict=True)]
    assert found.replaced.tolist() == differs and np.isnan(found.rank_correlation("gradient"))
    place = differs.index(True)
    patched = ex.run(model, PROMPT, [ex.Patch(Resid(0, "resid_pre"), TWIN, (place,))]).logit_difference(
        *OBJECTIVE.values()
    )
    assert found.causal[place] == pytest.approx(found.objective - patched, abs=1e-5)
    assert (found.causal[~found.replaced] == 0).all()
    early = ex.token_attribution(model, PROMPT, **OBJECTIVE, position=5)
    assert not early.replaced[6:].any() and np.abs(early.gradient[6:]).max() == np.abs(early.causal[6:]).max() == 0


@pytest.mark.truth
def test_the_gradient_is_the_slope_of_the_objective(tiny_models) -> None:
    model = tiny_models["gpt2"]
    found = ex.token_attribution(model, PROMPT, **OBJECTIVE, causal=False)
    assert np.isnan(found.causal).all() and np.isnan(found.rank_correlation("integrated"))
    x = model.activations(model.tokenize(PROMPT), (), ("resid_pre",)).kept["resid_pre"][0]
    step, place = 1e-5, 7
    pushed = ex.Steer(Resid(0, "resid_pre"), (x[place] - x.mean(0)).tolist(), step, (place,))
    slope = (ex.run(model, PROMPT, [pushed]).logits[-1] - ex.run(model, PROMPT).logits[-1]) / step
    ids = [model.single_token(text) for text in OBJECTIVE.values()]
    assert found.gradient[place] == pytest.approx(slope[ids[0]] - slope[ids[1]], abs=2e-2)


@pytest.mark.unit
def test_rank_correlation_is_spearmans(tiny_models) -> None:
    found = ex.token_attribution(tiny_models["llama"], "one two three four five six", answer=" Mary", causal=False)
    n = len(found.tokens)
    ramp = np.arange(n, dtype=float)
    made = replace(found, causal=ramp**3, gradient=-ramp, integrated=np.exp(ramp))
    assert made.rank_correlation("gradient") == pytest.approx(-1) and made.rank_correlation(
        "integrated"
    ) == pytest.approx(1)


@pytest.mark.unit
def test_what_cannot_be_attributed_is_refused_and_work_can_be_cancelled(tiny_models) -> None:
    llama = tiny_models["llama"]
    with pytest.raises(AnswerError, match="needs an answer"):
        ex.token_attribution(llama, PROMPT, answer="")
    with pytest.raises(PromptError, match="does not exist"):
        ex.token_attribution(llama, PROMPT, **OBJECTIVE, position=99)
    with pytest.raises(PairError, match="is empty"):
        ex.token_attribution(llama, PROMPT, **OBJECTIVE, baseline="corrupt")
    with pytest.raises(PairError, match="same number of tokens"):
        ex.token_attribution(llama, PROMPT, **OBJECTIVE, baseline="corrupt", corrupt="short")
    with pytest.raises(BridgeError, match="runs on the bridge"):
        ex.token_attribution(tiny_models["opt"], PROMPT, **OBJECTIVE)
    stopped = ex.token_attribution(llama, "the store " * 40, **OBJECTIVE, cancelled=lambda: True)
    assert np.isnan(stopped.causal).any() and np.isfinite(stopped.causal).any()


@pytest.mark.truth
@pytest.mark.parametrize("family", ["gpt2", "llama", "neox"])
def test_neurons_add_up_to_their_mlp(tiny_models, family: str) -> None:
    model = tiny_models[family]
    rows = ex.direct_logit_attribution(model, PROMPT, STACK, **OBJECTIVE).frame
    parts = dict(zip(rows["component"], rows["changed"], strict=True))
    for layer in range(model.info.n_layers):
        frame = ex.neuron_attribution(model, PROMPT, STACK, layer=layer, **OBJECTIVE)
        assert frame["changed"].sum() == pytest.approx(parts[f"L{layer}.mlp_out"], abs=1e-9)
        assert len(frame) == model.info.d_mlp


@pytest.mark.slow
@pytest.mark.reference
def test_on_smollm2_stories_and_causes_disagree_and_the_sums_hold(smollm2: Model) -> None:
    found = ex.token_attribution(smollm2, PROMPT, **OBJECTIVE)
    assert abs(found.residual) < 0.04 * abs(found.objective - found.at_baseline)
    assert found.rank_correlation("gradient") < 0 < found.rank_correlation("integrated")
    direct = ex.direct_logit_attribution(smollm2, PROMPT, **OBJECTIVE)
    assert direct.check < 1e-4
