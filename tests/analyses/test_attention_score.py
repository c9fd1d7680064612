"""One attention score as a sum over components, weighted patterns, and the causal check of head types."""

import numpy as np
import pytest
import torch

import explorer as ex
from explorer.analyses.head_check import MEASUREMENTS
from explorer.core.errors import AnswerError, BridgeError, ModelError, PromptError, SiteError
from explorer.core.sites import Head, Resid
from explorer.engine.model import load_model
from tests.conftest import PROMPT
from tests.tiny import COVERED, tiered

STACK = (ex.Ablate(ex.Head(0, 2)), ex.Steer(ex.Resid(1, "resid_pre"), np.linspace(-1, 1, 32).tolist(), 0.3))


@pytest.mark.truth
@pytest.mark.parametrize("stack", [(), STACK], ids=["plain", "changed"])
@pytest.mark.parametrize("family", tiered(COVERED))
def test_the_parts_add_up_to_the_score_that_the_softmax_gets(tiny_models, family: str, stack) -> None:
    """The probabilities that follow from the sums are the model's own, in every family, under interventions too."""
    model = tiny_models[family]
    head, dest = Head(2, 1), 11
    patterns = ex.attention(model, PROMPT, stack).patterns[2, 1, dest]
    window = model.runtime.decoder.blocks[2].window or 99
    sources = range(max(0, dest - window + 1), dest + 1)
    found = [ex.attention_score(model, PROMPT, stack, head=head, dest=dest, source=source) for source in sources]
    assert max(each.check for each in found) < 1e-9
    scores = torch.tensor([each.values.sum() for each in found])
    cap = model.runtime.decoder.attention_softcap
    capped = scores if cap is None else cap * torch.tanh(scores / cap)
    assert np.abs(capped.softmax(-1).numpy() - patterns[list(sources)]).max() < 1e-6
    for each in found:
        assert each.relative.sum() == pytest.approx(each.score - scores.mean().item(), abs=1e-9)
        assert each.attention == pytest.approx(patterns[each.source], abs=1e-6)
    rest = np.abs(found[0].values[-1]).max()
    assert rest < 1e-9 if not stack else rest > 1e-6  # what the steering added is a row of its own
    frame = found[0].frame
    assert len(frame) == found[0].values.size and (frame["relative"].abs().diff().dropna() <= 0).all()


@pytest.mark.truth
def test_what_a_head_writes_from_a_source_is_its_ov_circuit(tiny_models) -> None:
    model = tiny_models["llama"]
    found = ex.attention_score(model, PROMPT, head=Head(1, 3), dest=9, source=4, top=3)
    run = model.activations(model.tokenize(PROMPT), (), ("v", "resid_post"))
    decoder = model.runtime.decoder
    write = run.kept["v"][1][4, 1] @ decoder.blocks[1].o.weight[:, 24:32].T  # query head 3 reads key-value head 1
    x = run.final[9]
    scale = torch.rsqrt(x.square().mean() + decoder.norm_final.eps)
    logits = (write * decoder.norm_final.weight * scale) @ decoder.unembed.weight.T
    logits = logits - logits.mean()
    order = logits.argsort(descending=True)
    assert found.promoted["token_id"].tolist() == [*order[:3].tolist(), *order[-3:].tolist()]
    assert found.promoted["logit"].to_numpy() == pytest.approx(
        logits[found.promoted["token_id"].tolist()].numpy(), abs=1e-9
    )


@pytest.mark.unit
def test_places_that_a_head_cannot_see_are_named(tiny_models) -> None:
    llama = tiny_models["llama"]
    with pytest.raises(PromptError, match="cannot look from position 3 at 5"):
        ex.attention_score(llama, PROMPT, head=Head(1, 0), dest=3, source=5)
    with pytest.raises(PromptError, match="at most 5 of them"):
        ex.attention_score(tiny_models["mistral-window"], PROMPT, head=Head(1, 0), dest=11, source=2)
    with pytest.raises(SiteError):
        ex.attention_score(llama, PROMPT, head=Head(9, 0), dest=3, source=1)
    with pytest.raises(BridgeError, match="needs the engine"):
        ex.attention_score(tiny_models["opt"], PROMPT, head=Head(1, 0), dest=3, source=1)


