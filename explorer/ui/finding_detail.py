"""One finding: its claim and how far it is shown, checks passed and failed, the next one to run, numbers, figures, words to edit."""

import html
import json
from typing import Any

import streamlit as st

from explorer.core.errors import ConflictError, ExplorerError, FindingError
from explorer.core.places import parse_place
from explorer.findings.finding import GOALS, LONGEST_CLAIM, LONGEST_NOTES, Finding, Measured
from explorer.findings.ladder import RUNGS, direction_words, limits, rung, rung_state
from explorer.findings.report import headline
from explorer.findings.words import intervention_words, number_words
from explorer.models.zoo.world import TASKS
from explorer.resources import pages_directory
from explorer.ui import desk, session
from explorer.ui.finding_checks import checks_panel
from explorer.ui.findings_store import STORE
from explorer.ui.html import facts, grid, say
from explorer.ui.terms import help_for

SHOWN_PROMPTS = 6


def detail(name: str) -> None:
    try:
        finding = STORE.get(name)
    except ExplorerError as error:
        desk.message("finding_error", "This finding cannot be opened.", error)
        return
    with st.container(border=True, key="finding_detail"):
        st.html(f"<div style='font-size:1.25rem;font-weight:600;line-height:1.35'>{html.escape(finding.claim)}</div>")
        if finding.question:
            say(finding.question, "Question:")
        ladder(finding)
        say(f"{headline(finding)}. {direction_words(finding)}")
        say(", ".join(finding.places) or ("a circuit" if finding.circuit else "nothing in particular: an observation"), "About:")  # fmt: skip
        checks_panel(finding)
        numbers, words, origin = st.tabs(["Numbers and figures", "Words", "Provenance and limits"], on_change="rerun", key="finding_tabs")  # fmt: skip
        if numbers.open:
            with numbers:
                shown_measures(finding)
        if words.open:
            with words:
                edit_form(finding)
        if origin.open:
            with origin:
                provenance(finding)
        buttons(finding)


STATE_COLORS = {"passed": "#2b7fd4", "failed": "#e07b00", "open": "rgba(128,128,128,0.25)"}


def ladder(finding: Finding) -> None:
    """The rungs: blue where their own checks passed, orange where one failed; the rung that is reached in bold."""
    reached = rung(finding)
    cells = "".join(
        f"<div style='flex:1;text-align:center;font-size:0.75rem'><div style='height:7px;border-radius:4px;margin:0 2px 3px;"
        f"background:{STATE_COLORS[rung_state(finding, number)]}'></div>"
        f"<span style='opacity:{1 if number == reached else 0.6};font-weight:{600 if number == reached else 400}'>{name}</span></div>"
        for number, name in enumerate(RUNGS)
    )
    st.html(
        f"<div role='img' aria-label='rung {reached} of 5, {RUNGS[reached]}' style='display:flex;margin:4px 0'>{cells}</div>"
    )


def shown_measures(finding: Finding) -> None:
    for number, measured in enumerate(finding.measured):
        say(f"{measured.made} UTC, {measured.seconds:.1f} s", measured.measure.title)
        if measured.figure:
            st.plotly_chart(
                json.loads(measured.figure), key=f"figure_{finding.id}_{number}", config={"displaylogo": False}
            )
        rows = [[path, number_words(value)] for path, value in list(measured.numbers.items())[:40]]
        if rows:
            st.html(grid(["number", "value"], rows))


