"""Whole journeys in real Chromium, on SmolLM2."""

import http.client
import json
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from benchmarks.browser import click_target, settle

pytestmark = pytest.mark.browser
OPENING_PAIR = {
    "clean": "When Mary and John went to the store, John gave a drink to",
    "corrupt": "When Mary and John went to the store, Mary gave a drink to",
    "answer": " Mary",
    "distractor": " John",
}


def effect(page: Page) -> dict[str, list[str]]:
    """The effect table: row name to baseline, changed, difference."""
    settle(page)
    expect(page.locator(".st-key-effect tr").nth(2)).to_be_visible()
    rows = page.locator(".st-key-effect tr").all()[1:]
    cells = [[cell.inner_text() for cell in row.locator("td").all()] for row in rows]
    return {name: values for name, *values in cells}


def wait_for_effect(page: Page, text: str) -> None:
    expect(page.locator(".st-key-effect")).to_contain_text(text)
    settle(page)


def click_head(page: Page, layer: int, head: int) -> None:
    click_target(page, "head_grid", layer, head)
    expect(page.locator(".st-key-head_panel")).to_contain_text(f"L{layer}H{head}")
    settle(page)


def zero_head(page: Page) -> None:
    page.locator(".st-key-act_head_choices").get_by_role("button", name="Zero").click()


def test_the_opening_example_predicts_mary(visit) -> None:
    page = visit("/", wait_for=".ce-bar")
    first = page.locator(".ce-table:has(.ce-bar) tr").nth(1)
    expect(first).to_contain_text("·Mary")
    assert float(first.locator(".ce-bar").inner_text()) > 0.8
    assert "max |Δ log-prob|" in page.locator(".st-key-model_card").inner_text()


def test_paris_is_first(visit) -> None:
    page = visit("/?clean=" + quote("The capital of France is"), wait_for=".ce-bar")
    expect(page.locator(".ce-table:has(.ce-bar) tr").nth(1)).to_contain_text("·Paris")


def test_click_a_head_ablate_undo_and_share(visit, fresh) -> None:
    page = visit("/")
    before = effect(page)
    assert before["logit diff."][:2] == ["6.12", "6.12"]
    page.get_by_role("link", name="Attention").click()
    click_head(page, 23, 3)
    zero_head(page)
    wait_for_effect(page, "3.08")
    after = effect(page)
    assert after["logit diff."] == ["6.12", "3.08", "-3.04"] and float(after["P(·Mary)"][1]) < float(
        after["P(·Mary)"][0]
    )
    page.wait_for_selector(".st-key-head_large_baseline canvas[data-plot]")  # baseline beside changed
    shared = page.url
    assert "do=L23H3" in shared

    page.locator(".st-key-undo button").first.click()
    wait_for_effect(page, "–")
    assert effect(page) == before

    other = fresh(shared)
    assert effect(other) == after
    expect(other.locator(".st-key-head_panel")).to_contain_text("L23H3")
    for name in ("Lens", "Prompt"):
        other.get_by_role("link", name=name).click()
        expect(other.get_by_role("heading", name=name)).to_be_visible()
        assert effect(other) == after
        assert "do=L23H3" in other.url


def test_heads_can_be_walked_with_the_keyboard(visit) -> None:
    page = visit("/attention")
    page.wait_for_selector(".st-key-head_grid canvas[data-plot]")
    page.locator(".st-key-head_grid canvas").first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight"):  # from L29H0
        page.keyboard.press(key)
    expect(page.locator(".st-key-head_grid .ce-tip")).to_contain_text("L27H2")
    page.keyboard.press("Enter")
    expect(page.locator(".st-key-head_panel")).to_contain_text("L27H2")
    page.locator(".st-key-head_grid canvas").first.focus()
    page.keyboard.press("Escape")
    expect(page.locator(".st-key-head_grid .ce-tip")).to_be_hidden()


def test_a_trajectory_point_opens_its_layer(visit) -> None:
    page = visit("/lens")
    canvas = page.locator(".st-key-trajectories canvas").first
    page.wait_for_selector(".st-key-trajectories canvas[data-plot]")
    plot = json.loads(canvas.get_attribute("data-plot"))
    canvas.click(position={"x": plot["left"] + plot["width"] * 10 / (plot["points"] - 1), "y": 120})
    expect(page.locator(".st-key-cell_panel")).to_contain_text("After layer 10")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator(".st-key-cell_panel")).to_contain_text("After layer 12")


