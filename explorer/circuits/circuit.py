"""A circuit: the edges of a model's graph that are kept, as a mask over readers, writers and, optionally, positions.

A circuit by position has one place a position of the reader; any other has one place for all.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import networkx as nx
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from explorer.core.places import PlacedEdge
from explorer.core.provenance import Provenance
from explorer.core.sites import (
    AttnOut,
    Embed,
    Head,
    HeadPart,
    KeyValue,
    Logits,
    MlpOut,
    Receiver,
    Sender,
    parse_receiver,
)
from explorer.engine.edge_graph import EdgeGraph

Kept = Bool[np.ndarray, "reader writer place"]
Scores = Float[np.ndarray, "reader writer place"]


@dataclass(frozen=True)
class Group:
    """Nodes that are shown as one (a supernode)."""

    name: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Circuit:
    graph: EdgeGraph
    kept: Kept
    """Which edges are kept."""
    scores: Scores | None = None
    """What the discovery method says of every edge; None for a circuit made by hand."""
    by_position: bool = False
    method: str = "by hand"
    isolated: int = 0
    """Edges that were chosen and left out, as no path from the embedding to the logits leads through them."""
    groups: tuple[Group, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    """What users call nodes."""
    notes: str = ""
    provenance: Provenance | None = None

    @property
    def n_edges(self) -> int:
        return int(self.kept.sum())

    @cached_property
    def edges(self) -> list[PlacedEdge]:
        """Every kept edge, in the order of the forward pass."""
        return [self.edge(*(int(number) for number in place)) for place in np.argwhere(self.kept)]

    def edge(self, reader: int, writer: int, place: int = 0) -> PlacedEdge:
        return PlacedEdge(self.graph.edge(reader, writer), place if self.by_position else None)

    @cached_property
    def senders(self) -> list[Sender]:
        """The nodes that write: the embedding, heads and MLPs with a kept edge out."""
        used = np.asarray(self.kept.any((0, 2)))
        return [writer for writer, there in zip(self.graph.writers, used, strict=True) if there]

    def owners(self, edge: PlacedEdge) -> list[str]:
        """Names of the nodes that an edge leads into: several where a key-value head serves them, or "logits"."""
        return [str(owner) for owner in owner_of(edge.edge.receiver, self.graph)] or ["logits"]

    @cached_property
    def nodes(self) -> list[str]:
        """Names of all nodes, the logits last."""
        return [*map(str, self.senders), *["logits"] * bool(self.kept[-1].any())]

    @property
    def components(self) -> list[str]:
        """Names of its heads and MLPs: the nodes that can be cut."""
        return [name for name in self.nodes if name not in ("embed", "logits")]

    def score(self, edge: PlacedEdge) -> float:
        """The edge's score; NaN where there is none."""
        reader, writer = self.graph.place(edge.edge)
        return float("nan") if self.scores is None else float(self.scores[reader, writer, edge.position or 0])

    def mask(self) -> Float[Tensor, "reader writer ..."]:
        """1 for kept edges, as edge mode takes it."""
        return mask_of(self.kept)

    def node_mask(self) -> Float[Tensor, "reader writer"]:
        """The circuit of nodes: everything that a node of the circuit writes reaches every reader; all other nodes are ablated."""
        return nodes_mask(self.graph, self.senders)

    def without(self, nodes: Iterable[str]) -> "Circuit":
        """The circuit less every edge into or out of some nodes."""
        gone = set(nodes)
        kept = self.kept.copy()
        writers = [str(writer) in gone for writer in self.graph.writers]
        kept[:, writers] = False
        kept[readers_of(self.graph, gone)] = False
        return replace(self, kept=kept)

    def to_networkx(self) -> nx.DiGraph:
        """Writers (`L1H0`) and readers (`L2H3.q`) as nodes with `kind`, `layer` and `label`; kept edges with their `score`.

        An edge of kind "inside" leads from a reader to the writers that it is part of: a key-value head's keys to every head of
        the circuit that it serves.
        """
        made = nx.DiGraph(method=self.method, by_position=self.by_position)
        heads = set(map(str, self.senders))
        for placed in self.edges:
            at = "" if placed.position is None else f"@{placed.position}"
            sender, reader = f"{placed.edge.sender}{at}", f"{placed.edge.receiver}{at}"
            add_node(made, sender, placed.edge.sender, self.labels)
            add_node(made, reader, placed.edge.receiver, self.labels)
            made.add_edge(sender, reader, kind="edge", score=self.score(placed))
        inside(made, self.graph, heads, self.labels)
        return made


def add_node(made: nx.DiGraph, name: str, site: Sender | Receiver, labels: dict[str, str]) -> None:
    layer = -1 if isinstance(site, Embed) else 10**6 if isinstance(site, Logits) else site.layer
    made.add_node(name, kind=type(site).__name__, layer=layer, label=labels.get(str(site), str(site)))


