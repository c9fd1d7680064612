"""Journeys of findings in Chromium: keep, check, edit, report, present, share; and the door of an app that others can reach."""

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from benchmarks.browser import FLAGS, server, settle
from tests.browser.conftest import CHROMIUM
from tests.browser.test_journeys import OPENING_PAIR

pytestmark = pytest.mark.browser
NANO = "model=small-world-nano&" + "&".join(f"{name}={quote(text)}" for name, text in OPENING_PAIR.items())
ATTACK = "<img src=x onerror=alert(1)></script><script>alert(2)</script> **bold** $x$ :red[x]"


def keep(page: Page, claim: str, tags: str = "") -> None:
    page.locator(".st-key-keep button").first.click()
    page.locator(".st-key-keep_claim textarea").fill(claim)
    page.locator(".st-key-keep_tags input").fill(tags)
    page.get_by_role("button", name="Keep", exact=True).click()
    expect(page.get_by_text("Kept: open it in Findings")).to_be_visible(timeout=30_000)
    settle(page)


def kept_on_attention(visit, claim: str, tags: str = "") -> Page:
    """On the Findings page, with a new finding about L0H2 open."""
    page = visit(f"/attention?{NANO}&head=L0H2")
    keep(page, claim, tags)
    page.get_by_text("Kept: open it in Findings").click()
    page.wait_for_selector(".st-key-finding_detail")
    expect(page.locator(".st-key-finding_detail")).to_contain_text(claim)
    settle(page)
    return page


def run_all(page: Page) -> None:
    page.locator(".st-key-run_rest button").first.click()
    expect(page.locator(".st-key-run_again")).to_be_visible(timeout=60_000)
    settle(page)


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("/?", "baseline.objective"),
        ("/attention?head=L1H1&weighting=contribution&", "[1, 1, 14"),
        ("/lens?", "prob[3, 14]"),
        ("/lens?lens_of=heads+and+MLPs&", "logit["),
        ("/attribution?component=L0H2&", "parts['"),
        ("/patching?direction=noising&place=L0H2&", "patched["),
        ("/patching?patch_view=Paths&sender=L0H2&receivers=logits&", "all_paths[0]"),
        ("/patching?patch_view=Mediation&place=L0H2&", "reverse_indirect[0]"),
        ("/circuits?circuit_method=eap&circuit_top=40&", "n_edges"),
        ("/tasks?", "accuracy"),
    ],
)
def test_every_page_can_be_kept_with_its_numbers(visit, path, number) -> None:
    page = visit(f"{path}{NANO}&do=L1H2:zero")
    if "circuits" in path:
        page.wait_for_selector(".ce-graph[data-shown]")
        settle(page)
    claim = f"kept from {path.split('?')[0]} with {number}"
    keep(page, claim)
    page.get_by_text("Kept: open it in Findings").click()
    detail = page.locator(".st-key-finding_detail")
    expect(detail).to_contain_text(claim)
    expect(detail).to_contain_text("changed.objective")
    expect(detail).to_contain_text(number)
    detail.get_by_text("Provenance and limits").click()
    expect(detail).to_contain_text("weights, SHA-256")
    detail.get_by_role("button", name="Open this view").click()
    expect(page.locator(".st-key-entry_0_row")).to_contain_text("L1H2 · zero", timeout=30_000)


def test_a_claim_climbs_by_its_checks_and_can_be_edited_found_deleted_and_brought_back(visit) -> None:
    page = kept_on_attention(visit, "L0H2 carries which name is told twice", "Names, ioi")
    detail = page.locator(".st-key-finding_detail")
    expect(detail).to_contain_text("Rung 0 of 5, observed")
    page.locator(".st-key-run_next button").first.click()
    expect(detail).to_contain_text("Held-out accuracy", timeout=30_000)
    run_all(page)
    expect(detail).to_contain_text("Rung 4 of 5, generalises")
    assert detail.inner_text().count("✓ passed") == 5 and "matched random controls" in detail.inner_text()

    detail.get_by_text("Words", exact=True).click()
    detail.get_by_label("Notes").fill("seen first on one prompt")
    detail.get_by_role("button", name="Save").click()
    page.locator(".st-key-finding_search input").fill("FIRST prompt twice")
    page.locator(".st-key-finding_search input").press("Enter")
    expect(page.locator("[class*='st-key-open_finding_']")).to_have_count(1)
    page.locator(".st-key-finding_search input").fill("no such words")
    page.locator(".st-key-finding_search input").press("Enter")
    expect(page.locator("body")).to_contain_text("No finding has these words")
    page.locator(".st-key-finding_search input").fill("")
    page.locator(".st-key-finding_search input").press("Enter")
    settle(page)

    page.locator(".st-key-delete_finding button").first.click()
    expect(page.locator(".st-key-deleted_bar")).to_contain_text("told twice")
    expect(page.locator(".st-key-finding_detail")).to_have_count(0)
    page.locator(".st-key-restore button").click()
    expect(page.locator(".st-key-finding_detail")).to_contain_text("Rung 4 of 5")


