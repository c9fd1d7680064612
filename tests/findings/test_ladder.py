"""The rung follows from the numbers: every rule of the ladder, on numbers made for it and on a real model."""

from dataclasses import replace

import pytest

import explorer as ex
from explorer.circuits.evaluation import evaluate_circuit
from explorer.circuits.packing import pack, unpack
from explorer.core.errors import FindingError
from explorer.engine.edges import graph_of
from explorer.findings import ladder
from explorer.findings.audit import QUICK, Steps
from explorer.findings.circuit_checks import circuit_score, circuit_worst, matched
from explorer.findings.evidence import check_measure, run_check, run_checks, sample_of
from explorer.findings.finding import Finding, Measure, Measured, Recipe
from explorer.findings.ladder import OF_CIRCUITS, OF_COMPONENTS, checks_of, limits, next_check, rung, verdict

pytestmark = pytest.mark.truth
GOOD_EFFECT = {"mean": 2.0, "low": 1.5, "high": 2.5, "p": 0.024, "n": 20.0, "n_controls": 40.0, "largest_control": 1.0}
GOOD_SCORE = {
    "value": 0.9,
    "low": 0.8,
    "high": 1.0,
    "p": 0.048,
    "n": 20.0,
    "n_controls": 20.0,
    "largest_control": 0.1,
    "n_edges": 50.0,
}
GOOD = {
    "decodable": {"accuracy": 0.9, "selectivity": 0.4, "p": 0.025, "n": 20.0},
    "approximated": {"mean": 1.8, "low": 1.2, "high": 2.2, "n": 20.0},
    "faithful": {"faithfulness": 0.85, "n": 20.0},
    "stable": {"mean": 0.85, "low": 0.7, "n": 20.0},
}  # fmt: skip


def check(name: str, numbers: dict[str, float | None]) -> Measured:
    return Measured(Measure(name, "component_effect", {}, tuple(numbers), check=name), numbers)


def claim(circuit: bool = False, **numbers) -> Finding:
    made = Finding(
        "claim",
        "m",
        "0" * 64,
        "float32",
        places=() if circuit else ("L0H0",),
        circuit="1:" if circuit else "",
        task="ioi",
    )
    for name, found in numbers.items():
        made = made.with_check(check(name.replace("_", " "), found))
    return made


def good(name: str, circuit: bool = False):
    if circuit and name == "approximated":
        return {"n_edges": 50.0, "refused": 0.0, "n": 20.0}
    return GOOD.get(name, GOOD_SCORE if circuit else GOOD_EFFECT)


def all_good(circuit: bool) -> Finding:
    names = OF_CIRCUITS if circuit else OF_COMPONENTS
    return claim(circuit, **{name.replace(" ", "_"): good(name, circuit) for name in names})


def test_an_observation_is_rung_0_and_stays_there() -> None:
    plain = Finding("claim", "m", "0" * 64, "float32")
    assert rung(plain) == 0 and checks_of(plain) == () and next_check(plain) is None
    assert "no component and no circuit" in limits(plain)[0]


def test_all_checks_passed_is_rung_4_for_components_and_5_for_a_circuit() -> None:
    assert rung(all_good(False)) == 4 and rung(all_good(True)) == 5
    assert next_check(all_good(False)) is None


@pytest.mark.parametrize(
    ("name", "numbers", "left"),
    [
        ("intervened", {"low": -0.1}, 2),  # the interval holds 0
        ("intervened", {"low": None, "high": None}, 2),  # a single pair
        ("intervened", {"p": 0.06}, 2),  # controls do as much
        ("intervened", {"n_controls": 7.0, "p": 0.125, "largest_control": 3.0}, 2),  # few controls, one larger
        ("intervened", {"n_controls": 4.0, "p": 0.2, "largest_control": 0.0}, 2),  # too few controls
        ("both directions", {"mean": -2.0, "low": -2.5, "high": -1.5}, 3),  # the opposite sign
        ("held out", {"low": -0.5}, 3),
        ("second ablation", {"p": 0.5}, 3),
    ],
)  # fmt: skip
def test_each_rule_takes_the_rungs_above_it_away(name, numbers, left) -> None:
    broken = all_good(False).with_check(check(name, GOOD_EFFECT | numbers))
    assert rung(broken) == left and not verdict(broken.check(name), broken).passed
    assert "Failed" in verdict(broken.check(name), broken).sentence


def test_with_few_controls_every_one_must_be_exceeded() -> None:
    few = claim(intervened=GOOD_EFFECT | {"n_controls": 7.0, "p": 0.125, "largest_control": 1.9})
    assert rung(few) == 3


def test_a_probe_is_no_step_towards_an_intervention() -> None:
    assert rung(claim(decodable=good("decodable"))) == 1
    assert rung(claim(decodable=good("decodable") | {"p": 0.2}, intervened=GOOD_EFFECT)) == 3
    assert rung(claim(approximated=good("approximated"))) == 2