def inside(made: nx.DiGraph, graph: EdgeGraph, heads: set[str], labels: dict[str, str]) -> None:
    """Join readers to the writers that they are part of."""
    owned = owners(graph)
    for name, reader_kind in list(made.nodes(data="kind")):
        if reader_kind not in ("HeadPart", "KeyValue", "MlpIn"):
            continue
        base, at, position = name.partition("@")
        for number in np.flatnonzero(owned[:, graph.reader_index[parse_receiver(base)]]):
            writer = graph.writers[number]
            if str(writer) not in heads:
                continue
            others = [f"{writer}{at}{position}"]
            if at and reader_kind == "KeyValue":  # keys and values are read at their own and later positions
                placed = [other.partition("@") for other in list(made)]
                others = [
                    f"{writer}@{where}"
                    for who, _, where in placed
                    if who == str(writer) and int(where) >= int(position)
                ]
            for other in others:
                add_node(made, other, writer, labels)
                made.add_edge(name, other, kind="inside")


def mask_of(kept: Kept) -> Float[Tensor, "reader writer ..."]:
    mask = torch.from_numpy(kept).float()
    return mask[..., 0] if kept.shape[-1] == 1 else mask


def nodes_mask(graph: EdgeGraph, senders: Iterable[Sender]) -> Float[Tensor, "reader writer"]:
    """Every edge out of some writers."""
    mask = torch.zeros(graph.exists.shape)
    mask[:, [graph.writer_index[sender] for sender in senders]] = 1
    return mask * graph.exists


def owner_of(reader: Receiver, graph: EdgeGraph) -> list[Sender]:
    """The writers whose input a reader is part of: a head, the heads that a key-value head serves, an MLP; none of the logits."""
    info = graph.info
    if isinstance(reader, Logits):
        return []
    if not isinstance(reader, HeadPart | KeyValue):
        return [MlpOut(reader.layer)]
    if not info.heads_add_up:
        return [AttnOut(reader.layer)]
    if isinstance(reader, HeadPart):
        return [Head(reader.layer, reader.head)]
    served = info.n_heads // info.n_kv_heads
    return [Head(reader.layer, reader.kv_head * served + number) for number in range(served)]


@lru_cache(maxsize=16)
def owners(graph: EdgeGraph) -> Bool[np.ndarray, "writer reader"]:
    """Whether a reader is part of a writer's input."""
    found = np.zeros((len(graph.writers), len(graph.readers)), dtype=bool)
    for number, reader in enumerate(graph.readers):
        for owner in owner_of(reader, graph):
            found[graph.writer_index[owner], number] = True
    return found


def readers_of(graph: EdgeGraph, nodes: Iterable[str]) -> Bool[np.ndarray, " reader"]:
    """The readers that belong to some nodes alone: a key-value head's only where all heads that it serves are among them."""
    wanted = set(nodes)
    named = np.array([str(writer) in wanted for writer in graph.writers])
    owned = owners(graph)
    found = (owned & named[:, None]).any(0) & ~(owned & ~named[:, None]).any(0)
    found[-1] = "logits" in wanted
    return np.asarray(found)


def empty(graph: EdgeGraph, places: int = 1) -> Kept:
    return np.zeros((*graph.exists.shape, places), dtype=bool)


def every_edge(graph: EdgeGraph, places: int = 1) -> Kept:
    return np.repeat(graph.exists.numpy()[..., None], places, 2)


def from_edges(graph: EdgeGraph, edges: Iterable[PlacedEdge], places: int = 1, **more: Any) -> Circuit:
    """A circuit of named edges; `SiteError` for one that the graph has not."""
    kept = empty(graph, places)
    for placed in edges:
        reader, writer = graph.place(placed.edge)
        kept[reader, writer, placed.position if placed.position is not None else slice(None)] = True
    return Circuit(graph, kept, by_position=places > 1, **more)


def among_nodes(graph: EdgeGraph, nodes: Iterable[str]) -> Circuit:
    """Every edge between some nodes, the embedding and the logits."""
    named = {*nodes, "embed", "logits"}
    kept = every_edge(graph)
    kept[:, [str(writer) not in named for writer in graph.writers]] = False
    owned = owners(graph)
    inside_ = (owned & np.array([str(writer) in named for writer in graph.writers])[:, None]).any(0)
    inside_[-1] = True
    kept[~inside_] = False
    return Circuit(graph, on_a_path(graph, kept))


def on_a_path(graph: EdgeGraph, kept: Kept) -> Kept:
    """The kept edges that lie on a path of kept edges from the embedding to the logits (of the last position)."""
    owned, places = owners(graph), kept.shape[2]
    through_time = np.array([isinstance(reader, KeyValue) for reader in graph.readers])
    reached = np.zeros((len(graph.writers), places), dtype=bool)
    reached[0] = True
    fed = np.zeros((len(graph.readers), places), dtype=bool)
    for number in range(len(graph.readers)):  # readers come in the order of the forward pass
        fed[number] = (kept[number] & reached).any(0)
        here = np.maximum.accumulate(fed[number]) if through_time[number] else fed[number]
        reached[owned[:, number]] |= here
    useful = np.zeros_like(fed)
    useful[-1, -1] = True
    wanted = (kept[-1] & useful[-1]).copy()
    for number in reversed(range(len(graph.readers) - 1)):
        at = wanted[owned[:, number]].any(0)
        useful[number] = np.maximum.accumulate(at[::-1])[::-1] if through_time[number] else at
        wanted |= kept[number] & useful[number]
    return np.asarray(kept & reached[None] & useful[:, None])
