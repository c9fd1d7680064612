"""Whether the two prompts of a contrast pair have the same number of tokens, and where they part."""

import itertools
from difflib import SequenceMatcher

from explorer.core.errors import PairError
from explorer.prompts.tokens import Tokens, visible


def check_aligned(clean: Tokens, corrupt: Tokens) -> None:
    """`PairError` unless both prompts have the same number of tokens; the message shows where they part."""
    if len(clean) == len(corrupt):
        return
    raise PairError(
        f"The prompts must have the same number of tokens, so that each position has its twin; they have {len(clean)} "
        f"and {len(corrupt)}. They differ here:\n{alignment(clean, corrupt)}\nReword one of them; nothing is cut off."
    )


def columns(clean: Tokens, corrupt: Tokens) -> list[tuple[int | None, int | None]]:
    """Positions of either prompt that stand above each other: equal tokens, then what took their place; None for a gap."""
    if len(clean) == len(corrupt):
        return [(position, position) for position in range(len(clean))]
    matcher = SequenceMatcher(None, clean.ids, corrupt.ids, autojunk=False)
    found: list[tuple[int | None, int | None]] = []
    for _, a, a_end, b, b_end in matcher.get_opcodes():
        found += itertools.zip_longest(range(a, a_end), range(b, b_end))
    return found


def alignment(clean: Tokens, corrupt: Tokens) -> str:
    """Where two prompts differ, a line each: position and tokens of either side."""
    matcher = SequenceMatcher(None, clean.ids, corrupt.ids, autojunk=False)
    lines = []
    for change, a, a_end, b, b_end in matcher.get_opcodes():
        if change != "equal":
            left, right = (
                f"{start}: {' | '.join(map(visible, tokens.texts[start:end])) or '(nothing)'}"
                for tokens, start, end in ((clean, a, a_end), (corrupt, b, b_end))
            )
            lines.append(f"  {left}  ↔  {right}")
    return "\n".join(lines[:6] + [f"  … and {len(lines) - 6} more places"] * (len(lines) > 6))
