"""Discovery on models whose circuit is known, and identities of its scores."""

import numpy as np
import pytest
import torch

import explorer as ex
from explorer.circuits.circuit import every_edge, on_a_path
from explorer.circuits.discovery import Discovery, DiscoverySpec, checked, edge_attribution, read_spec, write_spec
from explorer.circuits.edge_scores import circuit_of
from explorer.circuits.runs import CircuitRuns
from explorer.core.errors import CircuitError
from explorer.models.zoo.knowledge import own_examples, true_circuit
from tests.conftest import PROMPT, TWIN
from tests.engine.test_edges import FAR

pytestmark = pytest.mark.truth

METHODS = ("eap", "eap-ig", "mask-gradient", "exact")
PAIR = ex.ContrastPair(PROMPT, FAR, " a", " the")


@pytest.fixture(scope="module")
def exact_models() -> dict[str, ex.Model]:
    keys = ("planted-edges", "induction-handmade", "gate-and", "gate-or")
    return {key: ex.load_model(key, dtype="float64") for key in keys}


def truth_of(scores, key: str) -> np.ndarray:
    """Which edges, in the order of the scores, are in the true circuit."""
    true = {scores.graph.place(edge) for edge in true_circuit(key).edges}
    return np.array([tuple(place) in true for place in scores.index.tolist()])


def auroc(scores, true: np.ndarray) -> float:
    strengths = np.abs(scores.values[:, 0])
    inside, outside = strengths[true], strengths[~true]
    above = (inside[:, None] > outside).sum() + 0.5 * (inside[:, None] == outside).sum()
    return float(above / (len(inside) * len(outside)))


@pytest.mark.parametrize("method", METHODS)
def test_planted_edges_are_ranked_first(exact_models, method) -> None:
    scores = edge_attribution(exact_models["planted-edges"], own_examples("planted-edges"), method=method)
    true = truth_of(scores, "planted-edges")
    assert auroc(scores, true) == 1.0
    assert {scores.graph.place(each.edge) for each in scores.circuit(int(true.sum())).edges} == set(
        map(tuple, scores.index[true].tolist())
    )


@pytest.mark.slow
def test_acdc_keeps_planted_edges_alone(exact_models) -> None:
    model, pairs = exact_models["planted-edges"], own_examples("planted-edges")
    for threshold in (1e-6, 1e-2):
        scores = edge_attribution(model, pairs, method="acdc", threshold=threshold)
        true = truth_of(scores, "planted-edges")
        kept = scores.values[:, 0] > 0
        assert (kept & true).sum() == kept.sum() > 10  # precision 1
    strict = edge_attribution(model, pairs, method="acdc", threshold=1e-6)
    found = ex.evaluate_circuit(model, circuit_of(strict, strict.natural), pairs)
    assert found.faithfulness == pytest.approx(1.0, abs=1e-2)


def test_acdc_is_one_edge_at_a_time(exact_models) -> None:
    """The result of trying several edges at a time is that of the algorithm as it is written down."""
    from explorer.circuits import acdc

    model, pairs = exact_models["planted-edges"], own_examples("planted-edges")
    runs = CircuitRuns(model, pairs)
    full, kept = acdc.full_model(runs), runs.graph.exists.float()
    current, by_hand = float(acdc.divergence(runs, kept[None], full, lambda: False)[0]), {}
    for reader, writer in acdc.visiting_order(runs):
        tried = kept.clone()
        tried[reader, writer] = 0
        after = float(acdc.divergence(runs, tried[None], full, lambda: False)[0])
        if after - current >= 0.003:
            by_hand[reader, writer] = after - current
        else:
            kept, current = tried, after
    scores = edge_attribution(model, pairs, method="acdc", threshold=0.003)
    found = {
        tuple(place): value
        for place, value in zip(scores.index.tolist(), scores.values[:, 0], strict=True)
        if value > 0
    }
    assert found.keys() == by_hand.keys()
    assert all(found[edge] == pytest.approx(by_hand[edge], rel=1e-4, abs=1e-7) for edge in found)


