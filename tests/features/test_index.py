"""The index is what the dictionary says of the text; it resumes, replaces and refuses; dashboards and descriptions read it."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from explorer.core.errors import DescriptionError, DictionaryError, TrainingError
from explorer.core.sites import Feature
from explorer.engine.places import usable
from explorer.features import index as index_module
from explorer.features.dashboard import feature_dashboard, prompt_acts, prompt_features, written_by
from explorer.features.descriptions import (
    Api,
    Description,
    LanguageDescriber,
    Rule,
    RuleDescriber,
    Sample,
    describe_feature,
    rated,
)
from explorer.features.index import feature_index, index_folder, open_index
from explorer.features.labels import Label, Labels
from explorer.features.maximise import maximise
from explorer.features.steering import dose_response
from explorer.models.cache import alone
from explorer.models.dictionary_files import add_dictionary
from explorer.training.texts import rows_from_file
from tests.features.dictionaries import added, make

PROMPT = "The capital of France is"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    rng = np.random.default_rng(0)
    words = [
        "the",
        "a",
        "keys",
        "cabinet",
        "table",
        "store",
        "drink",
        "capital",
        "France",
        "Italy",
        "Paris",
        "Rome",
        "Mary",
        "John",
        "gave",
        "went",
        "is",
        "are",
        "of",
        "to",
        "when",
        "on",
        "and",
    ]
    path.write_text("\n".join(" ".join(rng.choice(words, 9)) for _ in range(600)))
    return path


@pytest.fixture
def indexed(tiny_models, tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(index_module, "SHARD_TOKENS", 96 * 20)
    model = tiny_models["gpt2"]
    sae = make("relu", model.info.d_model, 1, "resid_post")
    seen = torch.cat([stream(model, row) for row in rows_from_file(model, text, 96)[:20]]).float()
    with torch.no_grad():
        sae.b_dec.zero_()
        sae.b_enc.copy_(-torch.quantile(seen @ sae.W_enc, 0.96, dim=0))  # each fires at about 4 % of tokens
    sae.save_model(tmp_path / "sae")
    dictionary = model.dictionary(add_dictionary(str(tmp_path / "sae"), model.info).place)
    return model, dictionary, feature_index(model, dictionary.place, text=text, tokens=6000)


def typical(index) -> int:
    return int(np.abs(index.totals["count"] - 0.04 * index.n_tokens).argmin())


@pytest.mark.truth
def test_entries_are_the_activations_of_the_text(indexed) -> None:
    model, dictionary, index = indexed
    assert index.n_shards > 2
    rows = torch.from_numpy(index.tokens.astype(np.int64))
    keep = usable(rows, model.tokenizer.bos_token_id)
    acts = torch.stack([dictionary.encode(stream(model, row)) for row in rows])
    acts = (acts * keep[..., None]).flatten(0, 1).numpy()
    for feature in (0, 7, 31):
        places, values = index.entries(feature)
        assert set(places.tolist()) == set(np.flatnonzero(acts[:, feature]).tolist())
        assert np.allclose(values, acts[places, feature], rtol=1e-3, atol=1e-3)
    table = index.table()
    assert np.allclose(table["density"], (acts > 0).sum(0) / keep.sum().item())
    assert np.allclose(table["largest"], acts.max(0), atol=1e-3)
    token = int(rows[0, 5])
    best = index.by_token(token, 3)
    here = acts[rows.flatten().numpy() == token]
    assert best["feature"][0] == here.mean(0).argmax() and np.isclose(
        best["mean_here"][0], here.mean(0).max(), rtol=1e-2
    )


def stream(model, row: torch.Tensor) -> torch.Tensor:
    from explorer.engine.places import read_places

    return read_places(model, row[None], [("resid_post", 1)])[0][0]


def test_a_half_written_index_is_resumed_and_another_text_replaces_it(
    indexed, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, dictionary, index = indexed
    folder, before = index.folder, [index.entries(feature) for feature in range(4)]
    last = folder / index_module.shard_name(index.n_shards - 1)
    last.unlink()
    with pytest.raises(DictionaryError, match="half written"):
        open_index(folder, dictionary)
    made: list[int] = []
    whole = index_module.make_shard
    monkeypatch.setattr(index_module, "make_shard", lambda *given: made.append(1) or whole(*given))
    again = feature_index(model, dictionary.place, text=text, tokens=6000)
    assert again is not None and len(made) == 1
    for (at, values), (old_at, old_values) in zip(
        [again.entries(feature) for feature in range(4)], before, strict=True
    ):
        assert np.array_equal(at, old_at) and np.array_equal(values, old_values)
    other = tmp_path / "other.txt"
    other.write_text(text.read_text()[::-1])
    replaced = feature_index(model, dictionary.place, text=other, tokens=3000)
    assert replaced is not None and replaced.about["text"] != again.about["text"] and len(made) > 2
    assert feature_index(model, dictionary.place, text=text, tokens=6000, cancelled=lambda: True) is None


def test_empty_and_missing_texts_are_named(tiny_models, tmp_path: Path) -> None:
    model = tiny_models["gpt2"]
    place = added(model, tmp_path / "sae", "relu", 1, "resid_post").place
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(TrainingError, match="has 0 tokens; at least"):
        feature_index(model, place, text=tmp_path / "empty.txt")
    with pytest.raises(TrainingError, match="cannot be read"):
        feature_index(model, place, text=tmp_path / "missing.txt")
    with pytest.raises(DictionaryError, match="has no index yet"):
        open_index(index_folder(model, model.dictionary(place)), model.dictionary(place))
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "index.json").write_text(json.dumps({"row": 0}))
    with pytest.raises(DictionaryError, match="no index that can be read"):
        open_index(tmp_path / "odd", model.dictionary(place))


def test_a_dashboard_tells_groups_of_examples_apart(indexed) -> None:
    model, _dictionary, index = indexed
    feature = typical(index)
    found = feature_dashboard(model, index, feature)
    places, values = index.entries(feature)
    top = [each for each in found.examples if each.group == "top"]
    assert top[0].acts[top[0].peak] == pytest.approx(values.max())
    assert all(one.acts[one.peak] >= other.acts[other.peak] for one, other in pairwise(top))
    assert all(each.acts[each.peak] == 0 for each in found.examples if each.group == "near miss")
    edges = np.linspace(0, values.max(), 6)
    for each in found.examples:
        if each.group.startswith("interval"):
            number = int(each.group[-1])
            assert edges[number - 1] < each.acts[each.peak] <= edges[number] + 1e-6
    assert found.histogram[0].sum() == len(places) and found.density == pytest.approx(len(places) / index.n_tokens)
    assert len(found.neighbours) == 10 and all(number != feature for number, _ in found.neighbours)


@pytest.mark.truth
def test_writers_add_up_to_the_pre_activation(tiny_models, tmp_path: Path, text: Path) -> None:
    for family, kind, place in (
        ("gpt2", "relu", "resid_post"),
        ("llama", "transcoder", "transcoder"),
        ("gemma2", "relu", "resid_mid"),
    ):
        model = tiny_models[family]
        dictionary = added(model, tmp_path / family, kind, 1, place)
        index = feature_index(model, dictionary.place, text=text, tokens=2000)
        assert index is not None
        feature = int(index.totals["count"].argmax())
        places, values = index.entries(feature)
        parts = written_by(model, dictionary, feature, index, places, values, n=999)
        bias = float(dictionary.linear[1][feature])
        assert sum(value for _, value in parts) + bias == pytest.approx(
            float(values.max()), abs=2e-3 * float(values.max()) + 0.02
        )


def test_a_feature_that_never_fires_has_a_dashboard_that_says_so(indexed) -> None:
    model, _dictionary, index = indexed
    silent = int(index.totals["count"].argmin())
    if index.totals["count"][silent]:
        index.__dict__["entries"] = lambda feature: (np.zeros(0, np.int64), np.zeros(0, np.float32))
    found = feature_dashboard(model, index, silent)
    assert found.examples == () and found.largest == 0 and found.top_tokens == ()
    with pytest.raises(DescriptionError, match="too few to describe"):
        describe_feature(model, index, silent)


@pytest.mark.parametrize("kind", ["gated", "layer_norm"])
def test_a_dictionary_that_is_not_linear_has_a_dashboard_without_writers(
    kind: str, tiny_models, tmp_path: Path, text: Path
) -> None:
    model = tiny_models["llama"]
    index = feature_index(model, added(model, tmp_path / "sae", kind, 1, "resid_post").place, text=text, tokens=3000)
    found = feature_dashboard(model, index, int(index.totals["count"].argmax()))
    assert found.examples and found.logits.promoted and found.read_by and not found.written_by


def test_two_who_build_one_index_wait_for_each_other(tiny_models, tmp_path: Path, text: Path) -> None:
    model = tiny_models["gpt2"]
    place = added(model, tmp_path / "sae", "relu", 1, "resid_post").place
    folder = tmp_path / "index"
    said: list[str] = []
    with alone(folder, lambda fraction, stage: None):
        asked = iter([False, True])
        stopped = feature_index(
            model, place, text=text, tokens=3000, folder=folder,
            progress=lambda fraction, stage: said.append(stage), cancelled=lambda: next(asked),
        )  # fmt: skip
    assert stopped is None and said and all("elsewhere" in stage for stage in said) and not folder.exists()
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: feature_index(model, place, text=text, tokens=3000, folder=folder), range(4)))
    counts = [found.totals["count"].tolist() for found in made]
    assert counts == [counts[0]] * 4 and not (folder / "shard.new").exists()


def test_rules_find_a_planted_token_and_shuffled_ones_do_not(tiny_models) -> None:
    """A feature that fires at one token alone: detection and fuzzing 1, other rules about .5."""
    describer = RuleDescriber(tiny_models["gpt2"])
    rng = np.random.default_rng(0)

    def sample(fires: bool) -> Sample:
        ids = [int(each) for each in rng.integers(10, 300, 12)]
        if fires:
            ids[8] = 5
        return Sample(tuple(ids), tuple(map(str, ids)), (8,) if fires else (), fires)

    firing, silent = [sample(True) for _ in range(30)], [sample(False) for _ in range(30)]
    description = describer.describe(firing[:15], silent[:15])
    assert description.rule == Rule("token", frozenset({5}))
    held = firing[15:], silent[15:]
    wrong_marks = [Sample(each.ids, each.words, (2,), False) for each in held[0]]
    assert rated(describer, description, held, [*held[0], *wrong_marks]) == (1.0, 1.0)
    nonsense = Description("x", "rule", Rule("token", frozenset({6})))
    assert rated(describer, nonsense, held, [*held[0], *wrong_marks]) == (0.5, 0.5)


def test_an_api_that_fails_is_a_sentence_and_one_that_answers_is_used(indexed) -> None:
    model, _, index = indexed
    feature = typical(index)
    with pytest.raises(DescriptionError, match="no address of an API"):
        Api("ftp://nowhere", "m")
    with pytest.raises(DescriptionError, match=r"gave no answer .* Rules need no API"):
        describe_feature(model, index, feature, LanguageDescriber(Api("http://127.0.0.1:9", "m", timeout=1.0)))

    class Echo:
        name = "echo"

        def complete(self, prompt: str, tokens: int) -> str:
            return "yes" if "Answer yes or no" in prompt else "everything"

    description, scores = describe_feature(model, index, feature, LanguageDescriber(Echo()), others=2)
    assert description.text == "everything" and scores.detection == 0.5 and scores.fuzzing == 0.5


def test_labels_are_kept_found_and_taken_away(indexed) -> None:
    _, dictionary, _ = indexed
    labels = Labels(dictionary)
    labels.put(3, Label("countries <b>", "a note"))
    labels.put(5, Label(description="fires at names"))
    assert (
        Labels(dictionary).get(3).label == "countries <b>"
        and labels.search("NAMES") == [5]
        and labels.search("note") == [3]
    )
    labels.put(3, Label())
    assert list(labels.all()) == [5]


def test_activations_on_a_prompt_follow_the_stack(indexed) -> None:
    from explorer.engine.interventions import Clamp, Resid, Steer

    model, dictionary, _ = indexed
    base = prompt_features(model, dictionary.place, PROMPT)
    assert np.allclose(base.acts, prompt_acts(model, dictionary, PROMPT).numpy())
    changed = prompt_features(model, dictionary.place, PROMPT, (Steer(Resid(0, "resid_pre"), (3.0,) * 32),))
    assert not np.allclose(base.acts, changed.acts) and changed.provenance.interventions
    assert Clamp(Feature(1, "resid_post", 1), 2.0).site.index == 1


def test_dose_zero_changes_nothing_and_controls_have_equal_norm(indexed) -> None:
    model, dictionary, _ = indexed
    found = dose_response(
        model, dictionary.feature(3), PROMPT, " the", " and", unit=2.0, doses=(-1.0, 0.0, 1.0), controls=4
    )
    assert np.allclose(found.side_effect[1], 0, atol=1e-9) and (found.random_side_effect[:, 1] < 1e-9).all()
    assert (found.side_effect[[0, 2]] > 0).all() and len(found.random) == 4 and found.table().shape[0] == 3


def test_maximised_text_fires_more_than_it_began(indexed) -> None:
    model, dictionary, _ = indexed
    found = maximise(model, dictionary.feature(3), length=4, steps=6)
    acts = [float(value) for value in found.history]
    assert acts == sorted(acts) and acts[-1] > acts[0] and len(found.tokens) == 4
    rows = torch.tensor([found.ids])
    weight, bias = dictionary.linear
    assert found.acts[-1] == pytest.approx(float(stream(model, rows[0])[-1] @ weight[:, 3] + bias[3]), abs=1e-6)


def test_hostile_tokens_stay_text(tiny_models, tmp_path: Path) -> None:
    from explorer.ui.feature_card import example_html

    model = tiny_models["gpt2"]
    place = added(model, tmp_path / "sae", "relu", 1, "resid_post").place
    (tmp_path / "hostile.txt").write_text("<img src=x onerror=alert(1)> <script>alert(2)</script> &amp; **b** " * 80)
    index = feature_index(model, place, text=tmp_path / "hostile.txt", tokens=900)
    assert index is not None
    found = feature_dashboard(model, index, int(index.totals["count"].argmax()))
    shown = "".join(example_html(each, found.largest) for each in found.examples)
    assert found.examples and "<img" not in shown and "<script" not in shown and "&lt;" in shown


class Served(BaseHTTPRequestHandler):
    """An API that refuses a wrong key, sends /moved elsewhere, and answers else as OpenAI's does."""

    seen: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, asked))
        if self.path.startswith("/moved"):
            self.send_response(307)
            self.send_header("Location", "/v1/chat/completions")
            self.end_headers()
        elif self.headers["Authorization"] != "Bearer right":
            self.send_error(401)
        else:
            prompt = asked["messages"][0]["content"]
            said = ("Yes." if "<<" in prompt else "no") if "Answer yes or no" in prompt else " a word\nand more"
            body = json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *given: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[str]:
    Served.seen.clear()
    with HTTPServer(("127.0.0.1", 0), Served) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_key_that_is_refused_is_said(indexed, api: str) -> None:
    model, _, index = indexed
    with pytest.raises(DescriptionError, match=r"answered 401 \(the key was refused\)"):
        describe_feature(model, index, typical(index), LanguageDescriber(Api(f"{api}/v1", "m", "wrong")))


def test_examples_and_key_do_not_follow_an_answer_that_sends_elsewhere(indexed, api: str) -> None:
    model, _, index = indexed
    with pytest.raises(DescriptionError, match=r"answered 307 \(it sends elsewhere, which is not followed\)"):
        describe_feature(model, index, typical(index), LanguageDescriber(Api(f"{api}/moved", "m", "right")))
    assert {path for path, _ in Served.seen} == {"/moved/chat/completions"}


def test_an_api_describes_and_judges(indexed, api: str) -> None:
    """It says yes to every text with marks: detection shows none, so it never finds one; fuzzing always does."""
    model, _, index = indexed
    describer = LanguageDescriber(Api(f"{api}/v1/", "some-model", "right"))
    description, scores = describe_feature(model, index, typical(index), describer, others=1)
    assert description.text == "a word" and description.by == "some-model"
    assert scores.detection == 0.5 and scores.fuzzing == 0.5 and scores.shuffled_fuzzing == 0.5
    path, asked = Served.seen[0]
    assert path == "/v1/chat/completions" and asked["model"] == "some-model" and "<<" in asked["messages"][0]["content"]
