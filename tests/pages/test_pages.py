"""Every page, through AppTest, on a tiny model: what it shows, what it does, and bad input."""

import re

import pytest

from explorer.analyses.attention import HEAD_TYPES
from tests.conftest import PROMPT, TWIN
from tests.pages.conftest import words

pytestmark = pytest.mark.pages

PAGES = ("prompt", "attention", "lens", "attribution")


def stack(app) -> list[str]:
    """The interventions that the page mirrors in its address."""
    found = app.query_params.get("do", [])
    return [found] if isinstance(found, str) else list(found)


def said(app) -> str:
    """What the page says, without the state of the run cache."""
    return re.sub(r"\d+ of \d+ MB, \d+% of look", "", words(app))


def load_example(app, name: str) -> None:
    """Open the gallery and choose from it."""
    app.session_state["gallery"] = True
    app.run()
    next(button for button in app.button if button.label == name).click().run()


PAIR = {"clean": PROMPT, "corrupt": TWIN, "answer": " Mary", "distractor": " John"}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_an_exception_and_mirrors_its_state(open_page, name) -> None:
    app = open_page(name, **PAIR, do=["L1H2:zero", "L0.mlp_out:mean:3:off"])
    assert not app.exception and not app.error
    assert stack(app) == ["L1H2:zero", "L0.mlp_out:mean:3:off"]
    assert "logit diff." in words(app)
    assert [toggle.value for toggle in app.sidebar.toggle] == [True, False]


@pytest.mark.parametrize("name", PAGES)
def test_switch_remove_undo_and_clear(open_page, name) -> None:
    app = open_page(name, **PAIR, do=["L1H2:zero", "L2H0:zero"])
    changed = said(app)
    app.sidebar.toggle[0].set_value(False).run()
    assert stack(app) == ["L1H2:zero:off", "L2H0:zero"] and said(app) != changed
    app.button(key="entry_1_remove").click().run()
    assert stack(app) == ["L1H2:zero:off"]
    app.button(key="undo").click().run()
    app.button(key="undo").click().run()
    assert stack(app) == ["L1H2:zero", "L2H0:zero"] and said(app) == changed
    app.button(key="redo").click().run()
    app.button(key="redo").click().run()
    assert stack(app) == ["L1H2:zero:off"] and app.button(key="redo").disabled
    app.button(key="undo").click().run()
    app.button(key="undo").click().run()
    app.button(key="clear").click().run()
    assert stack(app) == [] and not app.sidebar.toggle
    app.button(key="undo").click().run()
    assert stack(app) == ["L1H2:zero", "L2H0:zero"]
    assert app.button(key="undo").disabled


@pytest.mark.parametrize("name", PAGES)
def test_a_line_that_a_later_one_replaces_says_so(open_page, name) -> None:
    app = open_page(name, **PAIR, do=["L1H2:zero:3", "L1H2.q:zero", "L1KV0.k:mean", "L2N7:zero", "L1H2:mean"])
    assert not app.exception and "Not applied" not in words(app)
    assert words(app).count("comes later and replaces it") == 1
    app.sidebar.toggle[4].set_value(False).run()
    assert "comes later and replaces it" not in words(app)


@pytest.mark.parametrize("how", ["zero", "mean", "resample"])
def test_the_choice_on_a_head_lands_on_the_stack(open_page, how) -> None:
    app = open_page("attention", **PAIR, head="L1H2")
    app.button(key=f"act_head_{how}").click().run()
    assert stack(app) == [f"L1H2:{how}"] and not app.exception
    app.button(key="act_head_zero").click().run()  # a second choice on the same head replaces the first
    assert stack(app) == ["L1H2:zero"]
    app.button(key="act_head_restore").click().run()
    assert stack(app) == []


def test_positions_can_be_chosen(open_page) -> None:
    app = open_page("attention", **PAIR, head="L1H2")
    app.multiselect[0].set_value([2, 5]).run()
    app.button(key="act_head_zero").click().run()
    assert stack(app) == ["L1H2:zero:2,5"]


def test_resampling_without_a_twin_says_why_not(open_page) -> None:
    app = open_page("attention", clean=PROMPT, head="L1H2")
    button = app.button(key="act_head_resample")
    assert button.disabled and "Write one on the Prompt page" in button.help
    assert open_page("attention", clean=PROMPT, corrupt="Mary", head="L1H2").button(key="act_head_resample").disabled


