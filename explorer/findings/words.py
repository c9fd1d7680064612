"""A report in words: blocks for HTML and Markdown."""

import math
from collections.abc import Sequence
from typing import Any

from explorer.core.provenance import versions
from explorer.core.terms import TERMS
from explorer.findings.blocks import Block, Code, Figure, Heading, Items, More, Table, Text
from explorer.findings.finding import GOALS, Finding, Measured
from explorer.findings.ladder import (
    MEANING,
    RUNG_OF,
    RUNGS,
    checks_of,
    direction_words,
    failures,
    limits,
    rung,
    verdict,
)
from explorer.findings.report import Report, headline
from explorer.prompts.tokens import visible

MOST_NUMBERS, OPEN_NUMBERS = 60, 60
SHOWN_PROMPTS = 8


def blocks_of(report: Report, digest: str) -> list[Block]:
    """Question, summary, each finding with its numbers, failed checks, limits and provenance, and how to check it all."""
    made = report.made
    blocks: list[Block] = [Heading(1, report.title)]
    if report.question:
        blocks.append(Text(f"Question: {report.question}"))
    blocks.append(Text(f"{len(report.findings)} findings · written {made} UTC by Circuit Explorer {versions()['circuit-explorer']} · SHA-256 {digest}", "quiet"))  # fmt: skip
    rows = [
        [finding.claim, finding.model, headline(finding), ", ".join(failures(finding)) or "none"]
        for finding in report.findings
    ]
    blocks += [Heading(2, "Summary"), Table(["claim", "model", "evidence", "failed checks"], rows), *ladder_blocks()]
    if report.kind == "audit":
        blocks += goals_blocks(report.findings)
    for number, finding in enumerate(report.findings, 1):
        blocks += finding_blocks(finding, number)
    blocks += [Heading(2, "How to check this report"), *replay_blocks()]
    return blocks


def ladder_blocks() -> list[Block]:
    rows = [
        [
            str(number),
            name,
            "; ".join(f"{check}: {MEANING[check]}" for check in MEANING if RUNG_OF[check] == number)
            or "a view shows it",
        ]
        for number, name in enumerate(RUNGS)
    ]
    return [More("What the rungs of evidence mean", [Table(["rung", "name", "what has to pass"], rows)])]


def goals_blocks(findings: Sequence[Finding]) -> list[Block]:
    """Which findings speak to which goal of an audit, how far, and what is not shown."""
    rows = []
    for goal, meaning in GOALS.items():
        own = [finding for finding in findings if goal in finding.goals]
        shown = "; ".join(f"{finding.claim} (rung {rung(finding)})" for finding in own) or "No finding speaks to it."
        rows.append([goal, meaning, shown, not_shown(goal, own)])
    return [Heading(2, "Goals of the audit"), Table(["goal", "question", "what is shown", "what is not shown"], rows)]


def not_shown(goal: str, own: Sequence[Finding]) -> str:
    causal = [finding for finding in own if rung(finding) >= 3]
    if not own:
        return "Everything."
    words = "" if causal else "No cause: no finding passed an intervention with its control. "
    match goal:
        case "certification":
            return words + "No guarantee: samples of prompts do not bound other inputs."
        case "mitigation":
            return words + "Side effects on unrelated text."
        case "compliance":
            return words + "Inputs other than the tasks' templates."
        case "accountability":
            return words + "Routes that no check touched; components below rung 3."
    return words + "Numbers of other machines: replay them there."


def finding_blocks(finding: Finding, number: int) -> list[Block]:
    blocks: list[Block] = [Heading(2, f"{number}. {finding.claim}")]
    if finding.question:
        blocks.append(Text(f"Question: {finding.question}"))
    blocks.append(Text(" ".join(part for part in (headline(finding) + ".", direction_words(finding)) if part), "good" if rung(finding) >= 3 else "quiet"))  # fmt: skip
    about = ", ".join(finding.places) or ("a circuit" if finding.circuit else "")
    if about:
        blocks.append(Text(f"About: {about}.", "quiet"))
    if finding.notes:
        blocks.append(Text(finding.notes))
    blocks.append(Text(method_words(finding), "quiet"))
    if checks_of(finding):
        blocks += [Heading(3, "Checks"), check_table(finding)]
        failed = [f"{name}: {sentence}" for name, sentence in failures(finding).items()]
        blocks += [Text("Failed checks", "bad"), Items(failed, "bad")] if failed else []
    blocks += numbers_blocks(finding)
    blocks += [Heading(3, "Limits"), Items(limits(finding))]
    blocks.append(provenance_block(finding))
    return blocks


