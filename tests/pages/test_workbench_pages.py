"""The workbench through AppTest: entries of every kind, prompts of a pair, lenses of other models, work on request, history."""

import re

import pytest

from explorer.models.tuned_lens import own_path, read_lens, shipped_path, write_lens
from tests.conftest import PROMPT, TWIN
from tests.pages.conftest import words
from tests.pages.test_pages import PAIR, stack

pytestmark = pytest.mark.pages
PAGES = ("prompt", "attention", "lens", "attribution", "history")
KINDS = [
    "L1H2:scale:3:x0.25",
    "L2H0.pattern:patch",
    "L1KV0.k:freeze",
    "L0.mlp_out:mean:corrupt",
    "L0H1:resample:clean:off",
]


def lines(app) -> list[str]:
    return [toggle.label for toggle in app.sidebar.toggle]


@pytest.mark.parametrize("name", PAGES)
def test_every_kind_of_entry_on_every_page(open_page, name) -> None:
    app = open_page(name, **PAIR, do=KINDS)
    assert not app.exception and not app.error and stack(app) == KINDS
    assert lines(app) == [
        "L1H2 · × 0.25 at 3", "L2H0.pattern · patch", "L1KV0.k · freeze", "L0.mlp_out · mean · corrupt only",
        "L0H1 · resample · clean only",
    ]  # fmt: skip
    assert "Acts on the corrupt prompt; the pages show the clean one" in words(app)
    app = open_page(name, **PAIR, do=KINDS, side="corrupt")
    assert not app.exception and "on the corrupt prompt" in words(app)
    assert "Acts on the clean prompt; the pages show the corrupt one" in words(app)


def test_an_entry_is_edited_and_moved_with_its_editor(open_page) -> None:
    app = open_page("attention", **PAIR, do=["L0H1:zero", "L1H2:zero"])
    app.button(key="entry_0_edit").click().run()
    app.selectbox(key="edit_how").set_value("scale").run()
    app.number_input(key="edit_factor").set_value(0.25).run()
    app.multiselect(key="edit_positions").set_value([2, 5]).run()
    assert stack(app) == ["L0H1:scale:2,5:x0.25", "L1H2:zero"] and not app.exception
    app.button(key="move_down").click().run()
    assert stack(app) == ["L1H2:zero", "L0H1:scale:2,5:x0.25"]
    assert app.number_input(key="edit_factor").value == 0.25 and app.button(key="move_down").disabled
    app.button(key="entry_1_edit").click().run()
    assert "edit_how" not in [box.key for box in app.selectbox]
    for _ in range(4):
        app.button(key="undo").click().run()
    assert stack(app) == ["L0H1:zero", "L1H2:zero"]


def own_effects(app) -> list[str]:
    return re.findall(r"ce-caption'>([+-]\d+\.\d\d)<", words(app))


def test_own_effects_are_with_minus_without(open_page) -> None:
    app = open_page("prompt", **PAIR, do=["L0H1:zero", "L1H2:zero"])
    both = own_effects(app)
    assert len(both) == 2 and own_effects(open_page("prompt", **PAIR, do=["L0H1:zero", "L1H2:zero:off"])) != both[:1]


def test_undo_follows_the_prompt_too(open_page) -> None:
    app = open_page("prompt", **PAIR)
    app.text_area(key="w_clean").set_value("The capital of France is").run()
    app.button(key="undo").click().run()
    assert app.text_area(key="w_clean").value == PROMPT
    app.button(key="redo").click().run()
    assert app.text_area(key="w_clean").value == "The capital of France is"


def test_both_prompts_objectives_stand_in_the_pair_panel(open_page) -> None:
    app = open_page("prompt", **PAIR, do=["L1H2:zero:corrupt"])
    said = words(app)
    assert "logit difference, last position" in said and "clean prompt" in said and "corrupt prompt" in said
    app = open_page("prompt", **(PAIR | {"corrupt": "short"}))
    assert "tokens, the corrupt one" in words(app) and "↔" in words(app) and not app.exception
    app = open_page("prompt", **(PAIR | {"corrupt": ""}))
    assert "No corrupt prompt" in words(app) and not app.exception


