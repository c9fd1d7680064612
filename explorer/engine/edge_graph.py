"""The edge graph of a decoder: who writes to the residual stream, who reads it, and which writer a reader sees.

Writers are the embedding, each head and each MLP; readers each head's query, each key-value head's key and value, each
MLP's input, and the logits.  In grouped-query models keys and values are the key-value heads', never copied to query
heads.  Where a norm follows the sum of the heads (Gemma-2), the writer is the whole attn_out.
GPT-2 small has 157 writers, 445 readers and 32,491 edges.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from jaxtyping import Bool
from torch import Tensor

from explorer.core.errors import SiteError
from explorer.core.sites import AttnOut, Edge, Embed, Head, HeadPart, KeyValue, Logits, MlpIn, MlpOut, Receiver, Sender
from explorer.engine.fitting import read_time, write_time
from explorer.models.info import ModelInfo


@dataclass(frozen=True)
class EdgeGraph:
    """Writers and readers in the order in which a forward pass meets them."""

    info: ModelInfo
    has_mlp: bool

    @cached_property
    def writers(self) -> list[Sender]:
        found: list[Sender] = [Embed()]
        for layer in range(self.info.n_layers):
            if self.info.heads_add_up:
                found += [Head(layer, head) for head in range(self.info.n_heads)]
            else:
                found.append(AttnOut(layer))
            if self.has_mlp:
                found.append(MlpOut(layer))
        return found

    @cached_property
    def readers(self) -> list[Receiver]:
        found: list[Receiver] = []
        for layer in range(self.info.n_layers):
            found += [HeadPart(layer, head, "q") for head in range(self.info.n_heads)]
            found += [KeyValue(layer, head, "k") for head in range(self.info.n_kv_heads)]
            found += [KeyValue(layer, head, "v") for head in range(self.info.n_kv_heads)]
            if self.has_mlp:
                found.append(MlpIn(layer))
        return [*found, Logits()]

    @cached_property
    def exists(self) -> Bool[Tensor, "reader writer"]:
        """Whether a reader sees a writer: what is written after it has read, it cannot see."""
        written = [write_time(writer, self.info) for writer in self.writers]
        return torch.tensor(
            [[time <= read_time(reader, self.info) for time in written] for reader in self.readers], dtype=torch.bool
        )

    @property
    def n_edges(self) -> int:
        return int(self.exists.sum())

    @cached_property
    def reader_index(self) -> dict[Receiver, int]:
        return {reader: number for number, reader in enumerate(self.readers)}

    @cached_property
    def writer_index(self) -> dict[Sender, int]:
        return {writer: number for number, writer in enumerate(self.writers)}

    def place(self, edge: Edge) -> tuple[int, int]:
        """Reader and writer number of an edge; `SiteError` if the graph has no such edge."""
        reader, writer = self.reader_index.get(edge.receiver), self.writer_index.get(edge.sender)
        if reader is None or writer is None or not self.exists[reader, writer]:
            raise SiteError(f"{edge}: {self.info.title} has no such edge.")
        return reader, writer

    def edge(self, reader: int, writer: int) -> Edge:
        return Edge(self.writers[writer], self.readers[reader])


@lru_cache(maxsize=16)
def edge_graph(info: ModelInfo, has_mlp: bool = True) -> EdgeGraph:
    """The graph of a model, made once: it is the same for every run."""
    return EdgeGraph(info, has_mlp)
