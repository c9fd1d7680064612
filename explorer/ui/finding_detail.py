"""One finding: its claim and how far it is shown, checks passed and failed, the next one to run, numbers, figures, words to edit."""

import html
import json
from dataclasses import replace
from typing import Any

import streamlit as st

from explorer.core.errors import ExplorerError, FindingError
from explorer.core.places import parse_places
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

SHOWN_PROMPTS = 6
EDITING, OVERWRITE = "_edited_words", "_overwrite_words"


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


def words_of(finding: Finding) -> dict[str, Any]:
    """What a user writes and chooses; checks and numbers are not among it."""
    return {name: getattr(finding, name) for name in ("claim", "question", "notes", "places", "task", "tags", "goals")}


def edit_form(finding: Finding) -> None:
    """The words as they were when the form was opened, so that what somebody else saves meanwhile is not overwritten unseen."""
    opened: dict[str, tuple[int, dict[str, Any]]] = st.session_state.setdefault(EDITING, {})
    turn, base = opened.setdefault(finding.id, (0, words_of(finding)))
    key = f"edit_{finding.id}_{turn}"
    with st.form(key, border=False):
        changes: dict[str, Any] = {
            "claim": st.text_area("Claim", base["claim"], max_chars=LONGEST_CLAIM, key=f"{key}_claim"),
            "question": st.text_input("Question", base["question"], max_chars=LONGEST_CLAIM, key=f"{key}_question"),
            "notes": st.text_area("Notes", base["notes"], max_chars=LONGEST_NOTES, key=f"{key}_notes"),
        }
        if not finding.circuit:
            changes["places"] = st.text_input("About which components", ", ".join(base["places"]), key=f"{key}_places", help="A change of these, or of the pairs, takes the checks away: they were of others.")  # fmt: skip
        tasks = ["", *TASKS]
        changes["task"] = st.selectbox("Pairs for the checks", tasks, index=tasks.index(base["task"]) if base["task"] in tasks else 0, key=f"{key}_task")  # fmt: skip
        changes["tags"] = st.text_input("Tags, parted by commas", ", ".join(base["tags"]), key=f"{key}_tags")
        changes["goals"] = st.multiselect("Goals of an audit it speaks to", list(GOALS), list(base["goals"]), format_func=lambda goal: f"{goal}: {GOALS[goal]}", key=f"{key}_goals")  # fmt: skip
        saved = st.form_submit_button("Save", icon=":material/save:")
    if saved or st.session_state.pop(OVERWRITE, False):
        save_words(finding, changes, base, overwrite=not saved)


def save_words(finding: Finding, changes: dict[str, Any], base: dict[str, Any], overwrite: bool) -> None:
    """Keep the words; where somebody else changed them, show theirs and ask."""
    wanted = changes | {"tags": tuple(changes["tags"].split(",")), "goals": tuple(changes["goals"])}
    try:
        if "places" in changes:
            wanted["places"] = tuple(map(str, parse_places(changes["places"])))
        if words_of(finding) != base and not overwrite:
            conflict(finding)
            return
        moved = any(wanted.get(name, getattr(finding, name)) != getattr(finding, name) for name in ("places", "task"))
        STORE.save(replace(finding, **wanted, checks=() if moved else finding.checks))
    except ExplorerError as error:
        desk.message("save_error", "This was not saved; your words are still above.", error)
        return
    reopen(finding.id)
    st.rerun()


def conflict(finding: Finding) -> None:
    with st.container(border=True, key="conflict"):
        st.error(
            "Somebody changed this finding meanwhile. Your words are still above, not saved.", icon=":material/group:"
        )
        theirs = {
            name: value if isinstance(value, str) else ", ".join(value) for name, value in words_of(finding).items()
        }
        st.html(facts({f"stored now: {name}": value for name, value in theirs.items() if value}))
        with st.container(horizontal=True):
            st.button("Save mine over it", key="save_over", **session.calling(overwrite))
            st.button("Take the stored one", key="take_theirs", **session.calling(reopen, finding.id))


def overwrite() -> None:
    st.session_state[OVERWRITE] = True


def reopen(name: str) -> None:
    """Forget the form's words: it opens with what is stored."""
    opened = st.session_state.get(EDITING, {})
    turn, _ = opened.get(name, (0, {}))
    try:
        opened[name] = turn + 1, words_of(STORE.get(name))
    except FindingError:
        opened.pop(name, None)


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
