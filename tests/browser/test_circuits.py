"""Journeys of the circuits page in Chromium: discover, slide, click, cut, undo, group, rename, share; keyboard; windows; files."""

import json
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from benchmarks.browser import settle
from tests.browser.test_journeys import OPENING_PAIR, effect

pytestmark = pytest.mark.browser
TEXTS = "&".join(f"{name}={quote(text)}" for name, text in OPENING_PAIR.items())
SMALL = f"model=small-world&{TEXTS}"
TASK = f"{SMALL}&circuit_pairs=a+task&only_right=True"
GRAPH = ".ce-graph[data-shown]"


def graph(page: Page, what: str) -> str:
    return str(page.locator(".ce-graph").get_attribute(f"data-{what}") or "")


def standing(page: Page) -> dict[str, float]:
    """Where the graph lies once nothing above it moves it any more, pixels: what is measured later pushes it down."""
    before = None
    while True:
        settle(page)
        page.locator(".ce-graph-host").evaluate("host => host.scrollIntoView({ block: 'end' })")
        box = page.locator(".ce-graph-host").bounding_box()
        assert box is not None
        if box == before:
            return dict(box)
        before = box
        page.wait_for_timeout(300)


def places(page: Page, what: str = "places") -> dict[str, list[float]]:
    box = standing(page)
    return {name: [box["x"] + x, box["y"] + y] for name, (x, y) in json.loads(graph(page, what)).items()}


def click_node(page: Page, name: str) -> None:
    page.mouse.click(*places(page)[name])
    expect(page.locator(".ce-graph")).to_have_attribute("data-open", name, timeout=20_000)
    settle(page)


def scores(page: Page) -> dict[str, list[str]]:
    rows = page.locator(".ce-scores tr").all()[1:]
    return {name: values for name, *values in ([cell.inner_text() for cell in row.locator("td").all()] for row in rows)}


def controls_there(page: Page) -> None:
    """Until bands and variants are measured."""
    expect(page.locator(".st-key-circuit_scores")).to_contain_text("Worst variant", timeout=60_000)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.ce-scores td')].every((cell) => cell.innerText !== '…')"
    )
    settle(page)


def test_discover_slide_click_ablate_undo_group_rename_share(visit, fresh) -> None:
    page = visit(f"/circuits?{TASK}", wait_for=GRAPH)
    assert "nodes, " in graph(page, "shown")
    controls_there(page)
    first = scores(page)
    assert 0.8 < float(first["faithfulness"][0]) < 1.2
    before = int(graph(page, "shown").split(", ")[1].split()[0])

    slider = page.locator(".st-key-w_circuit_top input[type=range]").first  # slide: fewer edges
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    page.wait_for_function(
        "n => Number(document.querySelector('.ce-graph').dataset.shown.split(', ')[1].split(' ')[0]) < n", arg=before
    )
    settle(page)
    controls_there(page)
    plain, told = scores(page), effect(page)

    click_node(page, "L0H5")  # click, ablate: score and prediction change
    page.locator(".st-key-circuit_node_zero button").first.click()
    expect(page.locator(".ce-scores")).to_contain_text("changed", timeout=20_000)
    settle(page)
    changed = scores(page)
    assert (
        changed["faithfulness"][0] == plain["faithfulness"][0]
        and changed["faithfulness"][1] != plain["faithfulness"][0]
    )
    assert effect(page)["logit diff."][2] != "–"
    expect(page.locator(".st-key-circuit_prediction")).to_contain_text("under interventions")

    page.locator(".st-key-undo button").first.click()
    expect(page.locator(".ce-scores")).not_to_contain_text("changed")
    assert scores(page)["faithfulness"][0] == plain["faithfulness"][0] and effect(page) == told

    page.locator(".ce-graph-host").focus()  # hold g and click two nodes
    page.keyboard.down("g")
    for name in ("L0H4", "L0H5"):
        page.mouse.click(*places(page)[name])
    page.keyboard.up("g")
    expect(page.locator(".st-key-circuit_item")).to_contain_text("L0H4, L0H5")
    settle(page)
    field = page.locator(".st-key-circuit_item input")
    field.fill("readers & <b>co</b>")
    field.press("Enter")
    expect(page.locator(".st-key-circuit_tools")).to_contain_text("readers & <b>co</b>")
    settle(page)
    click_node(page, "L0H5")
    label = page.locator(".st-key-label_L0H5 input")
    label.fill("subject reader")
    label.press("Enter")
    settle(page)
    page.wait_for_function("() => location.search.includes('circuit_labels')")
    page.locator(".st-key-circuit_act_remove button").first.click()
    expect(page.locator(".st-key-circuit_changes")).to_contain_text("remove L0H5")
    settle(page)
    controls_there(page)
    shown, final = graph(page, "shown"), scores(page)
    assert final["faithfulness"][0] != plain["faithfulness"][0]

    other = fresh(page.url, wait_for=GRAPH)
    controls_there(other)
    assert graph(other, "shown") == shown and scores(other) == final
    expect(other.locator(".st-key-circuit_tools")).to_contain_text("readers & <b>co</b>")
    expect(other.locator(".st-key-label_L0H5 input")).to_have_value("subject reader")


