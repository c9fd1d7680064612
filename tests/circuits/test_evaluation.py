"""Scores of circuits: the ends are the model and the corrupt run, identities, refusals, random circuits."""

import numpy as np
import pytest
import torch

import explorer as ex
from explorer.circuits.circuit import Circuit, empty, every_edge, from_edges, nodes_mask
from explorer.circuits.discovery import edge_attribution
from explorer.circuits.evaluation import (
    core_scores,
    guessed,
    incompleteness,
    node_minimality,
    refusal,
    variant_scores,
    worst_variant,
)
from explorer.circuits.random_circuits import random_circuits
from explorer.circuits.runs import CircuitRuns
from explorer.core.errors import CircuitError
from explorer.core.places import PlacedEdge
from explorer.engine.contrasts import objectives
from explorer.models.zoo.knowledge import own_examples, true_circuit
from tests.conftest import PROMPT, TWIN
from tests.engine.test_edges import FAR
from tests.tiny import COVERED, tiered
from tests.toys import TOYS, toy

pytestmark = pytest.mark.truth

PAIRS = (
    ex.ContrastPair(PROMPT, FAR, " a", " the"),
    ex.ContrastPair(PROMPT, TWIN, " a", " the"),
    ex.ContrastPair("The keys to the cabinet", "The store to the cabinet", " a", " the"),
)


@pytest.fixture(params=tiered((*COVERED, *TOYS)))
def any_model(request: pytest.FixtureRequest, tiny_models) -> ex.Model:
    return toy(request.param) if request.param in TOYS else tiny_models[request.param]


@pytest.mark.parametrize("how", ["resample", "mean", "zero"])
def test_the_full_circuit_is_the_model_and_the_empty_one_the_ablated_run(any_model: ex.Model, how) -> None:
    """In every mode and family: faithfulness 1 and 0 to 1e-9, both directions, edges and nodes."""
    runs = CircuitRuns(any_model, PAIRS)
    clean, corrupt = objectives(any_model, runs.contrasts)
    graph = runs.graph
    full, none = graph.exists.float(), torch.zeros(graph.exists.shape)
    found = runs.objective(torch.stack([full, none, nodes_mask(graph, graph.writers)]), how)
    assert np.abs(found[0] - clean).max() < 1e-9 and np.abs(found[2] - clean).max() < 1e-9
    if how == "resample":
        assert np.abs(found[1] - corrupt).max() < 1e-9
        back = runs.objective(torch.stack([full, none]), reverse=True)
        assert np.abs(back[0] - corrupt).max() < 1e-9 and np.abs(back[1] - clean).max() < 1e-9
    else:
        assert np.abs(found[1] - corrupt).max() > 1e-6
    ends = runs.ends()
    assert np.abs(ends[0] - clean).max() < 1e-9 and np.abs(ends[1] - corrupt).max() < 1e-9


def test_chunks_and_budgets_change_nothing(tiny: ex.Model) -> None:
    whole = CircuitRuns(tiny, PAIRS)
    scores = edge_attribution(tiny, PAIRS[:2], method="eap")
    masks = torch.stack([scores.circuit(top).mask() for top in (5, 20, 60, 200)])
    expected = whole.objective(masks)
    small = CircuitRuns(tiny, PAIRS, budget=2_000_000)
    assert np.abs(small.objective(masks) - expected).max() < 1e-9
    assert np.abs(whole.objective(masks, chunk_positions=1) - expected).max() < 1e-9
    assert np.isnan(whole.objective(masks, cancelled=lambda: True)).all()


def test_full_and_empty_scores(tiny: ex.Model, monkeypatch) -> None:
    monkeypatch.setattr(
        "explorer.circuits.evaluation.SMALLEST_SPAN", 0.0
    )  # random weights tell the answers hardly apart
    runs = CircuitRuns(tiny, PAIRS)
    ends = runs.ends()
    graph = runs.graph
    full, none = core_scores(runs, torch.stack([graph.exists.float(), torch.zeros(graph.exists.shape)]), *ends)
    for name in ("faithfulness", "reverse", "completeness"):
        assert getattr(full, name).value == pytest.approx(1, abs=1e-9)
        assert getattr(none, name).value == pytest.approx(0, abs=1e-9)
    whole = Circuit(graph, every_edge(graph))
    assert incompleteness(runs, whole, *ends).value == pytest.approx(0, abs=1e-9)
    rows = variant_scores(runs, whole, ends[0])
    assert np.abs(rows["faithfulness"] - 1).max() < 1e-9 and abs(worst_variant(rows)["faithfulness"] - 1) < 1e-9


@pytest.fixture(scope="module")
def planted() -> ex.Model:
    return ex.load_model("planted-edges", dtype="float64")


def test_the_planted_circuit_is_faithful_and_complete(planted: ex.Model) -> None:
    pairs = own_examples("planted-edges")
    graph = CircuitRuns(planted, pairs).graph
    circuit = from_edges(graph, [PlacedEdge(edge) for edge in true_circuit("planted-edges").edges])
    found = ex.evaluate_circuit(planted, circuit, pairs)
    assert found.faithfulness == pytest.approx(1, abs=1e-9) and found.completeness == pytest.approx(1, abs=1e-9)
    assert found.core.reverse.value == pytest.approx(1, abs=1e-9) and found.refusal == ""
    assert found.random_band[0] < 0.9 and found.p_value <= 0.3
    assert found.worst_knockout.value < 1e-9