def edit_form(finding: Finding) -> None:
    with st.form(f"edit_{finding.id}_{finding.revision}", border=False):
        claim = st.text_area("Claim", finding.claim, max_chars=LONGEST_CLAIM)
        question = st.text_input("Question", finding.question, max_chars=LONGEST_CLAIM)
        notes = st.text_area("Notes", finding.notes, max_chars=LONGEST_NOTES)
        places = finding.places
        if not finding.circuit:
            typed = st.text_input("About which components", ", ".join(places), help="A change of these takes the checks away: they were of others.")  # fmt: skip
        tasks = ["", *TASKS]
        task = st.selectbox(
            "Pairs for the checks", tasks, index=tasks.index(finding.task) if finding.task in tasks else 0
        )
        tags = st.text_input("Tags, parted by commas", ", ".join(finding.tags))
        goals = st.multiselect(
            "Goals of an audit it speaks to",
            list(GOALS),
            list(finding.goals),
            format_func=lambda goal: f"{goal}: {GOALS[goal]}",
        )
        if st.form_submit_button("Save", icon=":material/save:"):
            changes: dict[str, Any] = {"claim": claim, "question": question, "notes": notes, "task": task, "tags": tuple(tags.split(",")), "goals": tuple(goals)}  # fmt: skip
            save_words(finding, changes, None if finding.circuit else typed)


def save_words(finding: Finding, changes: dict[str, Any], typed: str | None) -> None:
    from dataclasses import replace

    try:
        if typed is not None:
            changes["places"] = tuple(dict.fromkeys(str(parse_place(part.strip())) for part in typed.split(",") if part.strip()))  # fmt: skip
        moved = changes.get("places", finding.places) != finding.places
        STORE.save(replace(finding, **changes, checks=() if moved else finding.checks))
    except ConflictError as error:
        desk.message("conflict", "This was not saved.", error)
        say("What is stored now is shown when you press a button or load the page again; copy your words first.")
        return
    except ExplorerError as error:
        desk.message("save_error", "This was not saved.", error)
        return
    st.rerun()


def provenance(finding: Finding) -> None:
    say("What this does not show", "Limits")
    for line in limits(finding):
        st.text(f"• {line}")
    st.html(facts({"id": finding.id, "model": finding.model, "weights, SHA-256": finding.weight_hash, "precision": finding.dtype, "task": finding.task or "none", "kept": f"{finding.made} UTC", "changed": f"{finding.changed} UTC", "revision": str(finding.revision)}))  # fmt: skip
    for measured in finding.measured:
        origin(measured)


def origin(measured: Measured) -> None:
    found = measured.provenance
    prompts = list(found.get("prompts", ()))
    stack = ", ".join(intervention_words(item) for item in found.get("interventions", ())) or "none"
    packages = ", ".join(f"{name} {version}" for name, version in dict(found.get("versions", {})).items())
    rows = {"interventions": stack, "seed": str(found.get("seed")), "backend": f"{found.get('backend')}, self-check {found.get('self_check')}", "versions": packages}  # fmt: skip
    rows |= {f"prompt {number + 1}": text for number, text in enumerate(prompts[:SHOWN_PROMPTS])}
    if len(prompts) > SHOWN_PROMPTS:
        rows["prompts"] = f"{len(prompts)} in all; the report has them"
    say("", measured.measure.title)
    st.html(facts(rows))


def buttons(finding: Finding) -> None:
    with st.container(horizontal=True):
        if finding.address and st.button("Open this view", key="open_view", icon=":material/open_in_new:", help="The workbench as it was when this was kept; undo leads back."):  # fmt: skip
            open_view(finding)
        st.button("Delete", key="delete_finding", icon=":material/delete:", type="tertiary", **session.calling(delete, finding.id, finding.claim))  # fmt: skip
    st.caption("How far a claim is shown", help=help_for("evidence ladder"))


def open_view(finding: Finding) -> None:
    session.open_address(finding.address)
    session.update(finding=finding.id)
    st.switch_page(pages_directory() / f"{finding.view.lower()}.py")


def delete(name: str, claim: str) -> None:
    try:
        STORE.delete(name)
    except FindingError as error:
        desk.message("delete_error", "This was not deleted.", error)
        return
    st.session_state["_deleted_finding"] = name, claim
    session.update(finding="", steps=tuple(each for each in session.bench().steps if each != name))
