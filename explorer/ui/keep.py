"""Keep: what a page shows, with its numbers and all that is needed to compute them again, under a claim in the user's words."""

from dataclasses import dataclass

import streamlit as st

from explorer.circuits.packing import pack
from explorer.core.errors import ExplorerError, FindingError
from explorer.core.places import parse_places
from explorer.core.sites import Edge
from explorer.findings.finding import LONGEST_CLAIM, Finding, Recipe
from explorer.models.zoo.world import TASKS
from explorer.resources import pages_directory
from explorer.ui import session
from explorer.ui.desk import Desk
from explorer.ui.findings_store import STORE
from explorer.ui.html import say
from explorer.ui.lesson_panel import lesson_tag
from explorer.ui.measures import circuit_on_screen, circuit_recipe, page_measured

NO_TASK, KEPT = "none", "_kept_finding"


@dataclass(frozen=True)
class About:
    """What a page's claim is about, as far as the page says."""

    places: tuple[str, ...] = ()
    circuit: str = ""
    recipe: Recipe | None = None
    words: str = ""


def keep_button(title: str, desk: Desk) -> None:
    st.button(
        "Keep as finding",
        key="keep",
        icon=":material/bookmark_add:",
        help="Keep this view with its numbers, and all that is needed to compute them again, under a claim in your words.",
        **session.calling(open_form),
    )
    if st.session_state.get(KEPT) and st.button("Kept: open it in Findings", key="open_kept", icon=":material/check:"):
        st.switch_page(pages_directory() / "findings.py")
    if st.session_state.pop("_keep_open", False):
        keep_form(title, desk)


def open_form() -> None:
    st.session_state["_keep_open"], st.session_state[KEPT] = True, ""


def about_page(title: str, desk: Desk) -> About:
    """A page's claim is about its head, its patched place, its component, its circuit, or what the stack changes."""
    bench = desk.bench
    if title == "Circuits":
        shown = circuit_on_screen(desk)
        if shown is None or not shown.circuit.n_edges:
            return About()
        return About(
            (), pack(shown.circuit), circuit_recipe(desk), f"the circuit on screen, {shown.circuit.n_edges:,} edges"
        )
    own = {
        "Attention": str(bench.head),
        "Patching": bench.place,
        "Attribution": bench.component,
        "Features": bench.feature,
    }.get(title, "")
    changed = tuple(str(entry.site) for entry in bench.entries if entry.enabled and not isinstance(entry.site, Edge))
    return About((own,) if own else tuple(dict.fromkeys(changed)))


@st.dialog("Keep as finding", width="medium")
def keep_form(title: str, desk: Desk) -> None:
    try:
        about = about_page(title, desk)
    except ExplorerError as error:
        st.error(str(error), icon=":material/error:")
        return
    with st.form("keep_form", border=False):
        claim = st.text_area("Claim: what did you find?", key="keep_claim", max_chars=LONGEST_CLAIM, placeholder="For example: L23H3 writes the right name.")  # fmt: skip
        question = st.text_input("Question it answers (optional)", key="keep_question", max_chars=LONGEST_CLAIM)
        if about.circuit:
            say(about.words, "About:")
        places = "" if about.circuit else st.text_input("About which components", ", ".join(about.places), key="keep_places", help="Names such as L23H3 or L5.mlp_out@13, parted by commas; the checks change these together. Leave it empty for an observation.")  # fmt: skip
        tasks = [NO_TASK, *TASKS]
        task = st.selectbox("Pairs for the checks", tasks, index=tasks.index(desk.bench.task), key="keep_task", help="The task whose contrast pairs the checks run on; none for an observation.")  # fmt: skip
        tags = st.text_input("Tags, parted by commas (optional)", key="keep_tags")
        say(
            f"Kept with it: the model's weight hash, prompts, interventions, versions, and the numbers of {title} as it stands."
        )
        if st.form_submit_button("Keep", type="primary", icon=":material/bookmark_add:"):
            keep_it(title, desk, about, claim, question, places, task, tags)


def keep_it(title: str, desk: Desk, about: About, claim: str, question: str, places: str, task: str, tags: str) -> None:
    """Measure what is on screen and keep it; a message in the form where that cannot be done."""
    try:
        if not claim.strip():
            raise FindingError("Write what you found, in a sentence. Nothing was kept yet.")
        named = tuple(map(str, parse_places(places)))
        with st.spinner("Measuring what is on screen"):
            views = tuple(page_measured(desk, title))
            info = desk.model.info
            kept = STORE.add(
                Finding(
                    claim, info.key, info.weight_hash, info.dtype, question=question, view=title, address=session.address(),
                    places=named, circuit=about.circuit, recipe=about.recipe, task="" if task == NO_TASK else task,
                    tags=(*tags.split(","), *([lesson_tag()] if desk.bench.lesson else [])), views=views,
                )
            )  # fmt: skip
    except ExplorerError as error:
        st.error("This was not kept.", icon=":material/error:")
        st.text(str(error))
        return
    session.update(finding=kept.id)
    st.session_state[KEPT] = kept.id
    st.rerun()