def test_an_edge_is_opened_measured_cut_and_explained(visit) -> None:
    page = visit(f"/circuits?{SMALL}&circuit_item=L0H0-%3EL0.mlp_in", wait_for=GRAPH)
    item = page.locator(".st-key-circuit_item")
    expect(item).to_contain_text("L0H0 → L0.mlp_in")
    expect(item).to_contain_text("corrupting it alone changes the objective by")
    page.locator(".st-key-circuit_edge_mean button").first.click()
    expect(page.locator(".st-key-entry_0_row")).to_contain_text("L0H0->L0.mlp_in · mean")
    settle(page)
    assert effect(page)["logit diff."][2] != "–"
    expect(page.locator(".ce-scores")).to_contain_text("changed")
    page.goto(page.url.replace("circuit_item=L0H0-%3EL0.mlp_in", "circuit_item=L0H5-%3EL3H6.q"))
    page.wait_for_selector(GRAPH)
    expect(page.locator(".st-key-circuit_item")).to_contain_text("Why this edge?")
    expect(page.locator(".st-key-circuit_item")).to_contain_text("score moved by")


def test_only_the_circuit_runs_on_every_page(visit) -> None:
    page = visit(f"/circuits?{SMALL}&circuit_top=20", wait_for=GRAPH)
    alone = page.locator(".st-key-circuit_prediction tr", has_text="circuit alone").locator("td").nth(2).inner_text()
    page.locator(".st-key-w_circuit_mode").get_by_text("only the circuit").click()
    expect(page.locator(".st-key-alone_row")).to_contain_text("Circuit alone:")
    settle(page)
    assert float(effect(page)["logit diff."][1]) == pytest.approx(float(alone), abs=0.006)
    changed = effect(page)["logit diff."]
    for name, there in (("Attention", ".st-key-head_grid canvas"), ("Lens", "canvas"), ("Attribution", "canvas")):
        page.get_by_role("link", name=name, exact=True).click()
        page.wait_for_selector(there)
        settle(page)
        assert effect(page)["logit diff."] == changed, name
    page.locator(".st-key-alone_off button").first.click()
    expect(page.locator(".st-key-alone_row")).to_have_count(0)
    settle(page)
    assert effect(page)["logit diff."][2] == "–"


def test_keyboard_search_and_zoom(visit) -> None:
    page = visit(f"/circuits?{SMALL}", wait_for=GRAPH)
    host = page.locator(".ce-graph-host")
    host.focus()
    page.keyboard.press("ArrowUp")  # the walk begins at the embedding
    page.keyboard.press("ArrowUp")
    card = page.locator(".ce-graph-card")
    expect(card).to_be_visible()
    expect(card).to_contain_text("contribution")
    page.keyboard.press("e")
    expect(card).to_contain_text("score")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.ce-graph').dataset.open.includes('->')")
    settle(page)
    host.focus()
    page.keyboard.press("Escape")
    expect(page.locator(".ce-graph")).to_have_attribute("data-open", "")
    settle(page)
    page.locator(".ce-graph input").fill("l3.mlp")
    page.locator(".ce-graph input").press("Enter")
    expect(page.locator(".ce-graph")).to_have_attribute("data-open", "L3.mlp_out")
    settle(page)
    before = places(page)["L0.mlp_out"]
    page.locator(".ce-graph button[data-do=in]").click()
    page.wait_for_timeout(400)
    assert places(page)["L0.mlp_out"] != before
    page.locator(".ce-graph button[data-do=fit]").click()
    page.wait_for_timeout(400)
    page.mouse.move(*places(page)["L0.mlp_out"])
    expect(card).to_contain_text("promotes")