def test_a_lens_cell_can_be_ablated(open_page) -> None:
    app = open_page("lens", **PAIR, lens_layer="1", position="3")
    app.button(key="act_MLP_zero").click().run()
    assert stack(app) == ["L1.mlp_out:zero:3"] and not app.exception


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(
    ("text", "said"),
    [("", "The prompt is an empty text"), ("   ", "only white space"), ("word " * 200, "context holds 96")],
)
def test_prompts_that_cannot_run_leave_the_page_standing(open_page, name, text, said) -> None:
    app = open_page(name, **(PAIR | {"clean": text}), do=["L1H2:zero"])
    assert not app.exception and said in words(app)
    assert len(app.sidebar.toggle) == 1  # nothing is lost
    if name == "prompt":
        app.text_area(key="w_clean").set_value(PROMPT).run()
        assert "Next token" in words(app)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_an_address_does_not_call_the_hub_but_its_reader_may(open_page, name) -> None:
    app = open_page(name, model=f"some-lab/{name}", **PAIR, do=["L1H2:zero"])
    assert not app.exception and "not on this machine" in words(app)
    assert len(app.sidebar.toggle) == 1  # nothing is lost
    app.button(key="download_model").click().run()
    assert not app.exception and "offline" in words(app) and app.button(key="retry_model")
    if name == "prompt":
        assert app.text_area(key="w_clean").value == PROMPT
        app.selectbox(key="w_model").set_value("smollm2").run()
        assert app.query_params["model"] in ("smollm2", ["smollm2"]) and not app.exception


@pytest.mark.parametrize("name", PAGES)
def test_an_answer_of_several_tokens_is_explained(open_page, name) -> None:
    app = open_page(name, **(PAIR | {"answer": " interpretability"}))
    assert not app.exception and "an answer must be one" in words(app)
    assert "KL to baseline" in words(app)


@pytest.mark.parametrize("name", PAGES)
def test_what_does_not_fit_the_model_is_named_not_dropped(open_page, name) -> None:
    app = open_page(name, **PAIR, do=["L23H3:zero", "L1H2:zero", "L0H0:zero:99"])
    said = words(app)
    assert not app.exception and "has layers 0 to 2" in said and "positions run from 0 to" in said
    assert stack(app) == ["L23H3:zero", "L1H2:zero", "L0H0:zero:99"]


@pytest.mark.parametrize("name", PAGES)
def test_a_hostile_address_is_harmless(open_page, name) -> None:
    attack = "<script>alert(1)</script>"
    app = open_page(
        name, clean=attack, corrupt="</td><b>", answer="<", do=[attack, "L1H2:" + attack], head=attack, junk=attack
    )
    assert not app.exception and "were left out" in words(app)
    assert all("<script>" not in item.proto.body for item in app.get("html"))
    app.button(key="dismiss_notes").click().run()
    assert "were left out" not in words(app)


def test_a_trailing_space_is_warned_of(open_page) -> None:
    assert "ends with a space" in words(open_page("prompt", **(PAIR | {"clean": PROMPT + " "})))


def test_the_model_card_shows_backend_and_check(open_page, tiny_directories) -> None:
    said = words(open_page("prompt", **PAIR))
    assert "engine (own forward pass)" in said and "max |Δ log-prob|" in said and "LlamaForCausalLM" in said
    assert "of look-ups answered" in said
    said = words(open_page("prompt", model=str(tiny_directories["opt"]), **PAIR))
    assert "TransformerBridge" in said and "no forward pass for OPT" in said


@pytest.mark.parametrize("name", ["prompt", "attention", "lens"])
def test_pages_work_on_the_bridge(open_page, tiny_directories, name) -> None:
    app = open_page(name, model=str(tiny_directories["opt"]), **PAIR, do=["L1H2:zero"])
    assert not app.exception and not app.error


def test_examples_load_and_the_text_continues(open_page) -> None:
    app = open_page("prompt", **PAIR, do=["L1H2:zero"], n_new="3")
    app.button(key="continue").click().run()
    assert not app.exception and words(app).count("ce-prompt") == 2
    load_example(app, "Capital city")
    assert app.query_params["clean"] in ("The capital of France is", ["The capital of France is"])
    assert "The inputs have changed" in words(app)


def test_long_prompts_are_read_in_a_window_that_says_what_it_hides(open_page) -> None:
    app = open_page("lens", **(PAIR | {"clean": "the store and the drink " * 8}))
    assert not app.exception and "are hidden" in words(app)


@pytest.mark.parametrize("answer", ["Mary", "capital"])  # one token as it is; several tokens
def test_a_missing_leading_space_can_be_added(open_page, answer) -> None:
    app = open_page("prompt", **(PAIR | {"answer": answer, "distractor": ""}))
    app.button(key="space_answer").click().run()
    assert app.text_input(key="w_answer").value == f" {answer}" and not app.exception
    assert "One token each" in words(app) and "space_answer" not in [button.key for button in app.button]


def test_the_table_of_head_types_holds_both_runs(open_page) -> None:
    app = open_page("attention", **PAIR, do=["L0H1:zero"], show="difference")
    assert not app.dataframe  # made when it is opened
    app.session_state["head_types"] = True
    app.run()
    table = app.dataframe[0].value
    assert not app.exception and {"name", "type", "induction", "induction, null", "induction, baseline"} <= set(table)
    assert len(table) == 12 and table.iloc[0][list(HEAD_TYPES)].max() == table[list(HEAD_TYPES)].max().max()
    app.text_input(key="find_heads").set_value("induction heads").run()
    assert (app.dataframe[0].value["induction"].diff().dropna() <= 0).all()
    app.text_input(key="find_heads").set_value("L2").run()
    assert sorted(app.dataframe[0].value["name"]) == ["L2H0", "L2H1", "L2H2", "L2H3"]
    app.text_input(key="find_heads").set_value("nothing").run()
    assert "No head matches" in words(app)