@pytest.mark.slow
def test_edge_pruning_finds_a_faithful_circuit_of_the_size_asked_for(exact_models) -> None:
    model, pairs = exact_models["planted-edges"], own_examples("planted-edges")
    scores = edge_attribution(model, pairs, method="edge-pruning", target=26)
    assert scores.natural == 26
    true = truth_of(scores, "planted-edges")
    circuit = circuit_of(scores, 26)
    assert true[scores.values[:, 0] > 0].mean() > 0.75
    assert ex.evaluate_circuit(model, circuit, pairs).faithfulness == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_the_known_edges_of_induction_come_first(exact_models, method) -> None:
    """Every edge with an effect is one of the true ones; those of positions alone have none on pairs of equal positions."""
    scores = edge_attribution(exact_models["induction-handmade"], own_examples("induction-handmade"), method=method)
    there = np.abs(scores.values[:, 0]) > 1e-9
    assert truth_of(scores, "induction-handmade")[there].all()
    if method == "eap":  # attention is saturated: the gradient sees no key, and so no path
        assert there.sum() == 2 and circuit_of(scores, 2).nodes == ["embed", "L1H2", "logits"]
        return
    assert there.sum() == 4
    top = circuit_of(scores, int(there.sum()))
    assert {"L0H1", "L1H2"} <= set(top.nodes) and len(top.nodes) == 4
    assert ex.evaluate_circuit(
        exact_models["induction-handmade"], top, own_examples("induction-handmade")
    ).faithfulness == pytest.approx(1.0)


SEES = {
    # bits of AND and OR: (does the method see each of the two edges into the MLP?)
    ("gate-and", "eap"): True, ("gate-and", "exact"): True, ("gate-and", "eap-ig"): True, ("gate-and", "mask-gradient"): True, ("gate-and", "acdc"): True,
    ("gate-or", "eap"): False, ("gate-or", "exact"): False, ("gate-or", "eap-ig"): True, ("gate-or", "mask-gradient"): True, ("gate-or", "acdc"): None,
}  # fmt: skip
"""True: both; False: neither; None: one of the two, by the order of the visit."""


@pytest.mark.parametrize(("key", "method"), SEES)
def test_what_methods_can_see_of_gates(exact_models, key: str, method) -> None:
    """Noising methods are blind to OR (each bit alone is not needed); integrating over the way is not."""
    scores = edge_attribution(exact_models[key], own_examples(key), method=method, threshold=1e-3)
    graph = scores.graph
    seen = [abs(scores.dense[(*graph.place(ex.Edge(ex.Head(0, head), ex.MlpIn(0))), 0)]) > 1e-6 for head in (0, 1)]
    expected = SEES[key, method]
    assert sum(seen) == (1 if expected is None else 2 * expected)


@pytest.mark.slow
def test_scores_add_up(tiny: ex.Model) -> None:
    """EAP-IG out of the embedding and the mask gradient over all edges approach m(corrupt) − m(clean)."""
    for method, steps in (("eap-ig", 200), ("mask-gradient", 200)):
        found = edge_attribution(tiny, PAIR, method=method, steps=steps)
        assert found.residual < 2e-3, method
        assert found.residual < edge_attribution(tiny, PAIR, method=method, steps=3).residual


def test_the_mask_gradient_of_one_step_near_the_clean_run_is_eap(tiny: ex.Model) -> None:
    from explorer.circuits.gradient_scores import mask_gradient

    runs = CircuitRuns(tiny, PAIR)
    mode, read = runs.mode([0]), runs.read([0])
    exists = mode.graph.exists.double()[None].requires_grad_()
    logits = mode.logits(exists, read)[0, 0].double()
    (gradient,) = torch.autograd.grad(logits[0] - logits[1], exists)
    eap = edge_attribution(tiny, PAIR, method="eap")
    assert np.abs(eap.dense[..., 0] + gradient[0].numpy()).max() < 1e-5
    assert mask_gradient(mode, read, 2, False, lambda: True) is None


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_by_position_scores_add_up_to_the_edges_own(tiny: ex.Model, method) -> None:
    whole = edge_attribution(tiny, PAIR, method=method, steps=4)
    apart = edge_attribution(tiny, PAIR, method=method, steps=4, by_position=True)
    assert apart.values.shape == (len(whole.index), len(tiny.tokenize(PROMPT)))
    if method != "exact":
        assert np.abs(apart.values.sum(1) - whole.values[:, 0]).max() < 1e-5
    else:  # one run each: a position alone is no summand, but positions that cannot differ have none
        assert np.isfinite(apart.values).all() and apart.values.any()


def test_exact_scores_are_single_edge_patches(tiny: ex.Model) -> None:
    found = edge_attribution(tiny, PAIR, method="exact")
    read = [tiny.single_token(text) for text in (" a", " the")]
    for edge in (
        ex.Edge(ex.Embed(), ex.MlpIn(0)),
        ex.Edge(ex.Head(0, 1), ex.Logits()),
        ex.Edge(ex.MlpOut(1), ex.HeadPart(2, 3, "q")),
    ):
        plain, patched = (ex.run(tiny, PROMPT, stack).logits[-1, read] for stack in ((), (ex.EdgePatch(edge, FAR),)))
        change = float(patched[0] - patched[1] - plain[0] + plain[1])
        assert found.dense[(*found.graph.place(edge), 0)] == pytest.approx(change, abs=1e-5)


