"""Text to tokens, and how tokens are shown.

The tokenizer's own default decides on the BOS token (beginning of sequence) unless `bos` says otherwise.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from explorer.core.errors import AnswerError, PromptError

Bos = Literal["default", "on", "off"]


@dataclass(frozen=True)
class Tokens:
    """A tokenised prompt."""

    text: str
    ids: list[int]
    texts: list[str]
    """Each token's own text, leading space included."""
    has_bos: bool
    bos: Bos = "default"
    """What was asked for; reference prompts follow it."""

    def __len__(self) -> int:
        return len(self.ids)

    def place(self, position: int) -> int:
        """A position counted from the start; `PromptError` for one that the prompt does not have."""
        if not -len(self) <= position < len(self):
            raise PromptError(f"Position {position} does not exist: the prompt has {len(self)} tokens.")
        return position % len(self)


def tokenize(tokenizer: Any, text: str, n_ctx: int, bos: Bos = "default") -> Tokens:
    """Tokens of a prompt; `PromptError` if it is empty, blank or longer than the context."""
    if not isinstance(text, str):
        raise PromptError(f"A prompt is text; got {type(text).__name__}.")
    if not text.strip():
        came = "an empty text" if not text else f"only white space ({len(text)} characters)"
        raise PromptError(f"The prompt is {came}. Write at least one word.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError("The prompt holds half a character (a lone surrogate). Type the text again.") from error
    ids = encode(tokenizer, text, bos)
    check_known(tokenizer, text)
    if len(ids) > n_ctx:
        raise PromptError(
            f"The prompt has {len(ids):,} tokens; this model's context holds {n_ctx:,}. "
            f"Shorten it by {len(ids) - n_ctx:,} tokens."
        )
    return Tokens(text, ids, [token_text(tokenizer, id_) for id_ in ids], starts_with_bos(tokenizer, ids), bos)


def encode(tokenizer: Any, text: str, bos: Bos) -> list[int]:
    if bos == "default":
        return list(tokenizer(text).input_ids)
    ids = list(tokenizer(text, add_special_tokens=False).input_ids)
    if bos == "off":
        return ids
    if tokenizer.bos_token_id is None:
        raise PromptError("This tokenizer has no BOS token; choose 'tokenizer's default' or 'off'.")
    return [tokenizer.bos_token_id, *ids]


def check_known(tokenizer: Any, text: str) -> None:
    """`PromptError` that names the words a word-level vocabulary does not have."""
    words = unknown_words(tokenizer, text)
    if not words:
        return
    known = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    known = [token.strip() for token in known if token not in tokenizer.all_special_tokens]
    raise PromptError(
        f"This model does not know {', '.join(map(repr, words[:5]))}. Its vocabulary has {len(known):,} words: "
        f"{' '.join(known[:40])}{' …' if len(known) > 40 else ''}"
    )


def unknown_words(tokenizer: Any, text: str) -> list[str]:
    """Words that become the unknown token; none for tokenizers that encode any text."""
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown == tokenizer.bos_token_id or unknown not in encode(tokenizer, text, "off"):
        return []
    return [word for word in dict.fromkeys(text.split()) if unknown in encode(tokenizer, word, "off")]


def starts_with_bos(tokenizer: Any, ids: list[int]) -> bool:
    return bool(ids) and tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id


def token_text(tokenizer: Any, token_id: int) -> str:
    """Text of one token; bytes that are no whole character appear as `⟨e2 80⟩`."""
    text = str(tokenizer.decode([token_id], clean_up_tokenization_spaces=False))
    if "�" not in text:
        return text
    piece = tokenizer.convert_ids_to_tokens(token_id)
    table = byte_of_character()
    if piece and all(character in table for character in piece):
        return "⟨" + " ".join(f"{table[character]:02x}" for character in piece) + "⟩"
    return text


@cache
def byte_of_character() -> dict[str, int]:
    """The byte behind each character of a byte-level BPE vocabulary (Radford et al. 2019)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def visible(text: str) -> str:
    """A token's text with its white space made visible: `·` space, `↵` line break, `⇥` tab."""
    shown = text.replace(" ", "·").replace("\n", "↵").replace("\r", "␍").replace("\t", "⇥")
    return shown or "∅"


def single_token(tokenizer: Any, text: str) -> int:
    """Id of an answer that is exactly one token; `AnswerError` names the pieces it splits into."""
    if not text:
        raise AnswerError("The answer is empty. Give one token, usually with its leading space, such as ' Mary'.")
    ids = list(tokenizer(text, add_special_tokens=False).input_ids)
    if len(ids) == 1:
        return int(ids[0])
    pieces = " | ".join(visible(token_text(tokenizer, id_)) for id_ in ids)
    spaced = with_leading_space(tokenizer, text)
    hint = "" if spaced is None else f" With a leading space it is one: {visible(spaced)}."
    raise AnswerError(f"{visible(text)} is {len(ids)} tokens ({pieces}); an answer must be one.{hint}")


def with_leading_space(tokenizer: Any, text: str) -> str | None:
    """The text as the next word of a sentence, where that is another text and one token; else None."""
    spaced = " " + text.strip()
    return spaced if text.strip() and text != spaced and len(encode(tokenizer, spaced, "off")) == 1 else None


def advice(tokenizer: Any, text: str, answers: tuple[str, ...] = ()) -> list[str]:
    """Warnings about white space that changes what the model reads."""
    notes = []
    if text != text.rstrip(" ") and text.strip():
        last = encode(tokenizer, text, "off")[-1]
        notes.append(
            f"The prompt ends with a space, which becomes a token of its own ({visible(token_text(tokenizer, last))}). "
            "Words carry their leading space in this tokenizer, so predictions usually suffer: remove it."
        )
    for answer in answers:
        spaced = with_leading_space(tokenizer, answer)
        if spaced is not None:
            notes.append(
                f"{visible(answer)} has no leading space. As the next word of a text it is usually {visible(spaced)}, "
                "which is one token too."
            )
    return notes