def test_a_tuned_lens_of_other_weights_is_refused_in_place(open_page, tiny_models, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CIRCUIT_EXPLORER_DATA", str(tmp_path))
    info = tiny_models["llama"].info
    app = open_page("lens", **PAIR, lens="tuned")
    assert not app.exception and "There is no tuned lens of llama" in words(app) and "train-lens" in words(app)
    from explorer.engine.model import load_model

    nano = load_model("small-world-nano").info
    write_lens(read_lens(shipped_path(nano), nano), own_path(info))
    app = open_page("lens", **PAIR, lens="tuned")
    said = words(app)
    assert not app.exception and "was trained on small-world-nano" in said and "the logit lens is" in said
    assert "Self-check" in said
    app = open_page("lens", model="small-world-nano", **PAIR, lens="tuned", do=["L0H1:zero"])
    assert not app.exception and not app.error and "Tuned on" in words(app)


@pytest.mark.parametrize("mode", ["KL to output", "top tokens", "entropy"])
@pytest.mark.parametrize("show", ["changed", "baseline", "difference"])
def test_lens_modes_filters_and_followed_tokens(open_page, mode, show) -> None:
    app = open_page(
        "lens", **PAIR, do=["L1H2:zero"], lens_mode=mode, show=show, lens_from="1", lens_find="·", follow=" the\n interpretability",
        scale="log rank",
    )  # fmt: skip
    said = words(app)
    assert not app.exception and not app.error
    assert "an answer must be one" in said  # the one that is not a single token is named, the other followed
    if mode != "top tokens":
        assert "1 of 3 layers are hidden" in said and "positions are hidden" in said
        app.button(key="lens_show_all").click().run()
        assert "are hidden" not in words(app) and not app.exception


def test_heads_and_mlps_are_read_one_by_one(open_page, tiny_directories) -> None:
    app = open_page("lens", **PAIR, lens_of="heads and MLPs", component="L1H2", do=["L0H1:zero"], show="difference")
    assert not app.exception and "<b>L1H2</b>" in words(app)
    app.button(key="act_component_zero").click().run()
    assert stack(app) == ["L0H1:zero", "L1H2:zero"]
    app = open_page("lens", model=str(tiny_directories["opt"]), **PAIR, lens_of="heads and MLPs")
    assert not app.exception and "needs the engine" in words(app)


@pytest.mark.parametrize("color", ["induction", "entropy", "direct contribution"])
@pytest.mark.parametrize("weighting", ["attention", "value-weighted", "contribution"])
def test_the_grid_in_every_colour_and_weighting(open_page, color, weighting) -> None:
    app = open_page("attention", **PAIR, do=["L1H2:zero"], color=color, weighting=weighting, pinned="L0H1,L2H2,L9H9")
    assert not app.exception and not app.error
    assert {"unpin_L0H1", "unpin_L2H2"} <= {button.key for button in app.button}
    app = open_page("attention", clean=PROMPT, color=color, weighting=weighting)  # no answer
    assert not app.exception


def test_what_needs_the_engine_says_so_on_the_bridge(open_page, tiny_directories) -> None:
    app = open_page(
        "attention", model=str(tiny_directories["opt"]), **PAIR, weighting="value-weighted", color="direct contribution"
    )
    said = words(app)
    assert not app.exception and "plain attention is" in said and "it shows patterns" in said
    app.session_state["why_here"] = True
    app.run()
    assert not app.exception and "This score cannot be taken apart" in words(app)


def until_done(app, key: str) -> None:
    for _ in range(60):
        if not [button for button in app.button if button.key in (f"{key}_cancel", f"{key}_start")]:
            return
        app.run()
    raise AssertionError("the work did not end")


def test_work_on_request_shows_its_result_and_marks_it_stale(open_page) -> None:
    app = open_page("attribution", **PAIR)
    app.button(key="stories_start").click().run()
    until_done(app, "stories")
    said = words(app)
    assert not app.exception and "the third is an intervention" in said and "Integrated gradients add up to" in said
    app.selectbox(key="w_token_baseline").set_value("corrupt").run()
    assert "The inputs have changed" in words(app)
    app.button(key="stories_start").click().run()
    until_done(app, "stories")
    assert "too few for a rank correlation" in words(app)
    app.selectbox(key="w_token_baseline").set_value("mean").run()
    assert "Rank correlation" in words(app)  # kept under its own inputs


def test_work_that_cannot_be_done_says_why(open_page) -> None:
    app = open_page("attribution", **(PAIR | {"corrupt": "short"}), token_baseline="corrupt")
    app.button(key="stories_start").click().run()
    for _ in range(20):
        if "This could not be done" in words(app):
            break
        app.run()
    assert "the same number of tokens" in words(app) and not app.exception


def test_ablation_effects_and_the_reasons_for_none(open_page) -> None:
    app = open_page("attention", **PAIR, color="ablation effect")
    app.button(key="ablation_effects_start").click().run()
    until_done(app, "ablation_effects")
    assert not app.exception
    assert "effects are measured on its logit" in words(open_page("attention", clean=PROMPT, color="ablation effect"))
    assert "read that one" in words(open_page("attention", **PAIR, color="ablation effect", position="3"))


def test_neurons_of_an_mlp_are_listed_and_ablated(open_page) -> None:
    app = open_page("attribution", **PAIR, component="L1.mlp_out")
    zeros = [button for button in app.button if str(button.key).startswith("zero_L1N")]
    assert len(zeros) == 6 and "the 6 largest hold" in words(app)
    zeros[0].click().run()
    assert stack(app) == [f"{zeros[0].key.removeprefix('zero_')}:zero"] and not app.exception


def test_history_notes_runs_reopens_and_compares(open_page, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CIRCUIT_EXPLORER_DATA", str(tmp_path))
    for do in ([], ["L0H1:zero"], ["L0H1:zero", "L1H2:zero"]):
        open_page("prompt", **PAIR, do=do) if do else open_page("prompt", **PAIR)
    app = open_page("history", **PAIR)
    table = app.dataframe[0].value
    assert not app.exception and len(table) == 4 and table.iloc[1]["interventions"] == "L0H1 · zero, L1H2 · zero"
    app.text_input(key="preset_name").set_value("$x$ <b>").run()
    app.button(key="save_preset").click().run()
    assert "$x$ <b>" in [text.value for text in app.text] and not app.exception
    app.button(key="clear_runs").click().run()
    assert (
        not app.exception and len(app.dataframe[0].value) <= 1
        if app.dataframe
        else "No run has been noted" in words(app)
    )


def test_a_shelf_that_cannot_be_written_never_stops_a_page(open_page, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CIRCUIT_EXPLORER_DATA", str(tmp_path / "file"))
    app = open_page("prompt", **PAIR)
    assert not app.exception and "This run is not in the history" in words(app)
    app = open_page("history", **PAIR)
    assert not app.exception and "Presets and history cannot be read" in words(app)


def test_long_prompts_say_what_is_summarised(open_page) -> None:
    long = "the store and the drink " * 9
    for name in PAGES:
        app = open_page(name, model="small-world-nano", **(PAIR | {"clean": long, "corrupt": TWIN}))
        assert not app.exception and not app.error