def test_a_saved_difference_without_interventions_shows_the_baseline(open_page) -> None:
    app = open_page("attention", **PAIR, show="difference")
    sent = " ".join(str(element.proto) for element in app.get("bidi_component"))
    assert not app.exception and "L0H0, baseline" in sent and "L0H0, difference" not in sent


def test_tasks_measures_pairs_filters_them_and_opens_one(open_page) -> None:
    app = open_page("tasks", model="small-world-nano", **PAIR, do=["L0H0:zero"])
    assert not app.exception and not app.error
    values = {metric.label: metric.value for metric in app.metric}
    assert values["Pairs right, under the interventions"].endswith("%)")
    assert "points from" in app.metric[0].delta
    assert len(app.dataframe[0].value) == 20 and {"right", "changed", "clean, changed"} <= set(app.dataframe[0].value)
    app.toggle(key="w_only_right").set_value(True).run()
    assert set(app.dataframe[0].value["right"]) == {"✓"}
    app.selectbox(key="w_task").set_value("capital").run()
    assert app.query_params["task"] in ("capital", ["capital"]) and not app.exception
    assert app.dataframe[0].value["clean prompt"].str.len().min() > 10
    app.sidebar.toggle[0].set_value(False).run()
    assert {metric.label for metric in app.metric} >= {"Pairs right", "Top-1"}


def test_tasks_says_why_pairs_cannot_be_drawn_or_changed(open_page) -> None:
    app = open_page("tasks", model="gate-and", clean="on on =")
    assert not app.exception and "words that this model does not know" in words(app)
    app = open_page("tasks", model="small-world-nano", **PAIR, do=["L0H0:zero:60"])
    assert not app.exception and "do not fit these prompts" in words(app)
    assert len(app.dataframe[0].value) == 20  # the baseline stays
    app = open_page("tasks", model="small-world-nano", **PAIR, task="nothing", n_pairs="7", held_out="maybe")
    assert "is no task" in words(app) and "is not one of 20" in words(app) and "neither True nor False" in words(app)


@pytest.mark.parametrize(("key", "said"), [("gate-or", "The true circuit"), ("small-world-nano", "was measured to do")])
def test_what_is_known_of_a_shipped_model_is_shown(open_page, key, said) -> None:
    app = open_page("prompt", model=key, clean="on on =" if key == "gate-or" else PROMPT)
    assert not app.exception and said in " ".join(item.label for item in app.expander)
    assert ("L0H1" in words(app)) == (key == "gate-or") and ("Indirect object, two names" in words(app)) != (
        key == "gate-or"
    )


def test_a_model_that_knows_few_words_brings_its_own_example(open_page) -> None:
    app = open_page("prompt", **PAIR)
    app.selectbox(key="w_model").set_value("induction-handmade").run()
    assert app.text_area(key="w_clean").value == "q f m x b z q f m" and not app.exception and not app.error
    load_example(app, "d o g c a t d o → g")
    assert app.text_input(key="w_answer").value == " g"
    app.selectbox(key="w_model").set_value("small-world-nano").run()
    assert app.text_area(key="w_clean").value == PROMPT and not app.exception and not app.error


@pytest.mark.parametrize("name", ["prompt", "attention", "lens"])
def test_words_that_a_model_does_not_know_are_named(open_page, name) -> None:
    app = open_page(name, model="gate-and", **PAIR)
    assert not app.exception and "does not know 'When', 'Mary'" in words(app)


def test_attribution_adds_up_and_opens_components(open_page) -> None:
    app = open_page("attribution", **PAIR, do=["L1H2:zero"], component="L1H2")
    assert not app.exception and not app.error
    said = words(app)
    assert "Sum of all" in said and "under the interventions" in said and "→ +0.000" in said
    app.button(key="act_component_restore").click().run()
    assert stack(app) == [] and "under the interventions" not in words(app)
    app = open_page("attribution", **PAIR, component="L2.mlp_out")
    assert "<b>L2.mlp_out:</b>" in words(app) and not app.exception
    app.button(key="act_component_zero").click().run()
    assert stack(app) == ["L2.mlp_out:zero"]


def test_attribution_says_why_there_is_none(open_page, tiny_directories) -> None:
    assert "Write an answer" in words(open_page("attribution", clean=PROMPT))
    app = open_page("attribution", model=str(tiny_directories["opt"]), **PAIR)
    assert not app.exception and "runs on the bridge" in words(app)
    app = open_page("attribution", model=str(tiny_directories["gemma2"]), **PAIR)
    assert not app.exception and "caps its logits" in words(app)
    app = open_page("attribution", **PAIR, component="nonsense")
    assert not app.exception and "names no site" in words(app)