@pytest.mark.parametrize(
    ("name", "numbers", "left"),
    [
        ("faithful", {"faithfulness": 1.25, "n": 20.0}, 4),
        ("complete", GOOD_SCORE | {"value": 0.79}, 4),
        ("stable", {"mean": 0.79, "low": 0.5, "n": 20.0}, 4),
        ("intervened", GOOD_SCORE | {"value": -0.9, "low": -1.0, "high": -0.8}, 2),
        ("approximated", {"n_edges": 50.0, "refused": 1.0, "n": 20.0}, 5),
        ("held out", dict.fromkeys(GOOD_SCORE), 3),
    ],
)
def test_rules_of_circuits(name, numbers, left) -> None:
    broken = all_good(True).with_check(check(name, numbers))
    assert rung(broken) == left and not verdict(broken.check(name), broken).passed


def test_a_component_below_rung_3_is_never_called_a_cause() -> None:
    weak = claim(intervened=GOOD_EFFECT | {"p": 0.5})
    assert ladder.direction_words(weak) == "" and any("No cause" in line for line in limits(weak))
    against = claim(intervened=GOOD_EFFECT | {"mean": -2.0, "low": -2.5, "high": -1.5})
    assert "works against the answer" in ladder.direction_words(against)


def test_after_the_first_intervention_failed_no_higher_check_is_proposed() -> None:
    failed = claim(intervened=GOOD_EFFECT | {"p": 0.5})
    assert next_check(failed) == "decodable"
    assert (
        next_check(
            claim(decodable=good("decodable"), approximated=good("approximated"), intervened=GOOD_EFFECT | {"p": 0.5})
        )
        is None
    )


@pytest.mark.slow
def test_the_head_that_carries_the_name_reaches_rung_4_and_one_that_does_little_stays_below_3(
    nano, checked, plain, sample
) -> None:
    assert rung(checked) == 4
    idle = run_checks(nano, replace(plain, places=("L1H2",)), sample, ("intervened", "both directions"))
    assert rung(idle) < 3 and not verdict(idle.check("intervened"), idle).passed


@pytest.mark.slow
def test_circuit_scores_are_those_of_the_evaluation(nano, sample) -> None:
    circuit = ex.discover_circuit(nano, sample.pairs, method="eap", keep=40)
    text = pack(circuit)
    known = evaluate_circuit(nano, circuit, sample.pairs, n_random=2)
    for way, value in (
        ("alone", known.core.faithfulness),
        ("reverse", known.core.reverse),
        ("ablated", known.core.completeness),
    ):
        found = circuit_score(nano, sample.pairs, text, way=way, controls=0)
        assert found.value == pytest.approx(value.value, abs=1e-5) and (found.low, found.high) == pytest.approx(value.interval, abs=1e-4)  # fmt: skip
    mean = known.variants.set_index(["unit", "ablation"]).loc[("edges", "mean"), "faithfulness"]
    assert circuit_score(nano, sample.pairs, text, ablation="mean", controls=0).value == pytest.approx(mean, abs=1e-5)
    assert circuit_worst(nano, sample.pairs, text).faithfulness == pytest.approx(known.worst, abs=1e-5)


def test_controls_of_a_circuit_differ_from_it_and_from_each_other(nano, sample) -> None:
    circuit = unpack(pack(ex.discover_circuit(nano, sample.pairs, method="eap", keep=6)), graph_of(nano))
    drawn = [each.kept.tobytes() for each in matched(circuit, 20, 0)]
    assert circuit.kept.tobytes() not in drawn and len(set(drawn)) == len(drawn) >= 5
    assert all(each.n_edges == circuit.n_edges for each in matched(circuit, 20, 0))


@pytest.mark.slow
def test_a_circuit_climbs_as_far_as_its_checks_carry_it(nano, sample) -> None:
    circuit = ex.discover_circuit(nano, sample.pairs, method="eap", keep=60)
    made = Finding("circuit", nano.info.key, nano.info.weight_hash, nano.info.dtype, circuit=pack(circuit), recipe=Recipe("eap", 60), task="ioi")  # fmt: skip
    found = run_checks(nano, made, sample)
    assert {each.measure.check for each in found.checks} == set(OF_CIRCUITS)
    by_hand = run_checks(nano, replace(made, recipe=None), sample, ("approximated", "faithful", "stable"))
    assert {each.measure.check for each in by_hand.checks} == {"faithful"}
    assert any("made by hand" in line for line in limits(by_hand)) and rung(by_hand) < 5


def test_other_weights_and_claims_about_nothing_are_refused(nano, plain, sample) -> None:
    with pytest.raises(FindingError, match="other weights now"):
        run_check(nano, replace(plain, weight_hash="f" * 64), "intervened", sample)
    with pytest.raises(FindingError, match="Name the components"):
        check_measure(replace(plain, places=()), "intervened", sample)
    with pytest.raises(FindingError, match="made by hand"):
        check_measure(replace(plain, places=(), circuit="1:"), "stable", sample)


def test_too_few_right_pairs_are_refused_with_their_number() -> None:
    model = ex.load_model("small-world-nano")
    with pytest.raises(FindingError, match=r"of colored_objects the model gets \d+ right"):
        sample_of(model, "colored_objects", 20)


def test_an_audit_names_the_checks_that_cannot_be_run(nano, plain, sample, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object, **more: object) -> None:
        raise FindingError("this cannot be measured\nat all")

    monkeypatch.setattr("explorer.findings.evidence.measured", refuse)
    found = Steps(nano, QUICK, 0, None).checked(plain, sample, ("intervened", "stable"), 0.5)
    assert found.checks == plain.checks and found.notes.endswith("Not run: intervened: this cannot be measured.")
