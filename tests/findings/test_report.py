"""Reports: what was altered is found and named, every number comes out again, no text becomes markup, nothing is fetched."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from explorer.cli import main
from explorer.core.errors import FindingError, ReportError
from explorer.findings.audit import audit
from explorer.findings.blocks import Code, Figure, Heading, Items, Text, to_html, to_markdown
from explorer.findings.files import report_files
from explorer.findings.finding import GOALS
from explorer.findings.replay import replay
from explorer.findings.report import Report, canonical, linked, read_report, to_json

ROOT = Path(__file__).parents[2]
ATTACKS = (
    "<script>alert(1)</script>", "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><svg/onload=alert(1)>', "'-alert(1)-'",
    "{{7*7}}", "${alert(1)}", "javascript:alert(1)", "]]><script>", "<!--<script>", "\u2028</script>", "[x](javascript:alert(1))", "![x](http://example.org/x.png)",
)  # fmt: skip


@pytest.fixture
def report(checked) -> Report:
    return Report(
        "A title",
        (checked, replace(checked, claim="The same again", checks=())),
        "A question?",
        "audit",
        "2026-01-01 00:00:00",
    )


def read(record) -> Report:
    return read_report(json.dumps(record).encode())


@pytest.mark.unit
def test_a_report_comes_back_whole(report) -> None:
    again = read(to_json(report))
    assert again.problems == () and again.title == report.title and again.kind == "audit"
    assert [each.claim for each in again.findings] == [each.claim for each in report.findings]
    assert json.loads(json.dumps(to_json(again))) == json.loads(json.dumps(to_json(report)))


@pytest.mark.unit
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda record: record["entries"][0]["finding"]["views"][0]["numbers"].update({"kl": 0.5}),
            "Entry 1 .*was altered after",
        ),
        (
            lambda record: record["entries"][1]["finding"].update(claim="Another"),
            r"Entry 2 \(Another\) was altered after",
        ),
        (lambda record: record["entries"][0]["evidence"].update(rung=5), "Entry 1 .*was altered after"),
        (lambda record: record["entries"].pop(0), "altered, left out or moved|head of the report"),
        (lambda record: record["entries"].pop(), "at the end"),
        (lambda record: record["entries"].reverse(), "altered"),
        (lambda record: record.update(title="Another title"), "head of the report"),
        (lambda record: record.update(made="2020-01-01 00:00:00"), "head of the report"),
    ],
)
def test_every_change_is_found(report, change, words) -> None:
    record = json.loads(json.dumps(to_json(report)))
    change(record)
    problems = read(record).problems
    assert problems and re.search(words, " ".join(problems))


@pytest.mark.unit
def test_a_rung_that_does_not_follow_from_its_numbers_is_found_even_with_right_hashes(report) -> None:
    record = json.loads(json.dumps(to_json(report)))
    record["entries"][1]["evidence"]["rung"] = 5
    chain = record["entries"][1]["previous"]
    record["entries"][1]["hash"] = linked(chain, {key: record["entries"][1][key] for key in ("finding", "evidence")})
    record["hash"] = record["entries"][1]["hash"]
    assert "does not follow from their numbers" in read(record).problems[0]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no json", "no JSON"),
        (b"[]", "no report"),
        (b"{}", "no report"),
        (b'{"format": "circuit-explorer report", "version": 2}', "version 2; this program reads version 1. Update"),
        (b'{"format": "circuit-explorer report", "version": 1}', "cannot be read"),
        (b"[" * 100_000, "no JSON"),
        (b'{"format": "circuit-explorer report", "version": 1, "entries": [1]}', "cannot be read"),
    ],
)
def test_files_that_are_no_reports_are_refused(content, words) -> None:
    with pytest.raises(ReportError, match=words):
        read_report(content)


@pytest.mark.unit
@pytest.mark.parametrize("attack", ATTACKS)
def test_text_from_users_and_prompts_stays_text(plain, attack) -> None:
    hostile = replace(
        plain, claim=attack, question=attack, notes=attack, tags=(attack,), task=attack,
        views=tuple(replace(each, measure=replace(each.measure, title=attack), provenance=each.provenance | {"prompts": [attack], "interventions": [attack]}) for each in plain.views),
    )  # fmt: skip
    files = report_files(Report(attack, (hostile,), attack, "audit", "2026-01-01 00:00:00"))
    page = files["report.html"]
    body = re.sub(r"<script>.*?</script>|<style>.*?</style>", "", page, flags=re.S)
    outside = re.sub(r'<script type="application/json"[^>]*>[^<]*</script>', "", body)
    assert (
        "<script" not in outside
        and "<img" not in outside
        and "<svg" not in outside
        and "onerror=alert(1)>" not in outside
    )
    assert len(re.findall("</script", page)) == len(re.findall("<script", page))
    assert "default-src 'none'" in page and not re.search(r'(src|href)\s*=\s*["\']?http', outside)
    markdown = files["report.md"]
    assert "<script" not in re.sub(r"\\.", "", markdown) and "](" not in re.sub(r"\\.", "", markdown)


@pytest.mark.unit
def test_blocks_escape_in_both_renderers() -> None:
    blocks = [
        Heading(1, "<b>*x*"),
        Text("`a` | b"),
        Items(["# no heading"]),
        Code("``` <i>"),
        Figure('{"data": [{"name": "</script>"}], "layout": {}}', "c"),
    ]
    page = to_html("<title>", blocks)
    assert "&lt;b&gt;*x*" in page and "<title>&lt;title&gt;</title>" in page and "\\u003c/script\\u003e" in page
    markdown = to_markdown(blocks)
    assert (
        r"\<b\>\*x\*" in markdown
        and r"\`a\` \| b" in markdown
        and r"- \# no heading" in markdown
        and "````" in markdown
    )


@pytest.mark.unit
def test_words_say_rungs_failures_limits_and_goals(report) -> None:
    files = report_files(report)
    for needed in ("Rung 4 of 5, generalises", "Limits", "Provenance", "circuit-explorer replay", "Failed checks", "95", "matched random controls", *GOALS):  # fmt: skip
        assert needed in files["report.html"], needed
    assert set(files) == {"report.json", "report.html", "report.md", "notebook.ipynb"}
    assert report.findings[0].weight_hash in files["report.md"].replace("\\", "")


@pytest.mark.unit
def test_the_chain_is_over_canonical_json() -> None:
    assert canonical({"b": 1, "a": "é"}) == '{"a":"é","b":1}'.encode()
    with pytest.raises(ValueError, match="JSON"):
        canonical(float("nan"))


def cli(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The command line in a process of its own, as a user runs it (and without this suite's checks of every call's types)."""
    known = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **environment}
    return subprocess.run([sys.executable, "-m", "explorer.cli", *arguments], env=known, capture_output=True, text=True, check=False)  # fmt: skip


