"""Lessons: Markdown files with, in each step, a block that says what must be done and what is asked.

    # Title
    What it is about (one paragraph).

    ## A step
    Words in Markdown.

    ```lesson
    start: model=smollm2&clean=...          an address to begin from (optional)
    check: on Attention                     what must hold; may be repeated
    check: ablated L23H3 zero
    ask: By how many logits did it fall? = effect ± 0.05
    choose: What does it show? | a wrong option | *the right option
    hint: first hint                        up to three, shown one by one
    ```

Checks and questions are answered by the learner's own run, so a lesson holds no results.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from explorer.core.errors import LessonError
from explorer.models.cache import data_directory

TEXTS = Path(__file__).parent / "texts"
MOST_HINTS, LONGEST = 3, 200_000
CONDITIONS: dict[str, str] = {
    "on": r"[A-Z][a-z]+",
    "model": r"\S+",
    "head": r"L\d+H\d+",
    "place": r"\S+",
    "ablated": r"\S+( (zero|mean|resample|patch|scale|freeze))?",
    "untouched": r"",
    "effect": r"[<>] -?\d+(\.\d+)?",
    "choice": r"[a-z_]+ = .+",
    "pinned": r"L\d+H\d+",
    "edges": r"(<=|>=) \d+",
    "faithfulness": r"[<>] -?\d+(\.\d+)?",
    "kept": r"\S+",
    "rung": r"\S+ \d",
}
"""What a check can be, and the form of what follows."""
FACTS: dict[str, str] = {
    "effect": r"",
    "baseline": r"",
    "changed": r"",
    "probability": r"",
    "attention": r"L\d+H\d+ -?\d+ -?\d+",
    "score": r"L\d+H\d+ (previous token|duplicate token|induction|first token)",
    "layer of answer": r"",
    "patch": r"L\d+H\d+ (noising|denoising)",
    "edges": r"",
    "faithfulness": r"",
}
"""What a question can ask for, and the form of what follows."""


@dataclass(frozen=True)
class Condition:
    kind: str
    rest: str


@dataclass(frozen=True)
class Ask:
    """A number of the learner's own run."""

    question: str
    fact: str
    rest: str
    tolerance: float


@dataclass(frozen=True)
class Choose:
    question: str
    options: tuple[str, ...]
    right: int


@dataclass(frozen=True)
class Step:
    title: str
    text: str
    start: str
    checks: tuple[Condition, ...]
    asks: tuple[Ask | Choose, ...]
    hints: tuple[str, ...]


@dataclass(frozen=True)
class Lesson:
    key: str
    title: str
    about: str
    steps: tuple[Step, ...]


Line = tuple[int, str]
Field = Literal["start", "check", "ask", "choose", "hint"]


def read_lesson(key: str, text: str) -> Lesson:
    """A lesson of a Markdown text.  `LessonError` names the line that cannot be read, and what was expected there."""
    if len(text) > LONGEST:
        raise LessonError(f"A lesson has at most {LONGEST:,} characters; this one has {len(text):,}.")
    sections = list(parted(text))
    if not sections or sections[0][0] != "# ":
        raise LessonError("Line 1: a lesson begins with its title, such as '# What attention shows'.")
    _, title, lines, _ = sections[0]
    steps = tuple(read_step(name, body, number) for level, name, body, number in sections[1:] if level == "## ")
    if not steps:
        raise LessonError("A lesson needs at least one step, a heading such as '## Open the Attention page'.")
    return Lesson(key, title, "\n".join(line for _, line in lines).strip(), steps)


def parted(text: str) -> Iterator[tuple[str, str, list[Line], int]]:
    """Level, heading, lines below it, and line number of each heading; a heading inside a fence is none."""
    found: list[tuple[str, str, list[Line], int]] = []
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        fenced ^= line.startswith("```")
        level = next((mark for mark in ("# ", "## ") if line.startswith(mark)), "")
        if level and not fenced:
            found.append((level, line.removeprefix(level).strip(), [], number))
        elif found:
            found[-1][2].append((number, line))
        elif line.strip():
            raise LessonError(
                f"Line {number}: expected the title first, such as '# What attention shows'; this is {line[:40]!r}."
            )
    yield from found


