"""Pictures of features: what is shown, where, and in which words."""

from pathlib import Path

import numpy as np
import pytest

import explorer as ex
from explorer.circuits.circuit import Group
from explorer.core.pairs import ContrastPair
from explorer.features.circuit import feature_effects
from explorer.features.graph import attribution_graph
from explorer.features.steering import dose_response
from explorer.features.superposition import Toy, ToyRecipe
from explorer.plots import feature_figures as figures
from explorer.plots.lines import to_plotly as lines_to_plotly
from explorer.plots.points import Points
from explorer.plots.points import to_plotly as points_to_plotly
from tests.features.dictionaries import added

PROMPT = "The capital of France is"


@pytest.fixture(autouse=True)
def own_dictionaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCUIT_EXPLORER_DATA", str(tmp_path / "data"))


@pytest.fixture
def graph(tiny_models, tmp_path: Path):
    model = tiny_models["gpt2"]
    for layer in range(3):
        added(model, tmp_path / f"{layer}", "transcoder", layer, "transcoder")
    return attribution_graph(model, PROMPT)


def test_a_graph_shows_what_is_kept_layers_upwards(graph) -> None:
    shown = graph.shown(0.6)
    drawn = figures.attribution_picture(shown, {"L1.transcoder/3": "<b>named"}, selected="token@1")
    ids = {node.id for node in drawn.nodes}
    features = {
        node.name
        for number, node in enumerate(graph.nodes)
        if shown.nodes[number] and node.kind in ("feature", "logit")
    }
    assert features <= ids and drawn.selected == "token@1"
    heights = {
        node.name: y
        for node, y in ((each, {other.id: other.y for other in drawn.nodes}.get(each.name)) for each in graph.nodes)
        if y is not None
    }
    assert all(heights[edge.target] < heights[edge.source] for edge in drawn.edges)  # up is smaller
    errors = [node for node in drawn.nodes if ".error@" in node.id]
    assert errors and all(node.shape == "diamond" for node in errors)
    places = {(round(node.x), round(node.y)) for node in drawn.nodes}
    assert len(places) == len(drawn.nodes)  # nothing lies on anything else
    assert len(ex.plots.attribution_graph(graph).data) > 1


def test_grouped_nodes_are_one(graph) -> None:
    shown = graph.shown(1.0)
    members = tuple(node.name for node in graph.nodes if node.kind == "feature" and node.layer == 1)[:4]
    drawn = figures.attribution_picture(shown, {}, groups=(Group("mine", members),))
    ids = [node.id for node in drawn.nodes]
    assert ids.count(":mine") == 1 and not set(members) & set(ids)
    assert all(edge.source in ids and edge.target in ids and edge.source != edge.target for edge in drawn.edges)


def test_a_feature_circuit_has_a_row_a_place_and_its_errors(tiny_models, tmp_path: Path) -> None:
    model = tiny_models["gpt2"]
    for layer in range(2):
        added(model, tmp_path / f"r{layer}", "relu", layer, "resid_post")
    effects = feature_effects(model, ContrastPair(PROMPT, "The capital of Italy is", " the", " and"), keep=5)
    drawn = figures.feature_circuit_picture(effects, {f"L0.resid_post/{effects.kept[0][0]}": "error"})
    assert len(drawn.nodes) == 2 * 6 and [name for _, name in drawn.rows] == ["L0", "L1"]
    assert {node.id for node in drawn.nodes if node.shape} == {"L0.resid_post/error", "L1.resid_post/error"}


def test_doses_stand_beside_random_features(tiny_models, tmp_path: Path) -> None:
    model = tiny_models["gpt2"]
    found = added(model, tmp_path / "sae", "relu", 1, "resid_post")
    result = dose_response(model, found.feature(1), PROMPT, " the", " and", doses=(-1.0, 0.0, 1.0), controls=3)
    lines = figures.dose_lines(result)
    assert [series.name for series in lines.series][1:] == ["random, median", "random, 2.5 %", "random, 97.5 %"]
    assert len({float(series.values[1]) for series in lines.series}) == 1  # dose 0
    assert lines.places is not None and lines.places.tolist() == [-1, 0, 1]
    assert len(ex.plots.dose_response(result).data) == 4


def test_activations_and_interference_as_maps() -> None:
    acts = np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]])
    shown = figures.features_on_prompt(acts, (2, 1), ["a", "b"], ["two", "one"], marked=[1])
    assert shown.values.tolist() == [[0.0, 3.0], [2.0, 0.0]] and shown.marks[0].row == 1
    change = figures.features_on_prompt(acts - 1, (2, 1), ["a", "b"], ["two", "one"], difference=True)
    assert change.low == -change.high and change.palette == "diverging"
    toy = Toy(ToyRecipe(2, 2), np.eye(2), np.zeros(2), ())
    assert figures.toy_interference(toy).values.tolist() == [[1, 0], [0, 1]]


def test_densities_are_counted_in_half_decades_and_one_is_marked() -> None:
    shown = figures.density_histogram(np.array([0.0, 1e-9, 2e-3, 0.5, 1.0]), 2e-3)
    counts = np.round(10 ** shown.series[0].values - 1).tolist()
    assert counts == [2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2] and shown.selected == 7
    assert shown.places is not None and shown.places[7] == -2.75 and shown.bars
    drawn = lines_to_plotly(shown).data[0]
    assert drawn.type == "bar" and list(drawn.x) == shown.places.tolist()


def test_vectors_begin_at_the_origin_and_have_one_scale() -> None:
    shown = Points(np.array([3.0, -1.0]), np.array([0.5, 1.0]), ["a", "b"], "x", "y", vectors=True)
    assert shown.ranges[0] == shown.ranges[1] and shown.ranges[0][0] == -shown.ranges[0][1] < -3
    drawn = points_to_plotly(shown)
    assert [(line.x0, line.y0, line.x1, line.y1) for line in drawn.layout.shapes] == [(0, 0, 3, 0.5), (0, 0, -1, 1)]