@pytest.mark.parametrize("method", ["eap", "acdc", "edge-pruning"])
def test_pieces_join_to_the_whole_and_can_be_resumed(exact_models, method) -> None:
    model, pairs = exact_models["planted-edges"], own_examples("planted-edges")
    spec = DiscoverySpec(
        "planted-edges", "float64", model.info.weight_hash, pairs, method, 60, threshold=0.003, target=26
    )
    assert read_spec(write_spec(spec)) == spec
    whole = Discovery(model, spec).run()
    done, before = {}, None
    for number, work in enumerate(Discovery(model, spec).pieces()):
        before = Discovery(model, spec).run_piece(
            work, {name: value.copy() for name, value in before.items()} if before else None
        )
        done[number] = before
    again = Discovery(model, spec).result(done)
    assert np.array_equal(whole.by_pair, again.by_pair)
    assert Discovery(model, spec).run_piece(Discovery(model, spec).pieces()[0], None, lambda: True) is None
    if method != "eap":
        assert Discovery(model, spec).result({0: done[0]}) is None
    assert Discovery(model, spec).forwards() > 1


def test_selection_keeps_paths_and_counts_what_it_leaves_out(tiny: ex.Model) -> None:
    scores = edge_attribution(tiny, PAIR, method="eap")
    everything = scores.circuit(scores.total)
    assert everything.n_edges == scores.graph.n_edges and everything.isolated == 0
    for top in (3, 10, 40, 100):
        circuit = scores.circuit(top)
        assert circuit.n_edges + circuit.isolated == top
        assert np.array_equal(on_a_path(scores.graph, circuit.kept), circuit.kept)
    half = circuit_of(scores, 0.5)
    strengths = np.sort(np.abs(scores.values).ravel())[::-1]
    count = half.n_edges + half.isolated
    assert strengths[: count - 1].sum() < strengths.sum() / 2 <= strengths[:count].sum() + 1e-12
    assert np.array_equal(on_a_path(scores.graph, every_edge(scores.graph)), every_edge(scores.graph))
    assert scores.circuit(0).n_edges == 0 and scores.frame["score"].abs().is_monotonic_decreasing


def test_a_circuit_as_a_networkx_graph(any_family) -> None:
    import networkx as nx

    for by_position in (False, True):
        circuit = ex.discover_circuit(any_family, PAIR, method="eap", keep=60, by_position=by_position)
        graph = circuit.to_networkx()
        edges = [data for _, _, data in graph.edges(data=True) if data["kind"] == "edge"]
        assert len(edges) == circuit.n_edges and nx.is_directed_acyclic_graph(graph)
        start = [name for name in graph if name.startswith("embed")]
        end = next(name for name in graph if name.startswith("logits"))
        reached = set().union(*(nx.descendants(graph, name) for name in start)) | set(start)
        assert set(graph) == reached and set(graph) == nx.ancestors(graph, end) | {end}


@pytest.fixture(params=["gpt2", "llama", "gemma2", "neox"])
def any_family(request: pytest.FixtureRequest, tiny_models) -> ex.Model:
    return tiny_models[request.param]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"method": "acdc", "by_position": True}, "by position is not offered"),
        ({"keep": 1.5}, "expected a share"),
        ({"keep": -1}, "expected a share"),
        ({"steps": -1}, "Steps and target"),
    ],
    ids=str,
)
def test_what_is_refused(tiny: ex.Model, more, said: str) -> None:
    with pytest.raises(CircuitError, match=said):
        ex.discover_circuit(tiny, PAIR, **({"method": "eap"} | more))


def test_lengths_that_differ_and_models_on_the_bridge(tiny: ex.Model) -> None:
    short = ex.ContrastPair("The keys to the cabinet", "The store to the cabinet", " a", " the")
    with pytest.raises(CircuitError, match="equally long"):
        ex.discover_circuit(tiny, [PAIR, short], by_position=True)
    assert ex.discover_circuit(tiny, [PAIR, short], method="eap", keep=50).n_edges > 0
    bridge = ex.load_model(tiny.info.source, dtype="float64", backend="bridge")
    with pytest.raises(ex.ExplorerError, match="needs the engine"):
        ex.discover_circuit(bridge, PAIR)
    spec = DiscoverySpec("x", "float64", "another", (PAIR,))
    with pytest.raises(ex.ExplorerError, match="other weights"):
        Discovery(tiny, checked(spec))
    assert TWIN != FAR
