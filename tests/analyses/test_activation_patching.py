"""Activation patching as a reader calls it."""

import numpy as np
import pytest

import explorer as ex
from tests.conftest import PROMPT, TWIN

pytestmark = pytest.mark.reference

PAIR = ex.ContrastPair(PROMPT, TWIN, " a", " the")
OPENING = ex.ContrastPair(PROMPT, TWIN, " Mary", " John")


@pytest.fixture(autouse=True)
def no_smallest_span(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models tell two prompts apart by little; their effects are exact all the same."""
    if "tiny" in request.fixturenames and "differ" not in request.node.name:
        monkeypatch.setattr("explorer.metrics.effects.SMALLEST_SPAN", 1e-9)


@pytest.mark.slow
def test_the_strongest_head_of_the_opening_pair(smollm2: ex.Model) -> None:
    plan = ex.plan_patching(smollm2, OPENING)
    assert plan.cost.runs == 270 and plan.groups[0].shared == 9
    for direction in ("denoising", "noising"):
        found = ex.activation_patching(smollm2, OPENING, direction=direction)
        assert found.values.shape == (30, 9) and not found.partial and found.notes == ()
        strongest = found.frame.iloc[found.frame["change"].abs().argmax()]
        assert (strongest.layer, strongest["head"]) == (23, 3)
        # one cell by a run of its own
        base, source = (TWIN, PROMPT) if direction == "denoising" else (PROMPT, TWIN)
        alone = ex.run(smollm2, base, [ex.Patch(ex.Head(23, 3), source)]).logit_difference(" Mary", " John")
        plain = ex.run(smollm2, base).logit_difference(" Mary", " John")
        assert found.raw[23, 3] == pytest.approx(alone - plain, abs=1e-4)
        span = found.clean[0] - found.corrupt[0]
        assert found.values[23, 3] == pytest.approx((alone - found.corrupt[0]) / span, abs=1e-4)


def test_the_ends_of_the_scale(tiny: ex.Model) -> None:
    """Patching the whole stream gives the other run: 1 in denoising, 0 in noising."""
    for direction, expected in (("denoising", 1.0), ("noising", 0.0)):
        found = ex.activation_patching(tiny, PAIR, "resid_pre", direction=direction)
        assert found.axes == ("layer",) and np.allclose(found.values, expected, atol=1e-9)
    by_position = ex.activation_patching(tiny, PAIR, "resid_pre", by_position=True, layers=(0, 2))
    assert by_position.axes == ("layer", "pos") and by_position.layers == (0, 2)
    assert set(by_position.frame["layer"]) == {0, 2} and abs(by_position.raw[:, :9]).max() < 1e-12


def test_under_a_stack_both_runs_stand_under_it(tiny: ex.Model) -> None:
    stack = [ex.Ablate(ex.Head(0, 1)), ex.Scale(ex.MlpOut(1), 0.5)]
    found = ex.activation_patching(tiny, PAIR, "resid_post", interventions=stack)
    assert np.allclose(found.values[1:], 1.0, atol=1e-9) and found.provenance.interventions == tuple(stack)
    assert found.clean[0] == pytest.approx(ex.run(tiny, PROMPT, stack).logit_difference(" a", " the"), abs=1e-4)


def test_several_pairs_are_a_ratio_of_means(tiny: ex.Model) -> None:
    pairs = [PAIR, ex.ContrastPair("The keys to the cabinet", "The store to the cabinet", " a", " the")]
    both = ex.activation_patching(tiny, pairs)
    alone = [ex.activation_patching(tiny, pair) for pair in pairs]
    assert both.by_pair.shape == (2, 3, 4) and np.allclose(both.by_pair, [item.raw[...] for item in alone], atol=1e-9)
    span = both.clean.mean() - both.corrupt.mean()
    assert np.allclose(both.values, both.by_pair.mean(0) / span, atol=1e-9)


def test_no_normalised_effect_where_the_prompts_do_not_differ(tiny: ex.Model) -> None:
    found = ex.activation_patching(tiny, ex.ContrastPair(PROMPT, PROMPT, " a", " the"))
    assert np.isnan(found.values).all() and abs(found.raw).max() < 1e-12
    assert "0.000 logits" in found.notes[0]


def test_a_cancelled_sweep_is_partial_and_says_so(tiny: ex.Model) -> None:
    heard: list[float] = []
    found = ex.activation_patching(
        tiny, PAIR, by_position=True, progress=lambda done, words: heard.append(done), cancelled=lambda: len(heard) >= 2
    )
    assert found.partial and "Cancelled" in found.notes[-1] and 0 < np.isfinite(found.raw).mean() < 1
    assert heard == sorted(heard) and 0 < heard[-1] < 1


@pytest.mark.parametrize(
    ("pair", "error", "said"),
    [
        (ex.ContrastPair(PROMPT, "Mary", " a", " the"), "PairError", "same number of tokens"),
        (ex.ContrastPair(PROMPT, TWIN, " a"), "AnswerError", "needs both"),
        (ex.ContrastPair(PROMPT, TWIN, " interpretability", " a"), "AnswerError", "an answer must be one"),
        ([], "PairError", "at least one contrast pair"),
    ],
    ids=str,
)
def test_pairs_that_cannot_be_patched(tiny: ex.Model, pair, error: str, said: str) -> None:
    with pytest.raises(ex.ExplorerError, match=said) as caught:
        ex.activation_patching(tiny, pair)
    assert type(caught.value).__name__ == error
