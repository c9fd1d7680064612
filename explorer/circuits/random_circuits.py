"""Random circuits of the size of a given one: the control beside which its scores stand.

Heads change places with heads of their own layer (key-value heads with the query heads that they serve), so types, layers and
the shape of the graph stay.  Edges between embedding, MLPs and logits, of which a layer has one, become as many others between
the same types, in any layers.
"""

import numpy as np

from explorer.circuits.circuit import Circuit, Kept
from explorer.core.sites import Head, HeadPart, KeyValue
from explorer.engine.edge_graph import EdgeGraph


def random_circuits(circuit: Circuit, n: int, seed: int = 0) -> list[Kept]:
    """Masks of `n` random circuits; same number of edges, matched as the head of this file says."""
    rng = np.random.default_rng(seed)
    return [one_random(circuit.graph, circuit.kept, rng) for _ in range(n)]


def one_random(graph: EdgeGraph, kept: Kept, rng: np.random.Generator) -> Kept:
    readers, writers = permuted(graph, rng)
    made = np.zeros_like(kept)
    headless = backbone(graph)
    placed = np.argwhere(kept & ~headless[..., None])
    made[readers[placed[:, 0]], writers[placed[:, 1]], placed[:, 2]] = True
    for members in classes(graph, headless):
        there = kept[members[:, 0], members[:, 1]]  # [member, place]
        for place in range(kept.shape[2]):
            picked = rng.permutation(len(members))[: int(there[:, place].sum())]
            made[members[picked, 0], members[picked, 1], place] = True
    return made


def permuted(graph: EdgeGraph, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Where each reader and each writer goes when heads change places within their layers."""
    info = graph.info
    served = info.n_heads // info.n_kv_heads
    readers, writers = np.arange(len(graph.readers)), np.arange(len(graph.writers))
    for layer in range(info.n_layers):
        groups = rng.permutation(info.n_kv_heads)
        heads = np.concatenate([group * served + rng.permutation(served) for group in groups])
        for old, new in enumerate(heads):
            readers[graph.reader_index[HeadPart(layer, old, "q")]] = graph.reader_index[HeadPart(layer, int(new), "q")]
            if info.heads_add_up:
                writers[graph.writer_index[Head(layer, old)]] = graph.writer_index[Head(layer, int(new))]
        for old, new in enumerate(groups):
            for kind in ("k", "v"):
                readers[graph.reader_index[KeyValue(layer, old, kind)]] = graph.reader_index[
                    KeyValue(layer, int(new), kind)
                ]
    return readers, writers


def backbone(graph: EdgeGraph) -> np.ndarray:
    """Edges without a head at either end, [reader, writer]."""
    by_head = np.array([isinstance(reader, HeadPart | KeyValue) for reader in graph.readers])
    heads = np.array([isinstance(writer, Head) for writer in graph.writers])
    return np.asarray(graph.exists.numpy() & ~by_head[:, None] & ~heads[None])


def classes(graph: EdgeGraph, headless: np.ndarray) -> list[np.ndarray]:
    """Such edges, those between the same types together: [edge, 2]."""
    found: dict[tuple[type, type], list[tuple[int, int]]] = {}
    for reader, writer in np.argwhere(headless).tolist():
        found.setdefault((type(graph.readers[reader]), type(graph.writers[writer])), []).append((reader, writer))
    return [np.array(members) for members in found.values()]