def test_two_browsers_that_edit_one_finding(visit, fresh, url) -> None:
    page = kept_on_attention(visit, "edited by two")
    page.locator(".st-key-finding_detail").get_by_text("Words", exact=True).click()
    page.locator(".st-key-finding_detail").get_by_label("Notes").fill("mine")
    settle(page)
    other = fresh(page.url, wait_for=".st-key-finding_detail")
    other.locator(".st-key-finding_detail").get_by_text("Words", exact=True).click()
    other.locator(".st-key-finding_detail").get_by_label("Notes").fill("the other's")
    other.locator(".st-key-finding_detail").get_by_role("button", name="Save").click()
    settle(other)
    other.wait_for_timeout(1000)
    page.locator(".st-key-finding_detail").get_by_role("button", name="Save").click()
    expect(page.locator(".st-key-conflict")).to_contain_text("Somebody changed this finding meanwhile")
    expect(page.locator(".st-key-conflict")).to_contain_text("the other's")
    expect(page.locator(".st-key-finding_detail").get_by_label("Notes")).to_have_value("mine")
    page.locator(".st-key-save_over button").click()
    expect(page.locator(".st-key-conflict")).to_have_count(0)
    other.reload()
    other.wait_for_selector(".st-key-finding_detail")
    other.locator(".st-key-finding_detail").get_by_text("Words", exact=True).click()
    expect(other.locator(".st-key-finding_detail").get_by_label("Notes")).to_have_value("mine")


def test_a_form_that_cannot_be_kept_says_why_and_loses_nothing(visit) -> None:
    page = visit(f"/attention?{NANO}&head=L0H2")
    page.locator(".st-key-keep button").first.click()
    page.locator(".st-key-keep_places input").fill("L0H2, ../x")
    page.get_by_role("button", name="Keep", exact=True).click()
    expect(page.get_by_role("dialog", name="Keep as finding")).to_contain_text("Write what you found")
    page.locator(".st-key-keep_claim textarea").fill("a claim")
    page.get_by_role("button", name="Keep", exact=True).click()
    expect(page.get_by_role("dialog", name="Keep as finding")).to_contain_text("'../x'")
    expect(page.locator(".st-key-keep_claim textarea")).to_have_value("a claim")


def downloaded(page: Page, name: str, folder: Path) -> Path:
    with page.expect_download() as caught:
        page.locator(f"[class*='st-key-download_{name.replace('.', '-')}'] button").first.click()
    path = folder / name
    caught.value.save_as(path)
    return path


def test_a_report_opens_offline_without_a_request_and_its_change_is_found(visit, tmp_path, playwright) -> None:
    page = kept_on_attention(visit, ATTACK)
    run_all(page)
    name = re.search(r"finding=(\w+)", page.url)[1]  # type: ignore[index]
    visit(f"/findings?{NANO}&finding={name}&steps={name}", wait_for=".st-key-finding_detail")
    assert page.locator(".st-key-finding_detail img, .st-key-finding_detail script").count() == 0
    html, record = downloaded(page, "report.html", tmp_path), downloaded(page, "report.json", tmp_path)

    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    context = browser.new_context(offline=True)
    offline, asked, troubles = context.new_page(), [], []
    offline.on("request", lambda request: asked.append(request.url))
    offline.on("pageerror", lambda error: troubles.append(str(error)))
    offline.on("dialog", lambda dialog: troubles.append(dialog.message))
    offline.goto(html.as_uri())
    offline.wait_for_selector(".plot .main-svg")
    expect(offline.locator("body")).to_contain_text(ATTACK)
    expect(offline.locator("body")).to_contain_text("Rung 4 of 5")
    assert asked == [html.as_uri()] and troubles == []
    assert offline.locator("img[src=x]").count() == 0
    browser.close()

    upload = page.locator(".st-key-report_file input")
    upload.set_input_files(record)
    expect(page.locator("body")).to_contain_text("Its hash chain is whole")
    changed = json.loads(record.read_text())
    changed["entries"][0]["finding"]["checks"][2]["numbers"]["mean"] = 9.0
    (tmp_path / "changed.json").write_text(json.dumps(changed))
    upload.set_input_files(tmp_path / "changed.json")
    expect(page.locator("body")).to_contain_text("altered after it was written")
    page.locator(".st-key-replay_start button").first.click()
    expect(page.locator("body")).to_contain_text(re.compile(r"numbers agree\."), timeout=120_000)
    agree, total = map(
        int, re.search(r"(\d+) of (\d+) numbers agree\.", page.locator("body").inner_text().replace(",", "")).groups()
    )  # type: ignore[union-attr]
    assert 0 < agree < total
    (tmp_path / "bad.json").write_text("{}")
    upload.set_input_files(tmp_path / "bad.json")
    expect(page.locator("body")).to_contain_text("This file is no report of Circuit Explorer")


