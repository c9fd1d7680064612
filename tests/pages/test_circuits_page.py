"""The circuits page through AppTest: every view and method, bad input in place, models on the bridge, places sent from Patching."""

import pytest

import explorer as ex
from explorer.circuits.circuit import Group
from tests.conftest import PROMPT, TWIN
from tests.engine.test_edges import FAR
from tests.pages.conftest import words

pytestmark = pytest.mark.pages

PAIR = {"clean": PROMPT, "corrupt": FAR, "answer": " a", "distractor": " the"}


def circuits(open_page, **params):
    app = open_page("circuits", **(PAIR | params))
    assert not app.exception, app.exception[0].message
    return app


def bench(app):
    return app.session_state["_bench"]


@pytest.mark.parametrize("method", ["eap", "eap-ig", "mask-gradient", "exact"])
@pytest.mark.parametrize("by_position", ["False", "True"])
def test_every_method_draws_a_circuit(open_page, method: str, by_position: str) -> None:
    app = circuits(open_page, circuit_method=method, circuit_positions=by_position)
    said = words(app)
    if method == "exact" and by_position == "True":  # some 5,000 runs: asked for first
        assert "forward passes" in said and app.button(key="discover")
        return
    assert "edges hold" in said and "faithfulness" in said and not app.error, said


@pytest.mark.parametrize("view", ["Size", "Stability", "Files"])
def test_other_views(open_page, view: str) -> None:
    app = circuits(open_page, circuit_view=view)
    assert not app.error, words(app)
    said = words(app)
    assert {"Size": "Methods known", "Stability": "at least two pairs", "Files": "Take this circuit with you"}[
        view
    ] in said


def test_a_node_is_ablated_removed_pinned_and_undone(open_page) -> None:
    app = circuits(open_page, circuit_item="L1H2", circuit_top="100")
    app.button(key="circuit_node_zero").click().run()
    assert [str(entry) for entry in bench(app).entries] == ["L1H2 · zero"] and "changed" in words(app)
    app.button(key="circuit_act_remove").click().run()
    assert bench(app).circuit_edits == ("-L1H2",) and "By hand" in words(app)
    app.button(key="circuit_act_pin").click().run()
    assert bench(app).circuit_edits == ("+L1H2",)
    app.button(key="undo").click().run()
    assert bench(app).circuit_edits == ("-L1H2",)
    app.button(key="undo").click().run()
    app.button(key="undo").click().run()
    assert bench(app).circuit_edits == () and bench(app).entries == ()


@pytest.mark.parametrize("how", ["zero", "mean", "resample", "patch"])
def test_an_edge_is_changed_in_every_way(open_page, how: str) -> None:
    app = circuits(open_page, circuit_item="L0H1->L2.mlp_in", circuit_top="100")
    app.button(key=f"circuit_edge_{how}").click().run()
    assert not app.exception and str(bench(app).entries[0]) == f"L0H1->L2.mlp_in · {how}"
    said = words(app)
    assert "changed" in said and not app.error, said


def test_groups_labels_and_notes(open_page) -> None:
    app = circuits(
        open_page,
        circuit_groups="a%20b:L0H0|L0H1",
        circuit_labels="L0H0:reads%3Cb%3E",
        circuit_notes="why",
        circuit_item=":a b",
    )
    assert bench(app).circuit_groups == (Group("a b", ("L0H0", "L0H1")),) and "reads&lt;b&gt;, L0H1" in words(app)
    app.button(key="group_mean").click().run()
    assert [str(entry) for entry in bench(app).entries] == ["L0H0 · mean", "L0H1 · mean"]
    app.button(key="group_remove").click().run()
    assert bench(app).circuit_edits == ("-L0H0", "-L0H1")
    app.button(key="group_dissolve").click().run()
    assert bench(app).circuit_groups == () and bench(app).circuit_item == ""


@pytest.mark.slow
def test_only_the_circuit(open_page) -> None:
    circuits(open_page)  # finds it, for all browsers of the process
    app = circuits(open_page, circuit_mode="only the circuit")
    assert "Circuit alone:" in words(app) and not app.error
    other = open_page("attention", **PAIR, circuit_mode="only the circuit")
    assert not other.exception and "Circuit alone:" in words(other)
    patching = open_page("patching", **PAIR, circuit_mode="only the circuit")
    assert not patching.exception
    unknown = open_page(
        "attention",
        **(PAIR | {"corrupt": TWIN}),
        circuit_mode="only the circuit",
        circuit_method="acdc",
        circuit_threshold="0.77",
    )
    assert not unknown.exception and "not found yet" in words(unknown)


def test_places_sent_from_patching(open_page) -> None:
    app = circuits(open_page, circuit="L0H1,L1H2@3,L2.mlp_out,L1.resid_pre", circuit_method="by hand")
    said = words(app)
    assert "nodes" in said and "faithfulness" in said and not app.error, said
    assert any(
        "No circuit by hand yet" in str(item.value) for item in circuits(open_page, circuit_method="by hand").info
    )


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"corrupt": ""}, "corrupt prompt is empty"),
        ({"answer": ""}, "answer"),
        ({"answer": " a the a"}, "must be one"),
        ({"corrupt": PROMPT}, "No edge has any effect"),
        ({"distractor": " a"}, "No edge has any effect"),
        ({"circuit_item": "L9H9"}, "L9H9"),
        ({"circuit_pairs": "a file"}, "No file of pairs is loaded"),
        ({"circuit_item": "L0H0->L9H0.q"}, "no such edge"),
        ({"circuit_edits": "-L9H9,+L0H0->L9H0.q"}, "no such node"),
        ({"circuit_method": "magic"}, "could not be read"),
        ({"circuit_edits": "foo"}, "could not be read"),
        ({"do": "L0H0->L9H0.q:zero"}, "Not applied"),
        ({"do": "L0H0->L1H0.q:scale:x0.5"}, "Not applied"),
        (
            {"model": "gate-and", "clean": "on on =", "corrupt": "off off =", "answer": " no", "distractor": " yes"},
            "no behaviour",
        ),
    ],
    ids=str,
)
def test_bad_input_is_said_in_place(open_page, params, said: str) -> None:
    app = circuits(open_page, **params)
    everything = words(app) + "\n".join(str(item.value) for item in (*app.warning, *app.error, *app.info, *app.text))
    assert said in everything, everything


def test_a_model_on_the_bridge_says_so(open_page, tiny_directories, monkeypatch) -> None:
    from explorer.ui import models

    monkeypatch.setattr(models, "load_model", lambda source, **more: ex.load_model(source, backend="bridge", **more))
    app = circuits(open_page, model=str(tiny_directories["gpt2"]))
    assert "needs the engine" in words(app), words(app)
