"""The open lesson on every page: the step to do, checked against the learner's own run, its questions, hints one by one."""

import math
from typing import Any

import streamlit as st

from explorer.core.errors import ExplorerError
from explorer.findings.finding import LONGEST_TAG
from explorer.lessons.lesson import Ask, Choose, Lesson, Step, own_lessons, shipped
from explorer.resources import pages_directory
from explorer.ui import lesson_place, session, shelf
from explorer.ui.html import plain_label, say
from explorer.ui.lesson_facts import Learner, fact, holds, in_words
from explorer.ui.state import Workbench

RIGHT, HINTS, TOLD, PRESSED = "_lesson_right", "_lesson_hints", "_lesson_told", "_lesson_pressed"


def learner_name() -> str:
    return " ".join(session.bench().learner.split()) or Workbench().learner


def lesson_tag() -> str:
    """What marks a finding as this learner's, where a lesson is open."""
    return f"lesson {learner_name()}".lower()[:LONGEST_TAG]


def lesson_of(key: str) -> Lesson | None:
    return shipped().get(key) or own_lessons()[0].get(key)


def lesson_panel(title: str, desk: Any) -> None:
    """Fill the place that the page kept, with the first step that is not done."""
    where, bench = lesson_place.place(), session.bench()
    if where is None or not bench.lesson:
        return
    with where, st.container(border=True, key="lesson_panel", gap="xsmall"):
        try:
            lesson = lesson_of(bench.lesson)
            if lesson is None:
                say(f"There is no lesson named {bench.lesson} on this machine.")
                close_button()
                return
            since = shelf.lesson_begun(learner_name(), lesson.key)
            draw(lesson, Learner(title, bench, desk, lesson_tag(), since))
        except ExplorerError as error:
            say(f"This step cannot be checked: {error}")


def draw(lesson: Lesson, learner: Learner) -> None:
    done = shelf.finished_steps(learner_name()).get(lesson.key, set())
    at = next((number for number in range(len(lesson.steps)) if number not in done), None)
    with st.container(horizontal=True, vertical_alignment="center"):
        say(f"{len(done)} of {len(lesson.steps)} steps done", lesson.title)
        st.space("stretch")
        close_button()
    st.progress(len(done) / len(lesson.steps))
    if at is None:
        st.success("Lesson done.", icon=":material/school:")
        if st.button("To the lessons", key="to_lessons", icon=":material/arrow_forward:"):
            st.switch_page(pages_directory() / "learn.py")
        return
    step = lesson.steps[at]
    st.markdown(f"**{at + 1}. {plain_label(step.title)}**")
    st.markdown(safe_markdown(step.text))
    if step.start:
        st.button("Set this up", key=f"lesson_start_{at}", icon=":material/play_arrow:", help="Model, prompts and choices of this step; your interventions are taken off.", **session.calling(set_up, lesson.key, step.start))  # fmt: skip
    checked = [holds(condition, learner) for condition in step.checks]
    for condition, good in zip(step.checks, checked, strict=True):
        say(in_words(condition) + ("" if good else ": not yet"), "✓" if good else "○")
    answered = [question(lesson, at, number, ask, all(checked), learner) for number, ask in enumerate(step.asks)]
    hints(lesson, at, step)
    if all(checked) and all(answered):
        shelf.finish_step(learner_name(), lesson.key, at)
        st.rerun()


def close_button() -> None:
    st.button(
        "Close the lesson", key="close_lesson", icon=":material/close:", type="tertiary", **session.calling(leave)
    )


def leave() -> None:
    session.update(lesson="")


def set_up(lesson: str, address: str) -> None:
    learner = learner_name()
    session.open_address(address)
    session.update(lesson=lesson, learner=learner)


def safe_markdown(text: str) -> str:
    """A lesson's words: Markdown without pictures, which a browser would fetch."""
    return text.replace("![", "!\\[")


def question(lesson: Lesson, step: int, number: int, ask: Ask | Choose, ready: bool, learner: Learner) -> bool:
    """Draw a question; whether it was answered right.

    A press is noted and judged when the page is drawn, so that a page that is drawn anew meanwhile does not lose it.
    """
    name = f"{lesson.key}_{step}_{number}"
    right: set[str] = st.session_state.setdefault(RIGHT, set())
    told: dict[str, str] = st.session_state.setdefault(TOLD, {})
    if name in right:
        say(ask.question, "✓")
        return True
    say(ask.question, "?")
    with st.container(horizontal=True, vertical_alignment="bottom", key=f"ask_{step}_{number}"):
        if isinstance(ask, Ask):
            given: Any = st.text_input(ask.question, key=f"answer_{name}", width=200, label_visibility="collapsed", placeholder="a number")  # fmt: skip
        else:
            given = st.radio(ask.question, ask.options, index=None, key=f"answer_{name}", format_func=plain_label, label_visibility="collapsed")  # fmt: skip
        st.button("Check", key=f"check_{name}", **session.calling(note_press, name))
    if st.session_state.get(PRESSED) == name:
        told[name] = judged(ask, given, ready, learner)
        st.session_state[PRESSED] = None
        if not told[name]:
            right.add(name)
            st.rerun()
    if told.get(name):
        say(told[name])
    return False


def note_press(name: str) -> None:
    st.session_state[PRESSED] = name


def judged(ask: Ask | Choose, given: Any, ready: bool, learner: Learner) -> str:
    """Why an answer does not count; empty where it is right."""
    if not ready:
        return "First do what stands above; the answer is read off your own run."
    if isinstance(ask, Choose):
        return (
            ""
            if given is not None and ask.options.index(given) == ask.right
            else "Not quite. Look again, or take a hint."
        )
    try:
        number = float(str(given).strip().replace("−", "-").replace(",", "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        return "Write a number, such as -1.5."
    value = fact(ask.fact, ask.rest, learner)
    if value is None:
        return "This page has no such number: go to the page that shows it."
    return (
        "" if abs(number - value) <= ask.tolerance else "That is not what your run gives. Look again, or take a hint."
    )


def hints(lesson: Lesson, at: int, step: Step) -> None:
    """One more at each press."""
    shown: dict[str, int] = st.session_state.setdefault(HINTS, {})
    name = f"{lesson.key}_{at}"
    for hint in step.hints[: shown.get(name, 0)]:
        say(hint, "Hint:")
    if shown.get(name, 0) < len(step.hints):
        st.button(f"Hint ({len(step.hints) - shown.get(name, 0)} left)", key="lesson_hint", type="tertiary", icon=":material/lightbulb:", **session.calling(one_more, name))  # fmt: skip


def one_more(name: str) -> None:
    shown: dict[str, int] = st.session_state[HINTS]
    shown[name] = shown.get(name, 0) + 1