def test_present_by_keys_live_and_through_a_read_only_link(visit, fresh, url) -> None:
    page = kept_on_attention(visit, "first step of a talk", "talk")
    first = re.search(r"finding=(\w+)", page.url)[1]  # type: ignore[index]
    page = kept_on_attention(visit, "second step of a talk", "talk")
    second = re.search(r"finding=(\w+)", page.url)[1]  # type: ignore[index]
    visit(f"/present?{NANO}&steps={first},{second}", wait_for=".ce-claim")
    claim = page.locator(".ce-claim")
    expect(claim).to_have_text("first step of a talk")
    assert float(claim.evaluate("node => parseFloat(getComputedStyle(node).fontSize)")) >= 28
    page.keyboard.press("ArrowRight")
    expect(claim).to_have_text("second step of a talk")
    page.keyboard.press("ArrowLeft")
    expect(claim).to_have_text("first step of a talk")
    settle(page)
    page.locator(f".st-key-present_{first}_start button").first.click()
    expect(page.locator("body")).to_contain_text("come out as they were kept", timeout=60_000)
    assert "DIFFERS" not in page.locator("body").inner_text()

    visit(f"/findings?{NANO}&steps={first},{second}", wait_for=".st-key-share_panel")
    page.locator(".st-key-share_panel button").first.click()
    page.locator(".st-key-make_share button").click()
    link = page.locator("code", has_text="share=").inner_text().strip()
    guest = fresh(link, wait_for=".ce-claim")
    expect(guest.locator(".ce-claim")).to_have_text("first step of a talk")
    guest.keyboard.press("ArrowRight")
    expect(guest.locator(".ce-claim")).to_have_text("second step of a talk")
    for gone in (
        ".st-key-keep",
        ".st-key-effect",
        "[data-testid=stSidebarNav]",
        f".st-key-present_{second}_start",
        ".st-key-present_open",
    ):
        assert guest.locator(gone).count() == 0
    secret = link.split("share=")[1]
    guest.goto(f"{url}/attention?share={secret}")
    guest.wait_for_selector(".ce-claim")
    assert guest.locator("canvas").count() == 0
    page.locator("[class*='st-key-withdraw_'] button").first.click()
    settle(page)
    guest.goto(link)
    expect(guest.locator("body")).to_contain_text("This link was withdrawn")


def test_an_app_for_others_asks_for_the_token(tmp_path, browser) -> None:
    def fresh(address: str, wait_for: str) -> Page:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector(wait_for)
        return page

    log, environment = tmp_path / "log.txt", {"CIRCUIT_EXPLORER_DATA": str(tmp_path / "data")}
    with server(log, environment, "--host", "0.0.0.0", "--model", "small-world-nano") as (address, _):
        token = re.search(r"shown this once: (\S+)", log.read_text())[1]  # type: ignore[index]
        assert len(token) >= 40 and token not in (tmp_path / "data" / "access.json").read_text()
        page = fresh(f"{address}/attention?{NANO}", wait_for=".st-key-access_token")
        assert page.locator(".st-key-effect, [data-testid=stSidebarNav]").count() == 0
        page.locator(".st-key-access_token input").fill("wrong")
        page.get_by_role("button", name="Enter").click()
        expect(page.locator("body")).to_contain_text("This is not the token")
        page.locator(".st-key-access_token input").fill(token)
        page.get_by_role("button", name="Enter").click()
        page.wait_for_selector(".st-key-effect")
        page.wait_for_timeout(800)
        page.reload()
        page.wait_for_selector(".st-key-effect")  # this browser is remembered
    log.write_text("")
    with server(log, environment, "--host", "0.0.0.0", "--model", "small-world-nano") as (address, _):
        assert (
            "shown this once" not in log.read_text()
            and "Other machines need the access token made on" in log.read_text()
        )
        stranger = fresh(f"{address}/?share=wrong", wait_for="[data-testid=stAlert]")
        expect(stranger.locator("body")).to_contain_text("never was one")
        assert stranger.locator(".st-key-effect").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 1920])
def test_pages_of_findings_fit_their_window(visit, fresh, url, scheme, width) -> None:
    made = kept_on_attention(visit, f"a claim that is long enough to be wrapped, seen at {width} in {scheme}")
    run_all(made)
    name = re.search(r"finding=(\w+)", made.url)[1]  # type: ignore[index]
    options = {"viewport": {"width": width, "height": 1100}, "color_scheme": scheme}
    for path, wait in ((f"findings?finding={name}&steps={name}", ".st-key-finding_detail"), (f"present?steps={name}", ".ce-claim"), ("learn?", ".st-key-lesson_file, .st-key-begin_1-attention")):  # fmt: skip
        page = fresh(f"{url}/{path}&{NANO}", wait_for=wait, **options)
        page.wait_for_timeout(500)
        assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
