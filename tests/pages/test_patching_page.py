"""The patching page through AppTest: every view, bad input in place, models on the bridge, dataset runs."""

import time
from dataclasses import replace

import pytest

from explorer.prompts.pair_files import read_pairs, write_pairs
from explorer.ui import datasets
from explorer.ui.service import SERVICE
from explorer.ui.task_draws import PAIR_FILE
from tests.conftest import PROMPT, TWIN
from tests.jobs.test_jobs import pairs_of, wait_until
from tests.pages.conftest import words

pytestmark = pytest.mark.pages

PAIR = {"clean": PROMPT, "corrupt": TWIN, "answer": " a", "distractor": " the"}


def patching(open_page, **params):
    app = open_page("patching", **(PAIR | params))
    assert not app.exception, app.exception[0].message
    return app


def settled(app):
    """Run again until no sweep is under way."""
    for _ in range(50):
        if "Every cell is a patched run" in words(app):
            return app
        time.sleep(0.1)
        app.run()
    raise AssertionError(words(app))


@pytest.mark.parametrize("site", ["head_out", "resid_pre", "resid_mid", "mlp_out", "k", "pattern", "neurons"])
@pytest.mark.parametrize("by_position", ["False", "True"])
def test_every_site_is_estimated_then_measured(open_page, site: str, by_position: str) -> None:
    app = settled(
        patching(open_page, patch_site=site, by_position=by_position, direction="both", effect_scale="logits")
    )
    assert "Estimate against exact" in words(app) and not app.error


def test_a_cell_is_previewed_and_can_be_kept(open_page) -> None:
    app = patching(open_page, place="L1H2@13", collected="L1H2@13,L2.mlp_out", direction="noising")
    said = words(app)
    assert "L1H2@13:" in said and "attention that changes most" in said and "sum of the single patches" in said
    app.button(key="keep_patch").click().run()
    bench = app.session_state["_bench"]
    (entry,) = bench.entries
    assert (str(entry.site), entry.how, entry.positions, entry.on, bench.side) == (
        "L1H2",
        "patch",
        (13,),
        "clean",
        "clean",
    )
    app.button(key="to_circuit").click().run()
    assert app.session_state["_bench"].circuit == ("L1H2@13",) and "Kept for a circuit" in words(app)
    app.button(key="keep_all").click().run()
    assert [str(entry.site) for entry in app.session_state["_bench"].entries] == ["L1H2", "L2.mlp_out"]
    assert not app.exception


def test_under_interventions_beside_the_baseline(open_page) -> None:
    for show in ("changed", "baseline", "difference"):
        app = settled(patching(open_page, do="L0H1:zero", show=show))
        assert not app.error
    app = settled(patching(open_page, do="L0H1:zero", direction="gates", show="changed"))
    assert "AND" in str(app.segmented_control(key="w_direction").options)


def test_noise_in_place_of_the_corrupt_prompt(open_page) -> None:
    app = patching(open_page, corruption="noise", noise_at="3,9", corrupt="", place="L1H2")
    settled(app)
    assert app.button(key="keep_patch").disabled and not app.error
    app.session_state["corruption"] = True
    app.run()
    assert app.multiselect(key="w_noise_at").value == [3, 9] and "ROME takes three" in words(app)


def test_tokens_are_replaced_one_for_one(open_page) -> None:
    app = patching(open_page)
    app.session_state["corruption"] = True
    app.run()
    app.multiselect(key="replace_at").select(1).run()
    (choice,) = [box for box in app.selectbox if (box.key or "").startswith("replace_1_")]
    app.button(key="use_replacement").click().run()
    model_text = app.session_state["_bench"].pair.corrupt
    assert model_text != PROMPT and choice.value is not None and not app.exception


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"corrupt": ""}, "corrupt prompt is empty"),
        ({"corrupt": TWIN + " you"}, "same number of tokens"),
        ({"distractor": ""}, "needs both"),
        ({"answer": " interpretability"}, "must be one"),
        ({"corrupt": PROMPT}, "No normalised effect"),
        ({"place": "L99H0"}, "has layers 0 to 2"),
        ({"place": "L1H1@99"}, "does not exist"),
        ({"do": "L1H1:scale:x1e30"}, ""),
        ({"patch_view": "Paths", "sender": "L2H0", "receivers": "L1H0.q"}, "writes after"),
        ({"patch_view": "Paths", "sender": "L9H0"}, "has layers"),
        ({"patch_view": "Paths", "corrupt": TWIN + " you", "sender": "L0H0"}, "same number of tokens"),
        ({"patch_view": "Mediation", "place": "L99H0"}, "has layers 0 to 2"),
        ({"patch_view": "Mediation", "corrupt": ""}, ""),
        ({"patch_view": "Dataset", "job": "nothing"}, "not on this machine"),
    ],
    ids=str,
)
def test_bad_input_is_told_in_place(open_page, params, said: str) -> None:
    app = patching(open_page, **params)
    assert said in words(app)
    assert len(app.segmented_control) >= 1  # the rest of the page stays


