"""The Learn page: lessons, how far a learner is in each, and lessons of one's own."""

import streamlit as st

from explorer.core.errors import ExplorerError
from explorer.lessons.lesson import Lesson, own_folder, own_lessons, read_lesson, shipped
from explorer.resources import pages_directory
from explorer.ui import desk, session, shelf
from explorer.ui.address import MAX_LEARNER
from explorer.ui.html import plain_label, say
from explorer.ui.lesson_panel import learner_name, safe_markdown, set_up

LARGEST = 200_000


def learn_page() -> None:
    try:
        st.text_input("Whose progress", max_chars=MAX_LEARNER, width=280, help="Progress is kept on this machine under this name.", **session.bound("learner", session.bench().learner))  # fmt: skip
        done = shelf.finished_steps(learner_name())
    except ExplorerError as error:
        desk.message("learn_error", "Progress cannot be read.", error)
        return
    own, problems = own_lessons()
    columns = st.columns(2, gap="medium")
    for number, lesson in enumerate([*shipped().values(), *own.values()]):
        with columns[number % 2]:
            card(lesson, len(done.get(lesson.key, ())))
    for file, problem in problems.items():
        say(problem, f"{file} cannot be read.")
    own_lesson_panel()


def card(lesson: Lesson, done: int) -> None:
    total = len(lesson.steps)
    with st.container(border=True, key=f"lesson_{lesson.key}"):
        st.markdown(f"**{plain_label(lesson.title)}**")
        st.markdown(safe_markdown(lesson.about))
        st.progress(min(1.0, done / total), f"{done} of {total} steps")
        with st.container(horizontal=True):
            word = "Start" if done == 0 else "Go on" if done < total else "Look again"
            if st.button(word, key=f"begin_{lesson.key}", type="primary" if done < total else "secondary"):
                begin(lesson, done)
            if done:
                st.button("Start over", key=f"over_{lesson.key}", type="tertiary", **session.calling(shelf.forget_lesson, learner_name(), lesson.key))  # fmt: skip


def begin(lesson: Lesson, done: int) -> None:
    """Open it on the Prompt page, set up for the step that is next."""
    shelf.begin_lesson(learner_name(), lesson.key)
    starts = [step.start for step in lesson.steps[: done + 1] if step.start]
    if starts:
        set_up(lesson.key, starts[-1])
    else:
        session.update(lesson=lesson.key)
    st.switch_page(pages_directory() / "prompt.py")


def own_lesson_panel() -> None:
    with st.expander("Write a lesson", icon=":material/edit:"):
        st.markdown("A lesson is a Markdown file: `# title`, a paragraph, and a `## heading` for each step. A step says in a block what must be done and what is asked; answers are read off the learner's own run.")  # fmt: skip
        st.code(EXAMPLE, language="markdown")
        file = st.file_uploader("A lesson to add (.md)", type="md", key="lesson_file", max_upload_size=1)
        if file is not None:
            add(file.name, file.getvalue())


def add(name: str, content: bytes) -> None:
    """Keep a teacher's file if it can be read; the name decides the lesson that it replaces."""
    stem = "".join(sign for sign in name.rsplit(".", 1)[0].lower().replace(" ", "-") if sign.isascii() and (sign.isalnum() or sign == "-"))[:60]  # fmt: skip
    try:
        lesson = read_lesson(stem or "lesson", content[: LARGEST + 1].decode())
        own_folder().mkdir(parents=True, exist_ok=True)
        (own_folder() / f"{lesson.key}.md").write_bytes(content)
    except (ExplorerError, UnicodeDecodeError, OSError) as error:
        st.error("This lesson was not added.", icon=":material/error:")
        st.text(str(error))
        return
    say(f"{lesson.title}: {len(lesson.steps)} steps. It stands above when the page is loaded again.", "Added.")


EXAMPLE = """# A first lesson
Why one head matters.

## Take a head away
On **Attention**, open L23H3 and press Zero.

```lesson
start: model=smollm2
check: ablated L23H3 zero
ask: By how many logits did the objective change? = effect ± 0.1
choose: What is this? | An observation | *An intervention
hint: The button stands beside the large pattern.
```
"""
