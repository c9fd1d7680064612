"""Claims about features: their checks, controls and numbers, computed again from what is kept."""

from dataclasses import replace

import pytest

from explorer.analyses.component_effect import component_effect
from explorer.core.places import Place
from explorer.core.records import from_record, to_record
from explorer.engine.model import Model, load_model
from explorer.features.circuit import feature_effects
from explorer.findings.estimates import estimated_effect
from explorer.findings.evidence import run_check, sample_of
from explorer.findings.finding import ARGUMENT_TYPES, Finding, Measure
from explorer.findings.functions import measured
from explorer.findings.ladder import rung
from explorer.findings.replay import replay

REFUSAL = "L1.resid_post/485"
"""On `small-world`: decides whether a request is refused."""


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("small-world")


@pytest.fixture(scope="module")
def claim(model: Model) -> Finding:
    info = model.info
    return Finding(
        "It decides whether the model refuses",
        info.key,
        info.weight_hash,
        info.dtype,
        places=(REFUSAL,),
        task="refusal",
    )


@pytest.mark.slow
def test_the_refusal_feature_is_more_than_approximated(model: Model, claim: Finding) -> None:
    claim = claim.with_check(run_check(model, claim, "intervened", sample_of(model, "refusal", 4)))
    assert rung(claim) == 3
    arguments = claim.checks[0].measure.arguments
    assert {
        name: from_record(to_record(value), ARGUMENT_TYPES) for name, value in arguments.items() if name == "places"
    } == {"places": arguments["places"]}


def test_controls_are_features_that_fire_on_the_pairs(model: Model) -> None:
    sample = sample_of(model, "refusal", 4)
    dictionary = model.dictionary("L1.resid_post")
    found = component_effect(model, sample.pairs, (Place(dictionary.feature(485)),), controls=6)
    assert found.mean > 5 and found.n_controls == 6
    sites = [site for places in found.matched for site in (place.site for place in places)]
    assert all(site.place == "L1.resid_post" and site.index != 485 for site in sites)


@pytest.mark.truth
def test_the_estimate_of_a_claim_is_that_of_the_feature_circuit(model: Model) -> None:
    pairs = sample_of(model, "refusal", 4).pairs
    site = model.dictionary("L1.resid_post").feature(485)
    effects = feature_effects(model, pairs, ("L1.resid_post",))
    found = estimated_effect(model, pairs, (Place(site),))
    assert found.by_pair == pytest.approx(-effects.by_pair[0][:, 485], abs=1e-4)


def test_numbers_of_features_are_computed_again(model: Model, claim: Finding) -> None:
    pair = sample_of(model, "refusal", 4).pairs[0]
    on_prompt = {"place": "L1.resid_post", "prompt": pair.corrupt, "interventions": (), "bos": "default"}
    graph = {"text": pair.corrupt, "interventions": (), "bos": "default"}
    views = (
        measured(model, Measure("Features", "prompt_features", on_prompt, ("acts[9, 485]", "acts[10, 485]"))),
        measured(model, Measure("Graph", "attribution_graph", graph, ("completeness", "replacement", "influence[3]"))),
    )
    assert views[1].numbers["completeness"] > 0.8 and views[1].figure
    rows = list(replay([replace(claim, views=views)], lambda source, dtype: model))
    assert len(rows) == 5 and all(row.agrees for row in rows)
