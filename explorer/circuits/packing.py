"""A circuit's edges as a short text: one bit an edge of the graph, compressed; what is kept with a finding and read again."""

import base64
import binascii
import zlib

import numpy as np

from explorer.circuits.circuit import Circuit
from explorer.core.errors import CircuitError
from explorer.engine.edge_graph import EdgeGraph

LARGEST = 50_000_000
"""Bytes that are unpacked at most."""


def pack(circuit: Circuit) -> str:
    """The number of places, and the kept edges in the order of the graph's edges."""
    kept = circuit.kept[circuit.graph.exists.numpy()]
    return f"{kept.shape[1]}:{base64.b64encode(zlib.compress(np.packbits(kept).tobytes(), 9)).decode()}"


def unpack(text: str, graph: EdgeGraph) -> Circuit:
    """Inverse of `pack`; `CircuitError` for a text of another graph, or none at all."""
    places, _, packed = text.partition(":")
    exists = graph.exists.numpy()
    try:
        n = int(places)
        stream = zlib.decompressobj()
        content = stream.decompress(base64.b64decode(packed, validate=True), LARGEST)
        bits = np.unpackbits(np.frombuffer(content, np.uint8))
    except (ValueError, binascii.Error, zlib.error) as error:
        raise CircuitError(f"A circuit that was kept cannot be read: {error}.") from error
    if n < 1 or len(content) != -(-int(exists.sum()) * n // 8):
        raise CircuitError(f"A circuit that was kept does not fit {graph.info.title}: it has another number of edges.")
    kept = np.zeros((*exists.shape, n), dtype=bool)
    kept[exists] = bits[: int(exists.sum()) * n].astype(bool).reshape(-1, n)
    return Circuit(graph, kept, by_position=n > 1)
