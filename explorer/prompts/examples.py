"""Opening examples, as a table."""

from explorer.core.pairs import ContrastPair

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