def test_an_inert_node_loses_nothing_and_a_needed_one_all() -> None:
    model, pairs = ex.load_model("induction-handmade", dtype="float64"), own_examples("induction-handmade")
    graph = CircuitRuns(model, pairs).graph
    edges = [PlacedEdge(edge) for edge in true_circuit("induction-handmade").edges]
    inert = [PlacedEdge(ex.Edge(ex.Embed(), ex.KeyValue(0, 3, "v"))), PlacedEdge(ex.Edge(ex.Head(0, 3), ex.Logits()))]
    circuit = from_edges(graph, [*edges, *inert])
    runs = CircuitRuns(model, pairs)
    table = node_minimality(runs, circuit, *runs.ends()).set_index("node")["loss"]
    assert table["L0H3"] == pytest.approx(0, abs=1e-12) and table["L1H2"] == pytest.approx(1, abs=1e-9)


def test_dropping_one_way_of_an_or_is_faithful_and_incomplete() -> None:
    """One bit alone keeps OR open: the circuit without the other is faithful, and the knock-out of what is left shows the gap."""
    model, pairs = ex.load_model("gate-or", dtype="float64"), own_examples("gate-or")
    graph = CircuitRuns(model, pairs).graph
    whole = from_edges(graph, [PlacedEdge(edge) for edge in true_circuit("gate-or").edges])
    part = whole.without(["L0H1"])
    found = ex.evaluate_circuit(model, part, pairs)
    assert found.faithfulness == pytest.approx(1, abs=1e-6)
    assert found.worst_knockout.value > 0.9
    assert ex.evaluate_circuit(model, whole, pairs).worst_knockout.value < 1e-6


def test_under_interventions_the_scores_are_those_of_the_changed_model(tiny: ex.Model) -> None:
    stack = (ex.Ablate(ex.Head(1, 2)), ex.EdgeAblate(ex.Edge(ex.Head(0, 0), ex.MlpIn(1))))
    runs = CircuitRuns(tiny, PAIRS[:2], lambda pair: stack)
    clean, corrupt = runs.ends()
    for number, pair in enumerate(PAIRS[:2]):
        read = [tiny.single_token(pair.answer), tiny.single_token(pair.distractor)]
        for text, end in ((pair.clean, clean), (pair.corrupt, corrupt)):
            logits = ex.run(tiny, text, stack).logits[-1, read]
            assert end[number] == pytest.approx(float(logits[0] - logits[1]), abs=1e-6)
    own = CircuitRuns(tiny, PAIRS[:2], lambda pair: (ex.Ablate(ex.Head(1, 2), "resample", reference=(pair.corrupt,)),))
    assert [len(chunk) for chunk in own.chunks] == [1, 1] and np.isfinite(own.ends()[0]).all()


def test_random_circuits_have_the_size_types_and_layers(any_model: ex.Model) -> None:
    graph = CircuitRuns(any_model, PAIRS[0]).graph
    kept = every_edge(graph) & (np.random.default_rng(1).random((*graph.exists.shape, 1)) < 0.3)
    circuit = Circuit(graph, kept)
    kinds = [(type(graph.readers[r]), type(graph.writers[w]), getattr(graph.readers[r], "kind", "")) for r, w in np.argwhere(graph.exists.numpy())]  # fmt: skip
    index = {tuple(place): kind for place, kind in zip(np.argwhere(graph.exists.numpy()).tolist(), kinds, strict=True)}

    def count(kept: np.ndarray) -> dict:
        found: dict = {}
        for reader, writer, _ in np.argwhere(kept).tolist():
            found[index[reader, writer]] = found.get(index[reader, writer], 0) + 1
        return found

    made = random_circuits(circuit, 5, seed=3)
    assert all(count(kept) == count(circuit.kept) for kept in made)
    assert any(not np.array_equal(kept, circuit.kept) for kept in made)
    assert np.array_equal(made[0], random_circuits(circuit, 1, seed=3)[0])


def test_chance_and_answers_without_effect_are_refused() -> None:
    rng = np.random.default_rng(0)
    assert "at chance" in refusal(
        1 + rng.normal(size=40), 1 - 0.3 + rng.normal(size=40) * 0 + rng.permutation([2.0] * 20 + [-2.0] * 20)
    )
    assert "have no effect" in refusal(np.full(5, 1.0), np.full(5, 0.99))
    assert "no behaviour" in refusal(np.full(9, -1.0), np.full(9, -3.0))
    assert refusal(np.full(9, 2.0), np.full(9, -2.0)) == "" == refusal(np.array([2.0]), np.array([-2.0]))
    assert refusal(np.array([2.0, 2.0]), np.array([-2.0, -2.0])) == ""
    assert guessed(5, 5) == pytest.approx(1 / 32) and guessed(0, 7) == 1


def test_a_circuit_of_another_shape_is_refused(tiny: ex.Model, planted: ex.Model) -> None:
    circuit = Circuit(CircuitRuns(planted, own_examples("planted-edges")).graph, empty(CircuitRuns(planted, own_examples("planted-edges")).graph))  # fmt: skip
    with pytest.raises(CircuitError, match="belongs to a model of 2 layers"):
        ex.evaluate_circuit(tiny, circuit, PAIRS[:1])
    placed = edge_attribution(tiny, PAIRS[0], method="eap", by_position=True).circuit(40)
    with pytest.raises(CircuitError, match="one by position, of prompts of 14 tokens"):
        ex.evaluate_circuit(tiny, placed, PAIRS[2])
    with pytest.raises(CircuitError, match="prompts of one length"):
        CircuitRuns(tiny, PAIRS).objective(placed.mask()[None])