@pytest.mark.truth
def test_value_weighted_patterns_are_the_sizes_of_what_is_moved(tiny_models) -> None:
    model = tiny_models["llama"]
    found = ex.weighted_attention(model, PROMPT, STACK)
    run = model.activations(model.tokenize(PROMPT), STACK, ("pattern", "v", "resid_post"))
    for layer, head in ((0, 0), (1, 3), (2, 2)):
        W = model.runtime.decoder.blocks[layer].o.weight[:, 8 * head : 8 * head + 8]
        sizes = (run.kept["v"][layer][:, head // 2] @ W.T).norm(dim=-1)
        expected = run.kept["pattern"][layer][head] * sizes
        assert np.abs(found[layer, head] - expected.numpy()).max() < 1e-6


@pytest.mark.truth
def test_contributions_add_up_to_direct_logit_attribution(tiny_models) -> None:
    model = tiny_models["llama"]
    objective = {"answer": " Mary", "distractor": " John"}
    found = ex.weighted_attention(model, PROMPT, STACK[:1], weighting="contribution", **objective)
    for place in (4, 11):
        rows = ex.direct_logit_attribution(model, PROMPT, STACK[:1], position=place, **objective).frame
        heads = rows[rows["kind"] == "head"]["changed"].to_numpy().reshape(3, 4)
        assert np.abs(found[:, :, place].sum(-1) - heads).max() < 1e-6
    assert (
        np.abs(ex.weighted_attention(model, PROMPT, weighting="attention") - ex.attention(model, PROMPT).patterns).max()
        < 1e-7
    )
    with pytest.raises(AnswerError, match="give an answer"):
        ex.weighted_attention(model, PROMPT, weighting="contribution")
    with pytest.raises(ModelError, match="a norm follows the sum"):
        ex.weighted_attention(tiny_models["gemma2"], PROMPT)


@pytest.mark.truth
def test_the_true_induction_head_is_confirmed_and_the_idle_ones_are_not() -> None:
    model = load_model("induction-handmade")
    true = ex.head_check(model, Head(1, 2), [Head(1, 2)])
    assert true.confirmed("misdirected") and true.confirmed("reproduced") and true.effects["removed"] > 1
    assert true.effects["reproduced"] > 5
    idle = ex.head_check(model, Head(1, 0), [Head(1, 2), Head(0, 1)])
    assert all(abs(value) < 1e-6 for value in idle.effects.values())
    assert not any(idle.confirmed(name) for name in MEASUREMENTS)
    assert list(true.frame["measurement"]) == list(MEASUREMENTS) and not true.partial


@pytest.mark.unit
def test_a_head_check_can_be_cancelled_and_says_what_is_missing(tiny_models) -> None:
    model = tiny_models["gpt2"]
    told: list[float] = []
    found = ex.head_check(
        model, Head(1, 0), progress=lambda done, stage: told.append(done), cancelled=lambda: len(told) >= 3
    )
    assert found.partial and len(found.matched) == 2 and told == sorted(told)
    with pytest.raises(SiteError, match="nothing to compare with"):
        ex.head_check(model, Head(0, 0), [Head(layer, head) for layer in range(3) for head in range(4)])
    with pytest.raises(SiteError):
        ex.head_check(model, Head(0, 9))


@pytest.mark.truth
def test_leaving_one_out_is_the_difference_of_two_runs(tiny_models) -> None:
    model = tiny_models["llama"]
    stack = (ex.Ablate(Head(0, 1)), ex.Scale(Resid(1, "resid_post"), 0.7, (3, 11)), ex.Ablate(Head(2, 2)))

    def objective(entries) -> float:
        return ex.run(model, PROMPT, entries).logit_difference(" Mary", " John")

    found = ex.leave_one_out(model, PROMPT, stack, answer=" Mary", distractor=" John")
    for index, effect in enumerate(found):
        assert effect == pytest.approx(objective(stack) - objective((*stack[:index], *stack[index + 1 :])), abs=1e-5)
    alone = ex.leave_one_out(model, PROMPT, stack[:1], answer=" Mary", distractor=" John")
    assert alone == pytest.approx([objective(stack[:1]) - objective(())], abs=1e-5)
    with pytest.raises(AnswerError):
        ex.leave_one_out(model, PROMPT, stack, answer="")
