"""All exact models by key.  Nothing is built until it is asked for."""

from collections.abc import Callable

from explorer.models.zoo.exact import dictionary, directions, gates, induction, memory, planted_edges, subspace
from explorer.models.zoo.exact.parts import ExactModel

BUILDERS: dict[str, Callable[[], ExactModel]] = {
    "induction-handmade": induction.plain,
    "induction-handmade-rotated": induction.rotated,
    "planted-edges": planted_edges.plain,
    "gate-and": gates.gate_and,
    "gate-or": gates.gate_or,
    "direction-used": directions.used,
    "direction-unused": directions.unused,
    "subspace-planted": subspace.planted,
    "subspace-illusion": subspace.illusion,
    "dictionary-planted": dictionary.planted,
    "memory-associative": memory.associative,
    "backdoor-rank-one": memory.backdoored,
}
