"""Supernodes: groups of nodes shown as one, by a rule, or proposed because their edges are alike.

A proposal: nodes with similar edges, by the cosine of their profiles (the scores of their edges to and from every other node);
communities of the graph of such similarities (greedy modularity, Clauset et al. 2004, by networkx).
"""

from collections import defaultdict
from collections.abc import Callable, Mapping

import networkx as nx
import numpy as np
from jaxtyping import Float

from explorer.circuits.circuit import Circuit, Group, owners

ALIKE = 0.6
"""Cosine from which two nodes are called alike."""


def by_key(circuit: Circuit, key: Callable[[str], str]) -> tuple[Group, ...]:
    """Nodes with the same key; an empty key, the embedding and the logits stay alone."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in circuit.components:
        if key(name):
            found[key(name)].append(name)
    return tuple(Group(name, tuple(members)) for name, members in found.items() if len(members) > 1)


def by_layer_band(circuit: Circuit, width: int) -> tuple[Group, ...]:
    """Heads and MLPs of `width` layers together."""

    def key(name: str) -> str:
        first = int(name[1:].split("H", maxsplit=1)[0].split(".", maxsplit=1)[0]) // width * width
        kind = "MLPs" if name.endswith("mlp_out") else "heads"
        return f"{kind} L{first}" if width == 1 else f"{kind} L{first}–{first + width - 1}"

    return by_key(circuit, key)


def by_type(circuit: Circuit, types: Mapping[str, str]) -> tuple[Group, ...]:
    """Heads of one type, as named by the caller (attention analysis)."""
    return by_key(circuit, lambda name: types.get(name, ""))


def profiles(circuit: Circuit, names: list[str]) -> Float[np.ndarray, "node partner"]:
    """For each node the scores of its kept edges: out to every reader, in from every writer by q, k, v or MLP."""
    scores = np.where(circuit.kept, 1.0 if circuit.scores is None else circuit.scores, 0.0).sum(2)
    owned, kinds = owners(circuit.graph), [str(reader).rpartition(".")[2] for reader in circuit.graph.readers]
    rows = []
    for name in names:
        writer = [str(each) for each in circuit.graph.writers].index(name)
        into = [scores[owned[writer] & (np.array(kinds) == kind)].sum(0) for kind in ("q", "k", "v", "mlp_in")]
        rows.append(np.concatenate([scores[:, writer], *into]))
    return np.stack(rows) if rows else np.zeros((0, 1))


def proposed(circuit: Circuit) -> tuple[Group, ...]:
    """Groups of nodes whose edges are alike."""
    names = circuit.components
    return communities(names, profiles(circuit, names))


def communities(names: list[str], rows: Float[np.ndarray, "node partner"]) -> tuple[Group, ...]:
    """Groups of nodes whose profiles point the same way."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = (rows @ rows.T) / np.maximum(length * length.T, 1e-12)
    alike = nx.Graph()
    alike.add_nodes_from(names)
    for one, other in np.argwhere(np.triu(cosine >= ALIKE, 1)).tolist():
        alike.add_edge(names[one], names[other], weight=float(cosine[one, other]))
    if not alike.number_of_edges():
        return ()
    found = nx.community.greedy_modularity_communities(alike, weight="weight")
    groups = [tuple(sorted(members, key=names.index)) for members in found if len(members) > 1]
    return tuple(Group(f"alike: {members[0]} +{len(members) - 1}", members) for members in groups)