@pytest.mark.reference
@pytest.mark.slow
def test_an_audit_replays_and_one_number_changed_by_hand_is_named(tmp_path) -> None:
    assert cli("audit", "small-world-nano", "--suite", "quick", "--out", str(tmp_path)).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "report.json", "report.md", "notebook.ipynb"}
    path = tmp_path / "report.json"
    replayed = cli("replay", str(path), "--json", str(tmp_path / "rows.json"))
    assert replayed.returncode == 0 and "0 differ, 0 could not be run" in replayed.stdout
    rows = json.loads((tmp_path / "rows.json").read_text())["numbers"]
    assert len(rows) > 60 and all(row["agrees"] for row in rows)
    record = json.loads(path.read_text())
    finding = next(entry["finding"] for entry in record["entries"] if entry["finding"]["checks"])
    finding["checks"][1]["numbers"]["mean"] += 0.01
    path.write_text(json.dumps(record))
    changed = cli("replay", str(path))
    assert changed.returncode == 1 and "ALTERED" in changed.stdout
    assert "was altered after the report was written" in changed.stdout
    differing = [line for line in changed.stdout.splitlines() if line.startswith("DIFFER")]
    assert len(differing) == 1 and finding["checks"][1]["title"] in differing[0] and "· mean:" in differing[0]


