"""Symmetric token replacement: a corrupt prompt that differs in chosen tokens, each replaced by one of its kind.

It keeps the input natural, which noise does not, and gives other and better localised results (Zhang & Nanda 2024, Towards
Best Practices of Activation Patching).
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.errors import PairError
from explorer.prompts.tokens import Tokens, encode, token_text, visible

OFFERED = 30


def replaced(tokenizer: Any, tokens: Tokens, by: Mapping[int, int]) -> str:
    """The text with the tokens at some positions replaced; `PairError` if it would be cut into other tokens."""
    ids = [by.get(at, token) for at, token in enumerate(tokens.ids)]
    own = ids[1:] if tokens.has_bos else ids
    text = str(tokenizer.decode(own, clean_up_tokenization_spaces=False))
    again = encode(tokenizer, text, tokens.bos)
    if again != ids:
        pieces = " | ".join(visible(token_text(tokenizer, token)) for token in again)
        raise PairError(f"“{text}” is cut into other tokens than meant: {pieces}. Choose another replacement.")
    return text


def alike(model: Any, token: int, count: int = OFFERED) -> list[int]:
    """Tokens of a token's kind, nearest by the cosine of their embeddings: same leading space, capital, letters or digits."""
    embeddings = model.embeddings
    near = closeness(embeddings, token).argsort(descending=True).tolist()
    kind = shape(model.token_text(token))
    found = []
    for other in near:
        if other != token and shape(model.token_text(other)) == kind:
            found.append(other)
        if len(found) == count:
            break
    return found


def closeness(embeddings: Float[Tensor, "vocab d_model"], token: int) -> Float[Tensor, " vocab"]:
    return torch.nn.functional.cosine_similarity(embeddings, embeddings[token][None], dim=-1)


def shape(text: str) -> tuple[bool, bool, str]:
    """What replacements must share: leading space, a capital, and whether it is letters, digits or neither."""
    word = text.strip()
    return (
        text.startswith(" "),
        word[:1].isupper(),
        "letters" if word.isalpha() else "digits" if word.isdigit() else "other",
    )