def test_thousands_of_edges_stay_usable(visit) -> None:
    page = visit(f"/circuits?{TEXTS}&circuit_top=3000", wait_for=GRAPH)
    assert int(graph(page, "shown").split(", ")[1].split()[0]) > 2000
    click_node(page, "L0.mlp_out")
    expect(page.locator(".st-key-circuit_item")).to_contain_text("estimated contribution")


def test_a_long_discovery_shows_its_cost_is_stopped_and_resumed(visit, fresh) -> None:
    page = visit(
        f"/circuits?{SMALL}&circuit_method=acdc&circuit_pairs=a+task&circuit_threshold=0.03",
        wait_for=".st-key-discover",
    )
    expect(page.locator("body")).to_contain_text("forward passes")
    page.locator(".st-key-discover button").first.click()
    expect(page.locator(".st-key-discover_progress")).to_contain_text("Scoring edges", timeout=20_000)
    other = fresh(page.url.split("?")[0].replace("circuits", "attention") + f"?{SMALL}")
    other.wait_for_selector(".st-key-head_grid canvas")  # another browser goes on
    page.locator(".st-key-discover_cancel button").first.click()
    expect(page.locator(".st-key-discover_resume")).to_contain_text("Go on", timeout=20_000)
    settle(page)
    page.locator(".st-key-discover_resume button").first.click()
    page.wait_for_selector(GRAPH, timeout=120_000)
    expect(page.locator("body")).to_contain_text("Scores are measured")


def test_size_stability_and_files(visit, tmp_path) -> None:
    page = visit(f"/circuits?{TASK}", wait_for=GRAPH)
    page.get_by_text("Size", exact=True).click()
    page.locator(".st-key-circuit_curves_start button").first.click()
    page.wait_for_selector(".st-key-circuit_curves_chart canvas", timeout=120_000)
    expect(page.locator("body")).to_contain_text("smallest circuit from 80% on")
    settle(page)
    page.get_by_text("Stability", exact=True).click()
    expect(page.locator("body")).to_contain_text("Jaccard overlap")
    expect(page.locator("body")).to_contain_text("on the half that did not choose", timeout=60_000)
    expect(page.locator("body")).to_contain_text("Jaccard: edges")
    settle(page)
    page.get_by_text("Files", exact=True).click()
    with page.expect_download() as download:
        page.locator(".st-key-circuit_json button").first.click()
    file = tmp_path / "circuit.json"
    download.value.save_as(file)
    settle(page)
    page.locator(".st-key-circuit_upload input[type=file]").set_input_files(file)
    expect(page.locator("body")).to_contain_text("Jaccard: edges 1.00, nodes 1.00")
    bad = tmp_path / "bad.csv"
    bad.write_text("L9H0->logits\nL0H0->L1H0.q\n")
    page.locator(".st-key-circuit_upload input[type=file]").set_input_files(bad)
    expect(page.locator(".st-key-circuit_file_error")).to_contain_text("has no node L9H0")
    page.locator(".st-key-circuit_upload input[type=file]").set_input_files(file)
    page.locator(".st-key-open_imported button").first.click()
    page.wait_for_selector(GRAPH)
    expect(page.locator(".st-key-circuit_scores")).to_contain_text("faithfulness")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 1920])
@pytest.mark.parametrize("view", ["Graph", "Size", "Stability", "Files"])
def test_views_fit_their_window(fresh, url, view: str, scheme: str, width: int) -> None:
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 1200}}
    page = fresh(f"{url}/circuits?{TASK}&circuit_view={view}", wait_for=".st-key-w_circuit_view", **options)
    page.wait_for_selector("text=Found by")
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for table in page.locator(".ce-scores .ce-scroll").all():
        assert table.evaluate("each => each.scrollWidth <= each.clientWidth + 1")
