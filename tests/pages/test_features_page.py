"""The Features and Superposition pages through AppTest: every view, and what is said where something is missing or hostile."""

from urllib.parse import quote

import pytest

from explorer.circuits.circuit import Group
from explorer.core.sites import Feature
from explorer.engine.model import load_model
from explorer.features.index import feature_index
from explorer.features.labels import Label, Labels
from tests.pages.conftest import words

pytestmark = pytest.mark.pages
PAIR = {
    "clean": "The capital of France is",
    "corrupt": "The capital of Italy is",
    "answer": " Paris",
    "distractor": " Rome",
}
HOSTILE = "<img src=x onerror=alert(1)> **b** :red[x]"


@pytest.fixture
def features(open_page, tmp_path, monkeypatch):
    monkeypatch.setenv("CIRCUIT_EXPLORER_DATA", str(tmp_path / "data"))

    def go(model: str = "small-world", **params):
        return open_page("features", model, **(PAIR | params))

    return go


@pytest.fixture
def indexed(tmp_path, monkeypatch):
    monkeypatch.setenv("CIRCUIT_EXPLORER_DATA", str(tmp_path / "data"))
    model = load_model("small-world")
    found = feature_index(model, "L2.transcoder", tokens=6000)
    assert found is not None
    return model, found


def test_what_fires_here_and_the_open_feature(features) -> None:
    app = features(dictionary="L2.transcoder", feature="L2.transcoder/347")
    assert not app.exception and "What fires here" in words(app) and "Open feature" in words(app)
    app.button(key="act_feature_Ablate").click().run()
    assert not app.exception and app.sidebar.toggle[0].label == "L2.transcoder/347 · zero"
    app.button(key="act_feature_clamp").click().run()
    assert [toggle.label.split(" · ")[1][0] for toggle in app.sidebar.toggle] == ["="]  # in the same line


def test_without_an_index_a_card_offers_to_build_one(features) -> None:
    for view in ("Feature", "Find"):
        app = features(feature="L2.transcoder/347", feature_view=view)
        assert (
            not app.exception
            and "none yet" in words(app)
            and any(button.label == "Build the index" for button in app.button)
        )


def test_a_card_with_its_index(features, indexed) -> None:
    model, index = indexed
    Labels(model.dictionary("L2.transcoder")).put(347, Label(HOSTILE))
    app = features(feature="L2.transcoder/347", feature_view="Feature")
    said = words(app)
    assert not app.exception and "Fires at" in said and "Examples" in said and "Tokens it promotes" in said
    assert "<img" not in "".join(item.proto.body for item in app.get("html"))
    silent = int(index.totals["count"].argmin())
    if index.totals["count"][silent] == 0:
        app = features(feature=f"L2.transcoder/{silent}", feature_view="Feature")
        assert not app.exception and "fires nowhere" in words(app)


def test_find_by_token_label_and_density(features, indexed) -> None:
    model, _ = indexed
    Labels(model.dictionary("L2.transcoder")).put(5, Label("named by a test"))
    app = features(dictionary="L2.transcoder", feature_view="Find", find_by="token", feature_find=" France")
    assert not app.exception and len(app.dataframe[0].value) > 0
    app = features(dictionary="L2.transcoder", feature_view="Find", find_by="label", feature_find="NAMED")
    assert app.dataframe[0].value["feature"].tolist() == [5]
    app = features(dictionary="L2.transcoder", feature_view="Find", find_by="token", feature_find="two words here")
    assert not app.exception and "no single token" in words(app)
    assert len(features(dictionary="L2.transcoder", feature_view="Find", find_by="density").dataframe[0].value) == 200


def test_what_is_missing_is_said_in_place(features) -> None:
    app = features("small-world-nano")
    assert not app.exception and "has no dictionary yet" in words(app)
    app = features("small-world-nano", feature_view="Graph")
    for _ in range(20):
        if "needs a transcoder at every layer" in words(app):
            break
        app.run()
    assert not app.exception and "needs a transcoder at every layer" in words(app)
    assert "train-sae" in words(features("small-world-nano", feature_view="Circuit"))
    app = features(feature="L2.transcoder/99999", feature_view="Feature")
    assert not app.exception and "there is no 99,999" in words(app)
    app = features(feature="L2.neurons/1", dictionary="nowhere")
    assert (
        not app.exception and "no place of a dictionary" in words(app) and "no dictionary reads neurons" in words(app)
    )


def test_dictionaries_have_cards_and_refuse_what_does_not_fit(features, tmp_path) -> None:
    app = features(feature_view="Dictionaries")
    assert not app.exception and "shuffled weights" in "".join(item.proto.body for item in app.get("html"))
    (tmp_path / "pickle").mkdir()
    (tmp_path / "pickle" / "sae_weights.pt").write_bytes(b"\x80")
    app.text_input(key="dictionary_source").set_value(str(tmp_path / "pickle")).run()
    app.button(key="add_dictionary").click().run()
    assert not app.exception and "was not added" in words(app) and "pickle" in words(app)


def test_a_group_of_the_graph_is_renamed_changed_and_dissolved(features) -> None:
    nodes = ("L0.transcoder/5@3", "L1.transcoder/7@2")
    written = "|".join(quote(node, safe="") for node in nodes)
    app = features(feature_view="Graph", graph_groups=f"mine:{written}", graph_node=":mine")
    for _ in range(50):
        if any(each.key == "group_mine" for each in app.text_input):
            break
        app.run()
    app.text_input(key="group_mine").set_value("both").run()
    assert app.session_state["_bench"].graph_groups == (Group("both", nodes),)
    app.button(key="group_zero").click().run()
    assert [toggle.label for toggle in app.sidebar.toggle] == [
        "L0.transcoder/5 · zero at 3", "L1.transcoder/7 · zero at 2",
    ]  # fmt: skip
    for _ in range(50):
        if any(each.key == "group_dissolve" for each in app.button):
            break
        app.run()
    app.button(key="group_dissolve").click().run()
    assert not app.exception and app.session_state["_bench"].graph_groups == ()


def test_a_feature_in_the_address_acts(features) -> None:
    app = features(do="L2.transcoder/347:steer:4:x12.5:clean")
    assert not app.exception and app.sidebar.toggle[0].label == "L2.transcoder/347 · + 12.5 at 4 · clean only"
    assert Feature(2, "transcoder", 347)


def test_superposition_trains_at_once(open_page) -> None:
    app = open_page("superposition", "small-world")
    for _ in range(40):
        if "are represented" in words(app) + "".join(item.proto.body for item in app.get("html")):
            break
        app.run()
    assert not app.exception and "Interference" in words(app)
    app.number_input(key="toy_features").set_value(2).run()
    assert not app.exception