@pytest.mark.parametrize(("how", "changed"), [("Mean", "logit diff."), ("Resample", "-0.96")])
def test_the_other_ablations(visit, how: str, changed: str) -> None:
    page = visit("/attention?head=L23H3")
    page.locator(".st-key-act_head_choices").get_by_role("button", name=how).click()
    expect(page.locator(".st-key-entry_0_row")).to_contain_text(f"L23H3 · {how.lower()}")
    wait_for_effect(page, changed)
    assert effect(page)["logit diff."][2] != "–"


def test_switch_and_remove_on_every_page(visit) -> None:
    page = visit("/lens?do=L23H3:zero")
    wait_for_effect(page, "3.08")
    page.locator(".st-key-entry_0_row label").first.click()
    wait_for_effect(page, "–")
    assert "off" in page.url
    page.get_by_role("link", name="Prompt").click()
    settle(page)
    page.locator(".st-key-entry_0_row label").first.click()
    wait_for_effect(page, "3.08")
    page.locator(".st-key-entry_0_remove button").first.click()
    wait_for_effect(page, "–")
    assert "do=" not in page.url


def test_a_lens_cell_opens_and_its_mlp_can_be_ablated(visit) -> None:
    page = visit("/lens")
    click_target(page, "lens_grid", 20, 9)
    expect(page.locator(".st-key-cell_panel")).to_contain_text("After layer 20, position 9")
    settle(page)
    page.locator(".st-key-act_MLP_choices").get_by_role("button", name="Zero").click()
    expect(page.locator(".st-key-entry_0_row")).to_contain_text("L20.mlp_out · zero at 9")
    settle(page)
    assert effect(page)["KL to baseline"][1] != "0.000" or "do=L20.mlp_out" in page.url


def test_a_token_chooses_the_position(visit) -> None:
    page = visit("/", wait_for=".ce-bar")
    page.locator(".token[data-position='4']").click()
    expect(page.locator(".st-key-position_heading")).to_contain_text("after position 4")
    page.wait_for_url("**position=4**")
    page.get_by_role("button", name="Read the last position").click()
    expect(page.locator(".st-key-position_heading")).to_contain_text("after position 13")


def test_the_text_continues_baseline_beside_changed(visit) -> None:
    page = visit("/?do=L23H3:zero&n_new=4", wait_for=".ce-bar")
    page.get_by_role("button", name="Continue the text").click()
    expect(page.locator(".ce-text")).to_have_count(2)
    expect(page.locator(".ce-text").first).to_contain_text("gave a drink to Mary")


def test_editing_the_prompt_changes_everything(visit) -> None:
    page = visit("/", wait_for=".ce-bar")
    box = page.get_by_role("textbox", name="Clean prompt")
    box.fill("The capital of France is")
    box.press("Control+Enter")
    expect(page.locator(".ce-table:has(.ce-bar) tr").nth(1)).to_contain_text("·Paris")
    assert "France" in page.url
    box.fill("   ")
    box.press("Control+Enter")
    expect(page.locator(".st-key-prompt_error")).to_contain_text("only white space")
    expect(page.get_by_role("textbox", name="Clean prompt")).to_be_visible()


def test_two_browsers_never_see_each_others_numbers(url, fresh) -> None:
    stacks = {"L23H3:zero": "3.08", "L24H4:zero": "6.84"}
    pages = {do: fresh(f"{url}/attention?do={do}:off") for do in stacks}
    for _ in range(8):
        for page in pages.values():
            page.locator(".st-key-entry_0_row label").first.click()  # both are computing now
        for do, page in pages.items():
            expect(page.locator(".st-key-effect")).to_contain_text(stacks[do])
        for page in pages.values():
            page.locator(".st-key-entry_0_row label").first.click()
        for page in pages.values():
            wait_for_effect(page, "–")
            assert effect(page)["logit diff."] == ["6.12", "6.12", "–"]


def test_hostile_tokens_are_shown_as_text(visit) -> None:
    attack = "<script>alert(1)</script> <b>bold</b> &lt; <img src=x onerror=alert(2)>"
    for path in ("/", "/attention", "/lens"):
        page = visit(f"{path}?clean={quote(attack)}&answer={quote('<')}")
        page.wait_for_timeout(500)
        assert page.locator("img[src=x], b:text-is('bold')").count() == 0
    assert page.locator("text=/&amp;lt;/").count() == 0
    page = visit(f"/?clean={quote(attack)}")
    expect(page.locator(".strip")).to_contain_text("script")


