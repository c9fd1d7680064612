import pytest

from explorer.core.errors import AnswerError, PromptError
from explorer.prompts.tokens import advice, single_token, tokenize, visible
from tests.tiny import tokenizer

pytestmark = pytest.mark.unit


def tokens_of(text: str, bos="default", n_ctx: int = 96):
    return tokenize(tokenizer(), text, n_ctx, bos)


@pytest.mark.parametrize(("text", "said"), [("", "empty"), ("   \n", "only white space"), ("\t", "only white space")])
def test_an_empty_prompt_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(PromptError, match=said):
        tokens_of(text)


def test_a_prompt_beyond_the_context_says_by_how_much() -> None:
    with pytest.raises(PromptError, match=r"context holds 5\. Shorten it by 4"):
        tokens_of("The keys to the cabinet are on the table", n_ctx=5)


def test_texts_join_to_the_prompt() -> None:
    text = "When Mary and  John\n\tgave <b>&lt; 😀 مرحبا"
    tokens = tokens_of(text)
    assert len(tokens) == len(tokens.ids) == len(tokens.texts)
    assert tokenizer().decode(tokens.ids) == text


def test_pieces_of_a_character_are_shown_as_bytes() -> None:
    texts = tokens_of("😀").texts
    assert texts and all(text.startswith("⟨") and "�" not in text for text in texts)


def test_bos_follows_the_choice() -> None:
    plain, forced = tokens_of("Mary", "off"), tokens_of("Mary", "on")
    assert forced.ids == [tokenizer().bos_token_id, *plain.ids]
    assert forced.has_bos and not plain.has_bos


def test_white_space_is_visible() -> None:
    assert visible(" a\n\tb ") == "·a↵⇥b·"
    assert visible("") == "∅"


def test_an_answer_of_several_tokens_names_its_pieces() -> None:
    with pytest.raises(AnswerError, match=r"tokens \(.*\|.*\); an answer must be one"):
        single_token(tokenizer(), " interpretability")
    with pytest.raises(AnswerError, match="With a leading space it is one: ·capital"):
        single_token(tokenizer(), "capital")


def test_advice_about_spaces() -> None:
    assert any("ends with a space" in note for note in advice(tokenizer(), "gave a drink to "))
    assert any("·Mary" in note for note in advice(tokenizer(), "to", ("Mary",)))
    assert advice(tokenizer(), "gave a drink to", (" Mary",)) == []


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(PromptError, match="half a character"):
        tokens_of("a\ud83d")
