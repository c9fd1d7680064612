"""Whether the two prompts of a contrast pair have the same number of tokens, and where they part."""

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
