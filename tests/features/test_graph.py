"""Attribution graphs: edges are exact in the frozen model, their sums are pre-activations, scores follow their definitions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from explorer.core.errors import DictionaryError
from explorer.core.sites import Head
from explorer.engine.frozen import freeze
from explorer.engine.interventions import Ablate, Clamp
from explorer.features.graph import attribution_graph, feature_of, transcoders_of
from explorer.features.graph_check import check_graph
from explorer.features.graph_groups import graph_groups
from explorer.features.influence import influence, scores
from tests.features.dictionaries import added

PROMPT = "The capital of France is"
pytestmark = pytest.mark.truth


@pytest.fixture(
    params=[
        ("gpt2", "jumprelu_transcoder"),
        ("llama", "transcoder"),
        ("neox", "skip_transcoder"),
        ("qwen3", "transcoder"),
    ]
)
def model(request: pytest.FixtureRequest, tiny_models, tmp_path: Path):
    family, kind = request.param
    found = tiny_models[family]
    for layer in range(found.info.n_layers):
        added(found, tmp_path / f"{layer}", kind, layer, "transcoder")
    return found


def test_incoming_edges_and_biases_are_the_pre_activation(model) -> None:
    graph = attribution_graph(model, PROMPT)
    fed = graph.of_kind("feature", "logit")
    assert fed.sum() > 20
    assert np.abs(graph.edges.sum(1) + graph.biases - graph.pre)[fed].max() < 1e-9
    features = graph.of_kind("feature")
    values = np.array([node.value for node in graph.nodes])
    assert (
        np.abs(graph.pre - values)[features].max() < 1e-9
    )  # above its threshold a feature's activation is its pre-activation
    probs = model.unembed(model.activations(model.tokenize(PROMPT)).final[-1]).softmax(-1)
    logits = model.unembed(model.activations(model.tokenize(PROMPT)).final[-1])
    for number, node in enumerate(graph.nodes):
        if node.kind == "logit":
            assert abs(graph.pre[number] - float(logits[node.index] - logits.mean())) < 1e-9
            assert abs(node.value - float(probs[node.index])) < 1e-9


def test_the_frozen_model_is_the_model_and_edges_are_interventions_in_it(model) -> None:
    graph = attribution_graph(model, PROMPT)
    transcoders = transcoders_of(model)
    frozen = freeze(model, model.tokenize(PROMPT), (), transcoders)
    writes = [
        frozen.kept["mlp_out"][layer]
        - (frozen.kept["mlp_read"][layer] @ frozen.skips[layer] if layer in frozen.skips else 0)
        for layer in range(3)
    ]
    reads, final = frozen.run(frozen.embedded, writes)
    for layer, read in enumerate(reads):
        assert torch.allclose(read, frozen.kept["mlp_read"][layer], atol=1e-9)
    unembed = frozen.decoder.unembed.weight
    source = int(np.argmax(np.where(graph.of_kind("feature"), np.abs(graph.edges).sum(0), 0)))
    node = graph.nodes[source]
    moved = [write.clone() for write in writes]
    moved[node.layer][0, node.position] += node.value * transcoders[node.layer].decoder[node.index]  # twice as strong
    changed, changed_final = frozen.run(frozen.embedded, moved)
    for number, target in enumerate(graph.nodes):
        if target.kind == "feature":
            weight = transcoders[target.layer].linear[0][:, target.index]
            measured = float((changed[target.layer] - reads[target.layer])[0, target.position] @ weight)
        elif target.kind == "logit":
            measured = float((changed_final - final)[0, -1] @ (unembed[target.index] - unembed.mean(0)))
        else:
            continue
        assert abs(graph.edges[number, source] - measured) < 1e-9


def test_what_is_left_out_counts_as_error(model) -> None:
    whole, few = attribution_graph(model, PROMPT), attribution_graph(model, PROMPT, most=8)
    assert few.dropped == whole.of_kind("feature").sum() - 8
    fed = few.of_kind("feature", "logit")
    assert np.abs(few.edges.sum(1) + few.biases - few.pre)[fed].max() < 1e-9
    shown = whole.shown(0.5, 0.9)
    assert shown.scores[0] <= whole.scores[0] + 1e-9 and shown.scores[1] <= whole.scores[1] + 1e-9
    errors = whole.of_kind("error")
    assert shown.nodes[errors].all() and not shown.nodes[whole.of_kind("feature")].all()
    everything = whole.shown(1.0, 1.0)
    assert np.allclose(everything.scores, whole.scores)


def test_a_graph_of_a_changed_run_is_of_that_run(model) -> None:
    stack = (Ablate(Head(1, 2)),)
    graph = attribution_graph(model, PROMPT, interventions=stack)
    logits = model.unembed(model.activations(model.tokenize(PROMPT), stack).final[-1])
    number = next(number for number, node in enumerate(graph.nodes) if node.kind == "logit")
    assert abs(graph.pre[number] - float(logits[graph.nodes[number].index] - logits.mean())) < 1e-9


def test_a_changed_feature_writes_what_it_was_set_to(model) -> None:
    before = attribution_graph(model, PROMPT)
    node = next(node for node in before.nodes if node.kind == "feature" and node.layer == 1)
    stack = (Clamp(feature_of(node), 9.0, (node.position,)),)
    graph = attribution_graph(model, PROMPT, interventions=stack)
    same = next(each for each in graph.nodes if each.name == node.name)
    assert same.value == pytest.approx(9.0)
    fed = graph.of_kind("feature", "logit")
    assert np.abs(graph.edges.sum(1) + graph.biases - graph.pre)[fed].max() < 1e-9
    errors = [
        {each.name: each.value for each in found.nodes if each.kind == "error" and each.layer == 1}
        for found in (before, graph)
    ]
    assert errors[0] == pytest.approx(errors[1])
    gone = attribution_graph(model, PROMPT, interventions=(Ablate(feature_of(node)),))
    assert not any(each.kind == "feature" and (each.layer, each.index) == (1, node.index) for each in gone.nodes)


def test_the_check_measures_in_the_model_itself(model) -> None:
    graph = attribution_graph(model, PROMPT)
    found = check_graph(model, graph, PROMPT, n=4)
    logit = next(node for node in graph.nodes if node.kind == "logit")

    def read(items: tuple[object, ...]) -> float:
        logits = model.unembed(model.activations(model.tokenize(PROMPT), items).final[-1])
        return float(logits[logit.index] - logits.mean())

    node = found.nodes[0]
    assert found.measured[0, 0] == pytest.approx(
        read((Ablate(feature_of(node), "zero", (node.position,)),)) - read(()), abs=1e-9
    )
    assert -1 <= found.spearman <= 1 and 0 <= found.wrong_sign <= 1
    last = graph.nodes.index(found.nodes[-1])
    if found.nodes[-1].layer == 2:  # nothing above it but the logits: its total effect is its direct one
        assert found.predicted[-1, 0] == pytest.approx(-graph.edges[graph.nodes.index(logit), last])


def test_groups_of_features_are_by_token_or_alike(model) -> None:
    shown = attribution_graph(model, PROMPT).shown(1.0)
    by_token = graph_groups(shown, "token")
    assert by_token and all(len({name.rpartition("@")[2] for name in group.nodes}) == 1 for group in by_token)
    alike = [name for group in graph_groups(shown, "alike edges (proposed)") for name in group.nodes]
    assert len(alike) == len(set(alike))


def test_scores_by_hand() -> None:
    """Token → feature → logit, an error beside each: shares of .75 and .5."""
    edges = np.zeros((4, 4))  # feature, error, token, logit
    edges[0, 1], edges[0, 2] = 1.0, 3.0
    edges[3, 0], edges[3, 1] = 2.0, -2.0
    weights = np.array([0, 0, 0, 1.0])
    assert np.allclose(influence(edges, weights), [0.5, 0.5 + 0.125, 0.375, 0])
    errors, tokens = (np.array([number == which for number in range(4)]) for which in (1, 2))
    complete, replaced = scores(edges, weights, errors, tokens)
    assert np.isclose(complete, (0.5 * 0.75 + 1 * 0.5) / 1.5) and np.isclose(replaced, 0.375 / (0.375 + 0.625))


def test_layers_without_transcoder_are_named(tiny_models, tmp_path: Path) -> None:
    found = tiny_models["gpt2"]
    added(found, tmp_path / "one", "transcoder", 1, "transcoder")
    with pytest.raises(DictionaryError, match=r"has none at 0, 2\. Train one"):
        attribution_graph(found, PROMPT)
    assert replace(found.info) == found.info
