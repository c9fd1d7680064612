"""Contrast pairs: a clean and a corrupt prompt, with the answer and its distractor."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ContrastPair:
    """Two prompts that differ in what decides the answer.

    `answer` is the clean prompt's next token, `distractor` the corrupt prompt's; both with their leading space.
    """

    clean: str
    corrupt: str = ""
    answer: str = ""
    distractor: str = ""