def test_a_broken_address_is_explained_and_the_rest_works(visit) -> None:
    page = visit("/attention?do=L23H3:zero&do=" + quote("<b>x</b>") + "&head=nonsense&junk=1")
    notes = page.locator(".st-key-address_notes")
    expect(notes).to_contain_text("names no site")
    expect(notes).to_contain_text("unknown part")
    wait_for_effect(page, "3.08")


def test_an_unknown_model_leaves_the_page_standing(visit) -> None:
    page = visit("/?model=some-lab/unknown&do=L23H3:zero", wait_for=".st-key-model_error")
    expect(page.locator(".st-key-model_error")).to_contain_text("not on this machine")
    page.get_by_role("button", name="Download it from the hub").click()
    expect(page.locator(".st-key-model_error")).to_contain_text("cannot be reached", timeout=10_000)
    expect(page.get_by_role("textbox", name="Clean prompt")).to_be_visible()
    expect(page.locator(".st-key-entry_0_row")).to_contain_text("L23H3 · zero")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 1920])
@pytest.mark.parametrize(
    "path",
    [
        "/?",
        "/attention?",
        "/lens?",
        "/attribution?",
        "/history?",
        "/patching?direction=both&place=L23H3&collected=L23H3,L20H0&",
        "/patching?patch_view=Paths&sender=L20H0&receivers=L23H3.q,logits&",
        "/patching?patch_view=Mediation&place=L23H3&",
        "/patching?patch_view=Dataset&",
    ],
)
def test_pages_fit_their_window(url, fresh, tmp_path_factory, scheme, width, path) -> None:
    """No page scrolls sideways, no chart is cut off, and the theme follows the browser."""
    page = fresh(
        f"{url}{path}do=L23H3:zero&do=L24H4.pattern:patch:3,9:clean&head=L23H3&pinned=L24H4,L18H6",
        viewport={"width": width, "height": 1100},
        color_scheme=scheme,
    )
    page.wait_for_timeout(800)
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    for box in page.evaluate(
        "() => [...document.querySelectorAll('.js-plotly-plot, canvas')].map(p => { const r = p.getBoundingClientRect(); return [r.left, r.right]; })"
    ):
        assert box[0] >= 0
        assert box[1] <= width
    background = page.evaluate("() => getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    brightness = sum(int(part) for part in background.strip("rgba()").split(",")[:3]) / 3
    assert brightness < 60 if scheme == "dark" else brightness > 200


@pytest.mark.parametrize(("host", "status"), [("evil.example", 403), (None, 101)])
def test_the_socket_answers_to_this_machines_own_names_only(url, host, status) -> None:
    """DNS rebinding: a foreign page must not reach the app through a name of its own."""
    own = url.removeprefix("http://")
    headers = {"Host": host or own, "Origin": f"http://{host or own}", "Connection": "Upgrade", "Upgrade": "websocket",
               "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip
    connection = http.client.HTTPConnection(own, timeout=5)
    connection.request("GET", "/_stcore/stream", headers=headers)
    assert connection.getresponse().status == status
    connection.close()


def test_an_attribution_cell_opens_and_is_ablated(visit) -> None:
    page = visit("/attribution?" + "&".join(f"{name}={quote(text)}" for name, text in OPENING_PAIR.items()))
    click_target(page, "attribution_grid", 23, 3)
    panel = page.locator(".st-key-component_panel")
    expect(panel).to_contain_text("L23H3: +2.854 logits")
    settle(page)
    panel.locator(".st-key-act_component_choices").get_by_role("button", name="Zero").click()
    wait_for_effect(page, "3.08")
    expect(panel).to_contain_text("+2.854 → +0.000")
    expect(page.locator("body")).to_contain_text("under the interventions +3.07")


def test_a_model_set_by_hand_shows_its_circuit_and_breaks_where_it_says(visit) -> None:
    words = {"clean": "q f m x b z q f m", "corrupt": "q f b m z x q f m", "answer": " x", "distractor": " z"}
    page = visit("/?model=induction-handmade&" + "&".join(f"{name}={quote(text)}" for name, text in words.items()))
    page.locator(".st-key-true_circuit summary").click()
    expect(page.locator(".st-key-true_circuit")).to_contain_text("L1KV2.k")
    assert effect(page)["logit diff."][0] == "20.00"
    page.get_by_role("link", name="Attention").click()
    click_head(page, 0, 0)
    zero_head(page)
    wait_for_effect(page, "20.00")
    assert effect(page)["logit diff."][1] == "20.00"  # not in the circuit: no effect at all
    click_head(page, 0, 1)
    zero_head(page)
    wait_for_effect(page, "-20.00")
    assert effect(page)["logit diff."][1] == "0.00"