def test_paths_and_their_check(open_page) -> None:
    app = patching(open_page, patch_view="Paths", sender="L0H1", receivers="L2H1.q,L1KV0.k,logits", path_norms="frozen")
    said = words(app)
    assert "all paths = total effect" in said and "MLPs between recomputed, norms frozen" in said
    app.button(key="sender_embed").click().run()
    assert app.session_state["_bench"].sender == "embed" and "all paths = total effect" in words(app)


def test_mediation_and_its_identity(open_page) -> None:
    app = patching(open_page, patch_view="Mediation", place="L1H2")
    assert "TE = NDE − reverse NIE" in words(app)
    app.text_input(key="w_mediators").set_value("L1H2, L0.mlp_out@9").run()
    assert app.session_state["_bench"].collected == ("L1H2", "L0.mlp_out@9")
    app.text_input(key="w_mediators").set_value("nonsense").run()
    assert "names no site" in words(app) and not app.exception
    app.text_input(key="w_mediators").set_value("L0H0").run()
    assert "L0H0" in words(app) and app.session_state["_bench"].collected == ("L0H0",)


def test_a_model_on_the_bridge_measures_without_estimates(open_page, tiny_directories, monkeypatch) -> None:
    from explorer.engine.model import load_model
    from explorer.ui import models

    bridge = load_model(str(tiny_directories["gpt2"]), backend="bridge")
    monkeypatch.setattr(models, "model", lambda source: bridge)
    app = settled(patching(open_page, model="bridged"))
    assert "Estimate against exact" not in words(app)
    app = patching(open_page, model="bridged", patch_view="Paths", sender="L0H1")
    assert "needs the engine" in words(app)


@pytest.mark.slow
def test_a_dataset_run_from_start_to_drill_down(open_page, tiny_directories) -> None:
    app = patching(open_page, patch_view="Dataset")
    key = str(tiny_directories["llama"])
    from explorer.ui.models import POOL

    model = POOL.request(key).model
    file = read_pairs(write_pairs(pairs_of(20)).encode(), "mine.csv", model.tokenizer, model.info.n_ctx)
    assert len(file.pairs) > 4
    app.session_state[datasets.SOURCE] = "a file"
    app.session_state[PAIR_FILE] = ("key", "mine.csv", file)
    app.run()
    said = words(app)
    assert "rows can be run" in said and "patched runs and their control, about" in said
    app.button(key="start_run").click().run()
    job = app.session_state["_bench"].job
    assert wait_until(lambda: SERVICE.status(job) is None)
    app.run()
    said = words(app)
    assert "✓ done" in said and "Strongest effects" in said and "Control (patched at a random position)" in said
    app.session_state["_picked_pair"] = 1
    app.run()
    assert "Pair 2" in words(app)
    app.button(key="open_pair").click().run()
    assert app.session_state["_bench"].pair == file.pairs[1] and app.session_state["_bench"].patch_view == "Sweep"
    app.session_state["_bench"] = replace(app.session_state["_bench"], patch_view="Dataset")
    app.run()
    app.button(key=f"delete_{job}").click().run()
    assert SERVICE.store.job(job) is None and "not on this machine" in words(app) and not app.exception


def test_a_run_that_cannot_be_kept_is_told_in_place(open_page, monkeypatch) -> None:
    from explorer.core.errors import JobError

    app = patching(open_page, patch_view="Dataset", patch_site="neurons", model="small-world")
    assert app.selectbox(key="w_patch_site").value == "head_out" and "1,280 patched runs" in words(app)

    def full(*arguments) -> str:
        raise JobError("the disk is full")

    monkeypatch.setattr(SERVICE.store, "add", full)
    app.button(key="start_run").click().run()
    assert "the disk is full" in words(app) and not app.exception


def test_pairs_of_several_lengths_cannot_run_by_position(open_page, tiny_directories) -> None:
    app = patching(open_page, patch_view="Dataset", by_position="True")
    from explorer.ui.models import POOL

    model = POOL.request(str(tiny_directories["llama"])).model
    app.session_state[datasets.SOURCE] = "a file"
    file = read_pairs(write_pairs(pairs_of(12)).encode(), "mine.csv", model.tokenizer, model.info.n_ctx)
    app.session_state[PAIR_FILE] = ("key", "mine.csv", file)
    app.run()
    assert "equally long" in words(app) and not app.exception
