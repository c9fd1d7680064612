"""The effect of components and its control: equal to patching and ablation by other roads, exact on known circuits."""

import math

import numpy as np
import pytest

import explorer as ex
from explorer.analyses.component_effect import alike, component_effect, matched_sets
from explorer.analyses.probe import probe
from explorer.core.errors import PairError, SiteError
from explorer.core.places import Place, parse_place
from tests.conftest import PROMPT, TWIN

PAIR = ex.ContrastPair(PROMPT, TWIN, " Mary", " John")
pytestmark = pytest.mark.truth


def effect(model, places, **more):
    return component_effect(model, [PAIR], [parse_place(name) for name in places], **more)


def test_it_is_activation_patching_with_the_sign_of_what_the_component_does(tiny) -> None:
    for way, sign in (("noising", -1), ("denoising", 1)):
        swept = ex.activation_patching(tiny, PAIR, "head_out", direction=way)
        for layer, head in ((0, 1), (1, 2)):
            found = effect(tiny, [f"L{layer}H{head}"], manner=way, controls=0)
            assert found.mean == pytest.approx(sign * swept.raw[layer, head], abs=1e-9)


def test_several_places_are_changed_together(tiny) -> None:
    places = [parse_place(name) for name in ("L0H0", "L1.mlp_out", "L1H3@12")]
    joint = ex.joint_patching(tiny, PAIR, places, direction="noising")
    found = component_effect(tiny, [PAIR], places, controls=0)
    assert found.mean == pytest.approx(-joint.joint.mean(), abs=1e-9)


@pytest.mark.parametrize("how", ["zero", "mean"])
def test_ablations_are_those_of_a_plain_run(tiny, how) -> None:
    stack = [ex.Ablate(ex.Head(1, 1), how, None, (PROMPT, TWIN) if how == "mean" else ())]
    plain = ex.prediction(tiny, PROMPT, stack, answer=" Mary", distractor=" John")
    found = effect(tiny, ["L1H1"], manner=how, controls=0)
    assert found.mean == pytest.approx(plain.baseline.objective - plain.changed.objective, abs=1e-9)


def test_on_the_handmade_circuit_only_its_heads_have_an_effect() -> None:
    model = ex.load_model("induction-handmade")
    pairs = handmade_pairs()
    for layer in range(2):
        for head in range(4):
            found = component_effect(model, pairs, [Place(ex.Head(layer, head))])
            if (layer, head) in ((0, 1), (1, 2)):
                assert found.mean > 1
                assert found.low > 0
            else:
                assert found.by_pair == pytest.approx(0.0, abs=1e-6)


def handmade_pairs():
    from explorer.models.zoo.knowledge import own_examples

    return own_examples("induction-handmade")


def test_a_single_pair_has_no_interval_and_p_counts_the_claim_itself(tiny) -> None:
    found = effect(tiny, ["L1H0"])
    assert math.isnan(found.low) and math.isnan(found.high)
    as_large = (np.abs(found.controls) >= abs(found.mean)).sum()
    assert found.p == pytest.approx((1 + as_large) / (1 + found.n_controls))
    assert len(found.frame) == 1 + found.n_controls and not found.frame["control"][0]


def test_matched_sets_are_alike_different_and_never_hold_the_claim(tiny_models) -> None:
    info = tiny_models["llama"].info
    for names in (["L1H0"], ["L0H1", "L1H2"], ["L1.mlp_out"], ["L0N3"], ["L1KV0.v"], ["L1H0.z@3"], ["L1.resid_post@2"]):
        places = [parse_place(name) for name in names]
        pools = [list(alike(place.site, info)) for place in places]
        sets = matched_sets(places, pools, 30, 1)
        assert sets == matched_sets(places, pools, 30, 1) and len({frozenset(each) for each in sets}) == len(sets)
        for each in sets:
            assert not {place.site for place in each} & {place.site for place in places}
            assert [type(one.site) for one in each] == [type(other.site) for other in places]
            assert [one.position for one in each] == [other.position for other in places]
            assert all(one.site in alike(other.site, info) for one, other in zip(each, places, strict=True))


def test_errors_say_what_is_missing(tiny) -> None:
    with pytest.raises(SiteError, match="at least one component"):
        component_effect(tiny, [PAIR], [])
    with pytest.raises(SiteError, match="L9H0"):
        effect(tiny, ["L9H0"])
    with pytest.raises(PairError, match="at least 10 pairs"):
        probe(tiny, [PAIR], Place(ex.Head(0, 0)))


def test_a_cancelled_call_keeps_the_controls_it_has(tiny) -> None:
    calls = iter([False, False, True])
    found = effect(tiny, ["L0H0"], cancelled=lambda: next(calls))
    assert found.n_controls == 2 and len(found.matched) == 2


def test_a_probe_reads_what_is_there_and_nothing_else() -> None:
    model = ex.load_model("small-world-nano")
    pairs = ex.task_pairs(model, "ioi", 120).right
    length = len(model.tokenize(pairs[0].clean))
    pairs = [pair for pair in pairs if len(model.tokenize(pair.clean)) == length][:16]
    assert len(pairs) >= 10
    ids = [(model.tokenize(pair.clean).ids, model.tokenize(pair.corrupt).ids) for pair in pairs]
    first = min(next(at for at, (one, other) in enumerate(zip(*both, strict=True)) if one != other) for both in ids)
    before = probe(model, pairs, Place(ex.Resid(2, "resid_post"), first - 1))
    assert before.accuracy == pytest.approx(0.5) and before.selectivity == pytest.approx(0.0, abs=0.2)
    assert probe(model, pairs, Place(ex.Resid(2, "resid_post"))).n == len(pairs)


def test_decodable_and_not_used_are_told_apart() -> None:
    """After the last layer no position but the last is read: what is written there can be decoded and has no effect at all."""
    model = ex.load_model("small-world-nano")
    task = ex.task_pairs(model, "greater_than", 80, seed=3).right
    lengths = [len(model.tokenize(pair.clean)) for pair in task]
    common = max(set(lengths), key=lengths.count)
    pairs = [pair for pair, length in zip(task, lengths, strict=True) if length == common][:20]
    differ = next(at for at, (one, other) in enumerate(zip(model.tokenize(pairs[0].clean).ids, model.tokenize(pairs[0].corrupt).ids, strict=True)) if one != other)  # fmt: skip
    place = Place(ex.Resid(model.info.n_layers - 1, "resid_post"), differ)
    assert differ < common - 1
    read = probe(model, pairs, place)
    used = component_effect(model, pairs, [place], controls=0)
    assert read.accuracy > 0.8 and read.p <= 0.05
    assert used.by_pair == pytest.approx(0.0, abs=1e-6)
