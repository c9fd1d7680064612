"""Opening examples, as a table; exact models, which know few words, bring their own."""

from explorer.core.pairs import ContrastPair
from explorer.models.zoo.knowledge import own_examples

EXAMPLES: dict[str, ContrastPair] = {
    "Indirect object (IOI)": ContrastPair(
        clean="When Mary and John went to the store, John gave a drink to",
        corrupt="When Mary and John went to the store, Mary gave a drink to",
        answer=" Mary",
        distractor=" John",
    ),
    "Capital city": ContrastPair(
        clean="The capital of France is",
        corrupt="The capital of Italy is",
        answer=" Paris",
        distractor=" Rome",
    ),
    "Subject-verb agreement": ContrastPair(
        clean="The keys to the cabinet",
        corrupt="The key to the cabinet",
        answer=" are",
        distractor=" is",
    ),
}

OPENING = "Indirect object (IOI)"


def examples_for(model: str) -> dict[str, ContrastPair]:
    """The examples that a model can read, by name."""
    own = own_examples(model)
    return {f"{pair.clean} →{pair.answer}": pair for pair in own} if own else EXAMPLES


def opening_pair(model: str, current: ContrastPair, before: str) -> ContrastPair:
    """The pair to show when `model` takes the place of the model `before`: the current one where both read the same words."""
    if not own_examples(model) and not own_examples(before):
        return current
    return next(iter(examples_for(model).values()))
