"""The frame of every page: workbench, model, tokens and stack, with the intervention strip in the sidebar."""

from dataclasses import dataclass

import streamlit as st

from explorer.analyses.leave_one_out import leave_one_out
from explorer.analyses.prediction import Prediction, prediction
from explorer.core.errors import AnswerError, ExplorerError, PromptError
from explorer.core.sites import Kind
from explorer.engine.interventions import Intervention, OnlyEdges
from explorer.engine.model import Model
from explorer.prompts.tokens import Tokens
from explorer.ui import circuit_state, history, lesson_place, models, session, strip
from explorer.ui.state import Entry, Side, Workbench

RUN_ONCE_UP_TO = 128
"""Tokens up to which all activations of a page are kept from its first run; longer prompts have what they ask for checked."""
EFFECTS_UP_TO = 8
"""Entries whose own effects are measured at every click: one run each."""


@dataclass(frozen=True)
class Desk:
    """What a page needs to draw itself."""

    bench: Workbench
    model: Model
    tokens: Tokens
    """Of the prompt that the pages show."""
    stack: tuple[Intervention, ...]
    """The interventions that are on, fit the model, and act on that prompt."""
    position: int
    """Position whose next token is read."""
    answer: str
    """The answer, if it is one token; else empty."""
    distractor: str
    prediction: Prediction

    @property
    def changed(self) -> bool:
        """Whether any intervention is at work."""
        return bool(self.stack)


def open_page(title: str) -> Workbench:
    """Title, the address's remarks, and the workbench, mirrored in the address."""
    bench = session.bench()
    session.write_address()
    lesson_place.reserve(bench)
    st.header(title, anchor=False)
    if notes := st.session_state[session.NOTES]:
        with st.container(border=True, key="address_notes"):
            st.warning(
                "Parts of the address could not be read and were left out; the rest is in place.",
                icon=":material/link_off:",
            )
            for note in notes[:12]:
                st.text(f"• {note}")
            st.button("Dismiss", key="dismiss_notes", **session.calling(dismiss_notes))
    return bench


def dismiss_notes() -> None:
    st.session_state[session.NOTES] = []


def set_up(bench: Workbench, model: Model | None, keep: tuple[Kind, ...] = ()) -> Desk | None:
    """Fit the workbench to its model.  Draws the sidebar, and a message in place of what cannot be done.

    `keep` names the activations that the page will ask for, so that the prompt is run once.
    """
    if model is None:
        strip.draw(strip.Strip(bench))
        return None
    try:
        tokens = model.tokenize(bench.prompt, bench.bos)
    except PromptError as error:
        strip.draw(strip.Strip(bench))
        message("prompt_error", f"The {bench.side} prompt cannot be run.", error)
        return None
    problems, stack = fitted(bench, model, tokens, bench.side)
    alone = alone_of(bench, model)
    if isinstance(alone, OnlyEdges):
        stack = (*stack, alone)
    answer, distractor = checked_answers(bench, model)
    position = len(tokens) - 1 if bench.position is None else min(bench.position, len(tokens) - 1)
    try:
        if len(tokens) <= RUN_ONCE_UP_TO:
            model.activations(tokens, stack, keep)
        predicted = prediction(
            model, bench.prompt, stack, answer=answer, distractor=distractor, position=position, bos=bench.bos
        )
    except ExplorerError as error:
        strip.draw(strip.Strip(bench, problems, alone=str(alone)))
        message("run_error", "The prompt cannot be run under these interventions.", error)
        return None
    desk = Desk(bench, model, tokens, stack, position, answer, distractor, predicted)
    strip.draw(strip.Strip(bench, problems, predicted, own_effects(desk, problems), tokens.texts, str(alone)))
    history.note(bench, predicted)
    return desk


def alone_of(bench: Workbench, model: Model) -> OnlyEdges | str:
    """The circuit that runs alone, where the workbench says so; else why not, or nothing."""
    if bench.circuit_mode == "the model":
        return ""
    try:
        found = circuit_state.only_edges(bench, model, bench.side)
    except ExplorerError as error:
        return str(error)
    return "The circuit is not found yet: open the Circuits page." if found is None else found


def fitted(
    bench: Workbench, model: Model, tokens: Tokens, side: Side
) -> tuple[dict[Entry, str], tuple[Intervention, ...]]:
    """Why entries do not fit this model and prompt, and the interventions of those that are on and do."""
    acting = [entry for entry in bench.entries if entry.acts_on(side)]
    found = {entry: problem_with(entry, bench, model, tokens, side) for entry in acting}
    problems = {entry: problem for entry, problem in found.items() if problem is not None}
    stack = [entry.intervention(bench.pair, side) for entry in acting if entry.enabled and entry not in problems]
    return problems, tuple(stack)


def problem_with(entry: Entry, bench: Workbench, model: Model, tokens: Tokens, side: Side) -> str | None:
    """Why an entry does not fit this model and prompt; None if it does."""
    try:
        model.edits(tokens, (entry.intervention(bench.pair, side),))
    except ExplorerError as error:
        return str(error)
    return None


def own_effects(desk: Desk, problems: dict[Entry, str]) -> dict[int, float]:
    """What each line at work does to the objective: line number -> logits, with it minus without it."""
    lines = [
        number
        for number, entry in enumerate(desk.bench.entries)
        if entry.enabled and entry not in problems and entry.acts_on(desk.bench.side)
    ]
    alone = any(isinstance(item, OnlyEdges) for item in desk.stack)
    if alone or not desk.answer or not 1 <= len(lines) <= EFFECTS_UP_TO:
        return {}
    try:
        effects = leave_one_out(
            desk.model, desk.tokens.text, desk.stack, answer=desk.answer, distractor=desk.distractor,
            position=desk.position, bos=desk.bench.bos,
        )  # fmt: skip
    except ExplorerError:  # the stack runs, but not without one of its entries
        return {}
    return dict(zip(lines, effects, strict=True))


def checked_answers(bench: Workbench, model: Model) -> tuple[str, str]:
    """Answer and distractor where each is one token; a message in place for one that is not."""
    found = {"answer": bench.pair.answer, "distractor": bench.pair.distractor}
    for name, text in found.items():
        if not text:
            continue
        try:
            model.single_token(text)
        except AnswerError as error:
            message(f"{name}_error", f"The {name} is not used.", error)
            found[name] = ""
    return found["answer"], found["distractor"] if found["answer"] else ""


def message(key: str, heading: str, error: ExplorerError) -> None:
    """An error in place: a heading of ours, and the error's own words as plain text (they may quote the user)."""
    with st.container(key=key):
        st.error(heading, icon=":material/error:")
        st.text(str(error))


def load(bench: Workbench) -> Model | None:
    """The workbench's model, with progress or a message in place."""
    return models.model(bench.model)