def read_step(title: str, lines: Sequence[Line], at: int) -> Step:
    words, rules = [], []
    inside = False
    for number, line in lines:
        if line.strip() == "```lesson":
            inside = True
        elif inside and line.strip() == "```":
            inside = False
        elif inside and line.strip():
            rules.append((number, line.strip()))
        elif not inside:
            words.append(line)
    if inside:
        raise LessonError(
            f"The step {title!r} (line {at}): its lesson block is not closed; end it with a line of three backticks."
        )
    fields: dict[Field, list[Line]] = {"start": [], "check": [], "ask": [], "choose": [], "hint": []}
    for number, line in rules:
        name, _, rest = line.partition(":")
        if name not in fields:
            raise LessonError(
                f"Line {number}: {name[:30]!r} is not known; expected one of {', '.join(fields)}, then a colon."
            )
        fields[name].append((number, rest.strip()))
    checks = tuple(read_condition(number, rest) for number, rest in fields["check"])
    asks: tuple[Ask | Choose, ...] = (
        *(read_ask(*line) for line in fields["ask"]),
        *(read_choose(*line) for line in fields["choose"]),
    )
    if not checks and not asks:
        raise LessonError(
            f"The step {title!r} (line {at}) asks for nothing; give it a check, ask or choose, or it could be skipped."
        )
    hints = tuple(rest for _, rest in fields["hint"])
    if len(hints) > MOST_HINTS:
        raise LessonError(f"The step {title!r} (line {at}) has {len(hints)} hints; at most {MOST_HINTS} are shown.")
    start = fields["start"][-1][1] if fields["start"] else ""
    return Step(title, "\n".join(words).strip(), start, checks, asks, hints)


def read_condition(number: int, rest: str) -> Condition:
    kind, _, more = rest.partition(" ")
    if kind not in CONDITIONS:
        raise LessonError(
            f"Line {number}: the check {kind[:30]!r} is not known; expected one of {', '.join(CONDITIONS)}."
        )
    if not re.fullmatch(CONDITIONS[kind], more.strip()):
        raise LessonError(f"Line {number}: 'check: {kind}' does not take {more[:40]!r}.")
    return Condition(kind, more.strip())


def read_ask(number: int, rest: str) -> Ask:
    """`question = fact arguments ± tolerance`."""
    question, found, answer = rest.rpartition(" = ")
    fact, pm, tolerance = answer.partition("±")
    name = next((known for known in sorted(FACTS, key=len, reverse=True) if fact.strip().startswith(known)), "")
    more = fact.strip().removeprefix(name).strip()
    if not found or not pm or not name or not re.fullmatch(FACTS[name], more):
        raise LessonError(
            f"Line {number}: expected 'ask: a question = a fact ± a tolerance', such as 'By how much? = effect ± 0.05'; facts are "
            f"{', '.join(FACTS)}."
        )
    try:
        return Ask(question.strip(), name, more, float(tolerance))
    except ValueError as error:
        raise LessonError(
            f"Line {number}: {tolerance.strip()[:20]!r} is no tolerance; expected a number such as 0.05."
        ) from error


def read_choose(number: int, rest: str) -> Choose:
    question, *options = [part.strip() for part in rest.split("|")]
    right = [place for place, option in enumerate(options) if option.startswith("*")]
    if len(options) < 2 or len(right) != 1:
        raise LessonError(
            f"Line {number}: expected 'choose: a question | one option | *the right option', with one star."
        )
    return Choose(question, tuple(option.removeprefix("*").strip() for option in options), right[0])


@cache
def shipped() -> dict[str, Lesson]:
    """The lessons that come with the app, in order."""
    return {path.stem: read_lesson(path.stem, path.read_text()) for path in sorted(TEXTS.glob("*.md"))}


def own_folder() -> Path:
    """Where teachers put theirs."""
    return data_directory() / "lessons"


def own_lessons() -> tuple[dict[str, Lesson], dict[str, str]]:
    """Lessons of this machine's teachers, and why files could not be read."""
    found: dict[str, Lesson] = {}
    problems: dict[str, str] = {}
    for path in sorted(own_folder().glob("*.md")):
        key = re.sub(r"[^a-z0-9-]+", "-", path.stem.lower()).strip("-")[:60] or "lesson"
        try:
            found[key] = read_lesson(key, path.read_text())
        except (LessonError, OSError, UnicodeDecodeError) as error:
            problems[path.name] = str(error)
    return found, problems
