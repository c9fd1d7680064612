"""Changes by hand, groups, stability, curves, and circuits as files: what is read is what was written; what is wrong is named."""

import json
from dataclasses import replace

import numpy as np
import pytest

import explorer as ex
from explorer.circuits.circuit import Group, among_nodes
from explorer.circuits.curves import faithfulness_curves, sizes
from explorer.circuits.discovery import edge_attribution
from explorer.circuits.editing import edited, parse_edit
from explorer.circuits.exchange import read_circuit, to_graphml, to_json
from explorer.circuits.grouping import by_layer_band, by_type, proposed
from explorer.circuits.report import printed, record
from explorer.circuits.runs import CircuitRuns
from explorer.circuits.stability import compare, held_out, jaccard, on_pairs, stability
from explorer.core.errors import CircuitError, StateError
from explorer.core.places import PlacedEdge, parse_edge
from explorer.models.zoo.knowledge import own_examples
from tests.conftest import PROMPT
from tests.engine.test_edges import FAR

pytestmark = pytest.mark.unit

PAIR = ex.ContrastPair(PROMPT, FAR, " a", " the")


@pytest.fixture(scope="module")
def model() -> ex.Model:
    return ex.load_model("planted-edges", dtype="float64")


@pytest.fixture(scope="module")
def scores(model: ex.Model):
    return edge_attribution(model, own_examples("planted-edges"), method="eap")


def after(circuit, *edits: str):
    made, problems = edited(circuit, tuple(parse_edit(text) for text in edits))
    assert problems == {}
    return made


def test_removing_pinning_and_keeping_only(scores) -> None:
    circuit = scores.circuit(15)
    node = next(name for name in circuit.nodes if "H" in name)
    without = after(circuit, f"-{node}")
    assert node not in without.nodes and without.n_edges < circuit.n_edges
    edge = str(circuit.edges[0])
    assert edge not in map(str, after(circuit, f"-{edge}").edges)
    hidden = next(str(each) for each in scores.circuit(26).edges if str(each) not in set(map(str, circuit.edges)))
    assert set(map(str, after(circuit, f"+{hidden}").edges)) >= set(map(str, circuit.edges))
    absent = next(str(name) for name in scores.graph.writers if str(name) not in circuit.nodes)
    pinned = after(circuit, f"+{absent}")
    assert absent in pinned.nodes and pinned.n_edges > circuit.n_edges
    only = after(scores.circuit(26), f"!{node}")
    assert node in only.nodes and only.n_edges < 26
    for each in only.edges:  # every edge is on a path through the node: without the node, nothing is left
        assert str(each) in set(map(str, scores.circuit(26).edges))
    assert only.without([node]).kept.sum() < only.n_edges and after(only, f"-{node}").n_edges == 0


def test_edits_that_do_not_fit_are_named(scores) -> None:
    circuit = scores.circuit(15)
    _, problems = edited(circuit, (parse_edit("-L9H0"), parse_edit("+L0H0->L9KV0.k"), parse_edit("-L0H0->L1KV0.k@3")))
    assert len(problems) == 3 and "no such node" in problems[parse_edit("-L9H0")]
    for bad in ("L0H0", "*L0H0", "-foo", "-L0H0->foo", ""):
        with pytest.raises((CircuitError, StateError)):
            parse_edit(bad)
    for good in ("-L1H0", "+L0H1->L1KV2.k", "!embed->logits@4", "-logits"):
        assert str(parse_edit(good)) == good


def test_files_give_the_circuit_back(scores, tiny: ex.Model) -> None:
    circuit = replace(
        scores.circuit(20), labels={"L1H0": "<b>it</b> & co"}, groups=(Group("a, b", ("L1H0", "L0H0")),), notes="näh\n1"
    )
    found, remarks = read_circuit(json.dumps(to_json(circuit)).encode(), circuit.graph)
    assert remarks == () and np.array_equal(found.kept, circuit.kept)
    assert (found.notes, found.method) == (circuit.notes, circuit.method)
    assert found.labels == {name: text for name, text in circuit.labels.items() if name in circuit.nodes}
    assert all(abs(found.score(edge) - circuit.score(edge)) < 1e-6 for edge in circuit.edges)
    again, _ = read_circuit(to_graphml(circuit).encode(), circuit.graph)
    assert np.array_equal(again.kept, circuit.kept)
    lines = "sender,receiver,score\n" + "".join(
        f"{each.edge.sender},{each.edge.receiver},0.5\n" for each in circuit.edges
    )
    assert np.array_equal(read_circuit(lines.encode(), circuit.graph)[0].kept, circuit.kept)
    placed = edge_attribution(tiny, PAIR, method="eap", by_position=True).circuit(50)
    for content in (json.dumps(to_json(placed)), to_graphml(placed)):
        assert np.array_equal(read_circuit(content.encode(), placed.graph)[0].kept, placed.kept)