@pytest.mark.reference
@pytest.mark.slow
def test_the_full_suite_runs_every_check(tmp_path) -> None:
    assert cli("audit", "small-world-nano", "--suite", "full", "--out", str(tmp_path)).returncode == 0
    found = read_report((tmp_path / "report.json").read_bytes())
    circuit = next(each for each in found.findings if each.circuit)
    assert len(circuit.checks) == 8 and len(found.findings[0].views) >= 20
    heads = [each for each in found.findings if "scores highest" in each.claim]
    assert heads and all("Causal check" in each.notes for each in heads)


@pytest.mark.reference
def test_what_is_missing_is_said_with_what_to_do(plain, nano) -> None:
    def nowhere(source: str, dtype: str):
        from explorer.core.errors import ModelNotFoundError

        raise ModelNotFoundError("There is no model by that name. Try: circuit-explorer models")

    rows = list(replay((plain,), nowhere))
    assert len(rows) == 1 and not rows[0].agrees and "circuit-explorer models" in rows[0].problem
    other = list(replay((replace(plain, weight_hash="f" * 64),), lambda source, dtype: nano))
    assert len(other) == 1 and "other weights here" in other[0].problem
    unknown = replace(
        plain, views=(replace(plain.views[0], measure=replace(plain.views[0].measure, function="of_a_newer_version")),)
    )
    assert "may come from a newer one" in next(iter(replay((unknown,), lambda source, dtype: nano))).problem


@pytest.mark.slow
@pytest.mark.reference
def test_errors_of_the_command_line_are_sentences(tmp_path, capsys) -> None:
    (tmp_path / "file").write_text("x")
    assert main(["audit", "small-world-nano", "--out", str(tmp_path / "file" / "below")]) == 1
    assert main(["audit", "small-world-nano", "--out", str(tmp_path / "a"), "--task", "nonsense"]) == 1
    assert main(["replay", str(tmp_path / "missing.json")]) == 1
    assert main(["replay", str(tmp_path / "file")]) == 1
    assert main(["report", "no-such", "--out", str(tmp_path / "b")]) == 1
    errors = capsys.readouterr().err.splitlines()
    lines = [line for line in errors if line.startswith("circuit-explorer:")]
    assert len(lines) == 5 and "Traceback" not in " ".join(errors)


@pytest.mark.reference
@pytest.mark.slow
def test_a_kept_finding_replays_after_a_restart(tmp_path, checked) -> None:
    """Kept by this process, reported and replayed by others."""
    from explorer.findings.store import FindingStore

    url = f"sqlite:///{tmp_path / 'findings.sqlite'}"
    kept = FindingStore(url).add(checked)
    assert cli("report", kept.id, "--out", str(tmp_path), "--goals", CIRCUIT_EXPLORER_DB=url).returncode == 0
    done = cli("replay", str(tmp_path / "report.json"), "--all")
    assert done.returncode == 0 and "0 differ" in done.stdout, done.stdout[-800:] + done.stderr[-800:]


@pytest.mark.reference
@pytest.mark.slow
def test_the_notebook_of_a_report_runs_again(tmp_path, checked) -> None:
    from tests.findings.test_notebook import run_cells

    text = report_files(Report("t", (checked,), made="2026-01-01 00:00:00"))["notebook.ipynb"]
    done = run_cells(text, tmp_path)
    assert done.returncode == 0, done.stderr[-1500:]
    assert done.stdout.count("on screen") >= 30


@pytest.mark.slow
@pytest.mark.unit
def test_an_audit_of_a_model_that_can_do_nothing_says_so(tiny_models) -> None:
    with pytest.raises(FindingError, match="no behaviour to explain"):
        audit(tiny_models["gpt2"], "quick")