def method_words(finding: Finding) -> str:
    """What was run, and on what."""
    parts = [f"{each.measure.title} (explorer.{each.measure.function})" for each in finding.views]
    if finding.checks:
        seeds = sorted(
            {str(each.measure.arguments["seed"]) for each in finding.checks if "seed" in each.measure.arguments}
        )
        parts.append(
            f"checks on pairs of {finding.task} that the model gets right, seed {', '.join(seeds)}, without interventions"
        )
    return f"Method: {'; '.join(parts) or 'words alone'}."


def check_table(finding: Finding) -> Table:
    rows = []
    for name in checks_of(finding):
        found = finding.check(name)
        if found is None:
            rows.append([name, "not run", MEANING[name]])
        else:
            judged = verdict(found, finding)
            rows.append([name, "passed" if judged.passed else "FAILED", judged.sentence])
    return Table(["check", "outcome", "numbers"], rows)


def numbers_blocks(finding: Finding) -> list[Block]:
    """Figures; the numbers of views in the open where they are few; those of checks, which the table above has in words, folded away."""
    blocks: list[Block] = []
    for measured in finding.measured:
        if measured.figure:
            blocks += [Heading(3, measured.measure.title), Figure(measured.figure, made_words(measured))]
    views, checks = rows_of(finding.views), rows_of(finding.checks)
    head = ["measure", "number", "value"]
    if views:
        table = Table(head, views)
        blocks += (
            [Heading(3, "Numbers"), table] if len(views) <= OPEN_NUMBERS else [More(f"{len(views)} numbers", [table])]
        )
    if checks:
        blocks.append(More("Numbers of the checks", [Table(head, checks)]))
    return blocks


def rows_of(group: Sequence[Measured]) -> list[list[str]]:
    return [
        [each.measure.title, path, number_words(value)]
        for each in group
        for path, value in list(each.numbers.items())[:MOST_NUMBERS]
    ]


def made_words(measured: Measured) -> str:
    return f"Made by explorer.{measured.measure.function}; {measured.made} UTC, {measured.seconds:.1f} s."


def number_words(value: float | None) -> str:
    if value is None:
        return "not defined"
    return f"{value:,.0f}" if value == math.floor(value) and abs(value) < 1e15 else f"{value:.6g}"


def provenance_block(finding: Finding) -> More:
    rows: list[list[str]] = [["model", finding.model], ["weights, SHA-256", finding.weight_hash], ["precision", finding.dtype], ["task", finding.task], ["kept", f"{finding.made} UTC"]]  # fmt: skip
    inside: list[Block] = [Table(["what", "value"], rows)]
    for measured in finding.measured:
        inside += one_provenance(measured)
    return More("Provenance", inside)


def one_provenance(measured: Measured) -> list[Block]:
    found: dict[str, Any] = measured.provenance
    prompts = [visible(str(text)) for text in found.get("prompts", ())]
    more = [f"… and {len(prompts) - SHOWN_PROMPTS} more, in report.json"] if len(prompts) > SHOWN_PROMPTS else []
    stack = [intervention_words(item) for item in found.get("interventions", ())]
    packages = ", ".join(f"{name} {version}" for name, version in dict(found.get("versions", {})).items())
    return [
        Text(measured.measure.title),
        Items([*(f"prompt: {text}" for text in prompts[:SHOWN_PROMPTS]), *more]),
        Items([f"interventions: {', '.join(stack) or 'none'}", f"seed: {found.get('seed')}", f"backend: {found.get('backend')}, self-check {found.get('self_check')}", packages], "quiet"),
    ]  # fmt: skip


def intervention_words(record: Any) -> str:
    if not isinstance(record, dict):
        return str(record)
    kind = record.get("type", "")
    return f"{kind}({', '.join(f'{name}={intervention_words(value)}' for name, value in record.items() if name != 'type')})"[
        :300
    ]


def replay_blocks() -> list[Block]:
    return [
        Text("Every number above can be computed again from report.json, on any machine with the model:"),
        Code("circuit-explorer replay report.json"),
        Text("It prints agree or differ for each number, with its tolerance, and ends with exit status 0 only if all agree and nothing in the file was altered."),
        More("Terms", [Items([f"{name}: {meaning}" for name, meaning in TERMS.items() if name in ("logit difference", "normalised effect", "faithfulness", "completeness", "selectivity")])]),
    ]  # fmt: skip
