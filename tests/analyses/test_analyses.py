import numpy as np
import pytest
import torch

from explorer.analyses.attention import HEAD_TYPES, attention, head_scores, vocabulary
from explorer.analyses.lens import logit_lens
from explorer.analyses.prediction import prediction
from explorer.core.errors import AnswerError, PromptError
from explorer.core.sites import Head, MlpOut
from explorer.engine.interventions import Ablate
from explorer.engine.model import Model
from explorer.engine.run import run
from explorer.prompts.random_tokens import repeated_tokens, reversed_tokens
from tests.conftest import PROMPT, TWIN
from tests.tiny import hf_model

STACK = (Ablate(Head(1, 2)),)


@pytest.mark.truth
@pytest.mark.parametrize("stack", [(), STACK])
def test_the_lens_after_the_last_layer_is_the_model(tiny: Model, stack) -> None:
    lens = logit_lens(tiny, PROMPT, stack, answer=" Mary", distractor=" John")
    logits = torch.from_numpy(run(tiny, PROMPT, stack).logits).double()
    probs = logits.softmax(-1)
    assert np.abs(lens.prob[-1] - probs.max(-1).values.numpy()).max() < 1e-6
    assert (lens.token_id[-1] == logits.argmax(-1).numpy()).all()
    assert np.abs(lens.entropy[-1] + (probs * probs.log()).sum(-1).numpy()).max() < 1e-5
    answer = tiny.single_token(" Mary")
    assert np.abs(lens.answer_prob[-1] - probs[:, answer].numpy()).max() < 1e-6
    assert (lens.answer_rank[-1] == 1 + (logits > logits[:, answer, None]).sum(-1).numpy()).all()
    assert lens.check < 1e-6


@pytest.mark.reference
def test_the_lens_equals_the_bridges_own_unembedding(tiny: Model) -> None:
    lens = logit_lens(tiny, PROMPT)
    with torch.no_grad():
        _, cache = tiny.bridge.run_with_cache(tiny.batch(lens.tokens.ids))
        for layer in range(tiny.info.n_layers):
            probs = tiny.bridge.unembed(tiny.bridge.ln_final(cache["resid_post", layer]))[0].softmax(-1)
            assert np.abs(lens.prob[layer] - probs.max(-1).values.numpy()).max() < 1e-6


@pytest.mark.truth
def test_layers_below_the_first_intervention_are_the_baseline(tiny: Model) -> None:
    base, changed = logit_lens(tiny, PROMPT), logit_lens(tiny, PROMPT, (Ablate(MlpOut(1)),))
    assert (base.prob[0] == changed.prob[0]).all() and (base.prob[1:] != changed.prob[1:]).any()


@pytest.mark.truth
def test_a_window_of_positions_reads_the_same(tiny: Model) -> None:
    whole, part = logit_lens(tiny, PROMPT), logit_lens(tiny, PROMPT, positions=(3, 7))
    assert np.abs(whole.prob[:, [3, 7]] - part.prob).max() < 1e-6 and part.positions == (3, 7)
    assert set(part.frame.columns) >= {"layer", "pos", "token", "top_token", "prob", "entropy"}
    with pytest.raises(PromptError, match="the prompt has 0 to"):
        logit_lens(tiny, PROMPT, positions=(999,))


@pytest.mark.truth
def test_patterns_are_distributions_over_earlier_positions(tiny: Model) -> None:
    result = attention(tiny, PROMPT, STACK)
    assert np.abs(result.patterns.sum(-1) - 1).max() < 1e-6
    assert np.triu(result.patterns, 1).max() == 0
    assert result.patterns.shape[:2] == (tiny.info.n_layers, tiny.info.n_heads)
    nulls = {f"{name}, null" for name in HEAD_TYPES}
    assert set(result.frame.columns) == {"layer", "head", *HEAD_TYPES, *nulls, "entropy", "type"}
    rows = result.patterns.astype(float)
    entropy = -(rows * np.log(np.where(rows > 0, rows, 1))).sum(-1).mean(-1)
    assert np.abs(result.entropy - entropy).max() < 1e-5


@pytest.mark.reference
@pytest.mark.parametrize("family", ["gpt2", "llama", "llama3-rope"])
def test_patterns_equal_hugging_face(tiny_models, family: str) -> None:
    result = attention(tiny_models[family], PROMPT)
    reference = hf_model(family).double()
    reference.set_attn_implementation("eager")
    with torch.no_grad():
        expected = reference(torch.tensor([result.tokens.ids]), output_attentions=True).attentions
    assert np.abs(result.patterns - torch.cat(list(expected)).numpy()).max() < 1e-6