def test_a_head_as_receiver_stands_for_all_that_it_reads_by(tiny: ex.Model) -> None:
    graph = CircuitRuns(tiny, PAIR).graph
    found, _ = read_circuit("L0H0 → L1H3\nL0H1->L2H3.k\n# a remark\n\nL1H3 -> logits".encode(), graph)
    names = {str(each) for each in found.edges}
    served = tiny.info.n_heads // tiny.info.n_kv_heads
    assert {"L0H0->L1H3.q", f"L0H0->L1KV{3 // served}.k", f"L0H0->L1KV{3 // served}.v"} <= names
    assert f"L0H1->L2KV{3 // served}.k" in names and "L1H3->logits" in names and len(names) == 5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"L9H0->logits\nL1H0->L0H1.q\nfoo->bar", "3 of 3 edges do not fit"),
        (b"L9H0->logits", "has no node L9H0"),
        (b"L1H0->L0H1.q", "would close a cycle"),
        (b"L0H0->L0H0", "would close a cycle"),
        (b"L0H0->embed", "reads nothing"),
        (b"", "holds no edge"),
        (b"\xff\xfe\x00\x01", "no text"),
        (b"{", "begins like JSON"),
        (b'{"format": "other"}', "No circuit of this application"),
        (b'{"format": "circuit-explorer/circuit", "version": 99, "edges": []}', "Version 99"),
        (b'{"format": "circuit-explorer/circuit", "version": 1, "edges": [3]}', "expected an object"),
        (b'{"format": "circuit-explorer/circuit", "version": 1, "by_position": true, "positions": -1, "edges": [{}]}', "positions"),
        (b'{"format": "circuit-explorer/circuit", "version": 1, "edges": [{"sender": "L0H0", "receiver": null}]}', "do not fit"),
        (b"[1, 2]", "do not fit"),
        (b"<graphml", "begins like GraphML"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><graphml/>', "declares entities"),
        (b"\n".join(b"L0H0->L1H0.q" for _ in range(500_001)), "at most 500,000"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_files_that_are_wrong_say_how(scores, content: bytes, said: str) -> None:
    with pytest.raises(CircuitError, match=said):
        read_circuit(content, scores.graph)


def test_a_circuit_of_another_model_is_remarked_on(scores, tiny: ex.Model) -> None:
    record_ = to_json(scores.circuit(10))
    record_["model"] = {"key": "another", "weight_hash": "f" * 64}
    _, remarks = read_circuit(json.dumps(record_).encode(), scores.graph)
    assert "another model (another)" in remarks[0]
    deep = to_json(edge_attribution(tiny, PAIR, method="eap").circuit(40))
    with pytest.raises(CircuitError, match="do not fit"):
        read_circuit(json.dumps(deep).encode(), scores.graph)


def test_groups(scores) -> None:
    circuit = scores.circuit(26)
    for groups in (
        proposed(circuit),
        by_layer_band(circuit, 1),
        by_type(circuit, {"L0H0": "x", "L1H1": "x", "L0H1": "y"}),
    ):
        names = [name for group in groups for name in group.nodes]
        assert len(names) == len(set(names)) and all(len(group.nodes) > 1 for group in groups)
        assert set(names) <= set(circuit.nodes) - {"embed", "logits"}
    twin = replace(circuit, scores=np.where(circuit.kept, 1.0, 0.0))
    assert proposed(twin) == proposed(twin)


def test_stability_overlap_and_held_out(model: ex.Model, scores) -> None:
    rng = np.random.default_rng(0)
    found = stability(scores, 15)
    kept = scores.circuit(15).kept
    assert found.frequency.shape == kept.shape and 0 < found.mean <= 1 and found.jaccard.max() <= 1
    same = replace(scores, by_pair=np.repeat(scores.by_pair.mean(0, keepdims=True), 6, 0))
    steady = stability(same, 15)
    assert steady.mean == 1.0 and np.array_equal(steady.frequency > 0.99, same.circuit(15).kept)
    noisy = replace(same, by_pair=rng.normal(size=same.by_pair.shape))
    assert stability(noisy, 15).mean < 0.8
    assert np.allclose(on_pairs(scores, np.array([True, False])).values, scores.by_pair[0])
    four = replace(scores, by_pair=np.repeat(scores.by_pair, 2, 0))
    pairs = [own_examples("planted-edges")[number] for number in (0, 0, 1, 1)]
    halves = held_out(four, CircuitRuns(model, pairs), 26)
    assert halves.found_on == pytest.approx(1, abs=0.2) and 0 <= halves.overlap <= 1
    one, other = scores.circuit(15), scores.circuit(26)
    both = compare(one, other)
    assert both.edges == pytest.approx(one.n_edges / other.n_edges) and both.frame["in_second"].all()
    assert jaccard(np.zeros(3, bool), np.zeros(3, bool)) == 1
    with pytest.raises(CircuitError, match="two pairs"):
        stability(on_pairs(scores, np.array([True, False])), 5)
    with pytest.raises(CircuitError, match="all pairs together"):
        stability(replace(scores, method="acdc"), 5)


def test_curves_end_at_the_model_and_areas_are_those_of_the_paper(model: ex.Model, scores) -> None:
    runs = CircuitRuns(model, own_examples("planted-edges"))
    found = faithfulness_curves(runs, {"EAP": scores})
    rows = found.frame[found.frame["method"] == "EAP"]
    assert (
        rows["faithfulness"].iloc[-1] == pytest.approx(1, abs=1e-6) and rows["chosen"].iloc[-1] == scores.graph.n_edges
    )
    assert found.smallest_above("EAP", 0.8) <= 26 < found.smallest_above("random", 0.999)
    cpr, cmd = found.area("EAP")
    assert found.area("EAP")[0] > found.area("random")[0] and cpr + cmd > 0.9
    grid = [count for count, on_grid in sizes(70_651) if on_grid]
    assert grid[0] == 71 and grid[-1] == 70_651 and len(grid) == 10
    step = found.frame.assign(faithfulness=(found.frame["share"] >= 1).astype(float))
    worthless = replace(found, frame=step)
    assert worthless.area("EAP")[0] == pytest.approx(0.25, abs=0.01)  # the trap of linear areas
    assert faithfulness_curves(runs, {"EAP": scores}, cancelled=lambda: True) is None


def test_reports(model: ex.Model, scores) -> None:
    circuit = scores.circuit(20)
    found = ex.evaluate_circuit(model, circuit, own_examples("planted-edges"), n_random=4)
    text = printed(circuit, scores, found, 5)
    assert f"{circuit.n_edges} of" in text and "random circuits" in text and "strongest edges" in text
    made = json.loads(json.dumps(record(circuit, found), allow_nan=False))
    assert made["evaluation"]["scores"]["faithfulness"]["value"] == pytest.approx(found.faithfulness)
    assert len(made["edges"]) == circuit.n_edges and "versions" in made["evaluation"]["provenance"]


def test_names_of_edges() -> None:
    assert parse_edge("L0H1 → L1H2.q@3") == PlacedEdge(ex.Edge(ex.Head(0, 1), ex.HeadPart(1, 2, "q")), 3)
    for bad in ("L0H1", "L0H1->", "->logits", "L0H1->logits@x", "L0H1->logits@-1", "logits->embed"):
        with pytest.raises(StateError):
            parse_edge(bad)


def test_a_circuit_among_nodes(tiny: ex.Model) -> None:
    graph = CircuitRuns(tiny, PAIR).graph
    found = among_nodes(graph, {"L0H1", "L2.mlp_out"})
    assert set(found.nodes) <= {"embed", "L0H1", "L0H0", "L2.mlp_out", "logits"} and "L0H1" in found.nodes
    assert {str(each.edge.sender) for each in found.edges} <= {"embed", "L0H1", "L2.mlp_out"}