@pytest.mark.truth
def test_scores_of_an_ideal_head_are_one(tiny: Model, monkeypatch) -> None:
    """Planted patterns: each head looks where its type says, so its score is exactly 1 and the others' 0."""
    from explorer.analyses import attention as module

    tokens = repeated_tokens(*vocabulary(tiny), 0)
    length, period = len(tokens), len(tokens) // 2
    assert tokens.ids[:period] == tokens.ids[period:] and len(set(tokens.ids)) == period
    planted = torch.zeros(1, 4, length, length)
    for dest in range(length):
        for head, source in enumerate((dest - 1, dest - period, dest - period + 1, 0)):
            planted[0, head, dest, max(source, 0)] = 1
    monkeypatch.setattr(module, "pattern_tensor", lambda *arguments: planted)
    scores = module.score_heads(tiny, ())
    for head, name in enumerate(HEAD_TYPES):
        for other, score in scores.items():
            assert score[0, head] == (1.0 if other == name else 0.0)


@pytest.mark.truth
def test_nulls_are_what_a_head_without_the_type_shows(tiny: Model, monkeypatch) -> None:
    """An even head scores its null exactly; an induction head by content has none where nothing repeats in order."""
    from explorer.analyses import attention as module

    backwards = reversed_tokens(*vocabulary(tiny), 0)
    length, period = len(backwards), len(backwards) // 2
    even = torch.ones(length, length).tril() / torch.arange(1, length + 1)[:, None]
    by_content = torch.zeros(length, length)
    for dest in range(length):
        earlier = [place for place in range(1, dest + 1) if backwards.ids[place - 1] == backwards.ids[dest]]
        by_content[dest, earlier[0] if earlier else 0] = 1
    monkeypatch.setattr(module, "pattern_tensor", lambda *arguments: torch.stack([even, by_content])[None])
    nulls, scores = module.null_scores(tiny), module.score_heads(tiny, ())
    for name in HEAD_TYPES:
        assert nulls[name][0, 0] == pytest.approx(scores[name][0, 0], abs=1e-7)
    assert nulls["induction"][0, 1] <= 1 / (period - 1)


@pytest.mark.truth
def test_scores_follow_portable_interventions_only(tiny: Model) -> None:
    zero, tied = Ablate(Head(0, 0)), Ablate(Head(0, 1), "resample", reference=(TWIN,))
    base, _ = head_scores(tiny)
    scores, left_out = head_scores(tiny, (zero, tied))
    assert left_out == (tied,)
    assert any((scores[name][1:] != base[name][1:]).any() for name in HEAD_TYPES)
    assert all((scores[name][0] == base[name][0]).all() for name in HEAD_TYPES)


@pytest.mark.reference
def test_known_heads_of_smollm2(smollm2: Model) -> None:
    table = attention(smollm2, PROMPT).frame.set_index(["layer", "head"])
    assert table["induction"].idxmax() == (18, 6) and table.loc[(18, 6), "type"] == "induction"
    assert table["previous token"].idxmax() == (16, 0)
    assert table.loc[(18, 6), "induction"] > 0.8 and table.loc[(18, 6), "induction, null"] < 0.05


@pytest.mark.unit
def test_patterns_too_large_to_hold_are_refused(tiny: Model, monkeypatch) -> None:
    monkeypatch.setattr("explorer.analyses.attention.PATTERN_BYTES", 1000)
    with pytest.raises(PromptError, match="up to 4 tokens; the prompt has"):
        attention(tiny, PROMPT)


@pytest.mark.truth
def test_prediction_puts_both_runs_side_by_side(tiny: Model) -> None:
    result = prediction(tiny, PROMPT, STACK, answer=" Mary", distractor=" John", k=5)
    before, after = run(tiny, PROMPT), run(tiny, PROMPT, STACK)
    assert result.baseline.logit_difference == pytest.approx(before.logit_difference(" Mary", " John"), abs=1e-6)
    assert result.changed.logit_difference == pytest.approx(after.logit_difference(" Mary", " John"), abs=1e-6)
    top = after.top(5)
    assert result.frame["token_id"].head(1).tolist() == top["token_id"].head(1).tolist()
    assert set(top["token_id"]) <= set(result.frame["token_id"]) and set(before.top(5)["token_id"]) <= set(
        result.frame["token_id"]
    )
    assert result.frame["rank_changed"].iloc[0] == 1 and result.kl > 0
    p, q = (np.exp(item.log_probs()[-1]) for item in (before, after))
    assert result.kl == pytest.approx(float((p * np.log(p / q)).sum()), abs=1e-6)
    assert prediction(tiny, PROMPT).kl == 0


@pytest.mark.unit
def test_prediction_refuses_what_it_cannot_read(tiny: Model) -> None:
    with pytest.raises(AnswerError):
        prediction(tiny, PROMPT, answer=" interpretability")
    with pytest.raises(PromptError, match="does not exist"):
        prediction(tiny, PROMPT, position=500)


@pytest.mark.unit
def test_results_carry_their_provenance(tiny: Model) -> None:
    made = logit_lens(tiny, PROMPT, STACK).provenance
    assert made.self_check == tiny.check.max_difference < 1e-3
    assert made.weight_hash == tiny.info.weight_hash and made.interventions == STACK and made.prompts == (PROMPT,)
    assert made.versions["torch"] == torch.__version__
