"""Circuits as files: JSON in a versioned schema of our own, GraphML, and lists of edges.  Never pickle.

    {"format": "circuit-explorer/circuit", "version": 1, "model": {"key", "weight_hash", "layers", "heads", "kv_heads"},
     "method", "by_position", "positions", "edges": [{"sender", "receiver", "position"?, "score"?}],
     "groups": [{"name", "nodes"}], "labels": {node: text}, "notes", "provenance"}

A list has an edge a line (`L0H1 -> L1KV2.k`, or sender,receiver[,score] as CSV); a head or MLP as receiver stands for all that it
reads by.  What cannot be read is named.
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree

import networkx as nx
import numpy as np

from explorer.circuits.circuit import Circuit, Group, empty, owners
from explorer.core.errors import CircuitError, ExplorerError, SiteError, StateError
from explorer.core.places import ARROW, PlacedEdge, parse_edge
from explorer.core.records import to_record
from explorer.core.sites import Edge, parse_sender
from explorer.engine.edge_graph import EdgeGraph
from explorer.models.info import ModelInfo

FORMAT, VERSION = "circuit-explorer/circuit", 1
MOST_EDGES, MOST_TEXT = 500_000, 10_000
KEYS_OF_HEAD = re.compile(r"L(?P<layer>\d{1,4})H(?P<head>\d{1,6})\.(?P<kind>[kv])")
NAMED = 12
"""Problems that a message names."""


def to_json(circuit: Circuit) -> dict[str, Any]:
    """The circuit as JSON-ready data."""
    info = circuit.graph.info
    edges = []
    for placed in circuit.edges:
        row: dict[str, Any] = {"sender": str(placed.edge.sender), "receiver": str(placed.edge.receiver)}
        if placed.position is not None:
            row["position"] = placed.position
        if math.isfinite(score := circuit.score(placed)):
            row["score"] = score
        edges.append(row)
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": {"key": info.key, "weight_hash": info.weight_hash, "layers": info.n_layers, "heads": info.n_heads, "kv_heads": info.n_kv_heads},
        "method": circuit.method,
        "by_position": circuit.by_position,
        "positions": circuit.kept.shape[2],
        "edges": edges,
        "groups": [{"name": group.name, "nodes": list(group.nodes)} for group in circuit.groups],
        "labels": circuit.labels,
        "notes": circuit.notes,
        "provenance": to_record(circuit.provenance),
    }  # fmt: skip


def to_graphml(circuit: Circuit) -> str:
    """The DiGraph of `Circuit.to_networkx` as GraphML."""
    made = circuit.to_networkx()
    for _, _, data in made.edges(data=True):
        if not math.isfinite(data.get("score", 0.0)):
            del data["score"]
    made.graph |= {"model": circuit.graph.info.key, "weight_hash": circuit.graph.info.weight_hash}
    return "\n".join(nx.generate_graphml(made))


def read_circuit(content: bytes, graph: EdgeGraph) -> tuple[Circuit, tuple[str, ...]]:
    """A circuit of this graph from a file's content, whatever its format; and what a reader must know.

    `CircuitError` names what was wanted, what came, and the lines or edges at fault.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CircuitError("This file is no text. Expected JSON, GraphML or a list of edges, in UTF-8.") from error
    start = text.lstrip()[:1]
    if start == "{":
        return read_json(text, graph)
    if start == "<":
        return read_graphml(text, graph)
    return joined(graph, [(f"line {number}", *each) for number, each in lines(text)]), ()


def read_json(text: str, graph: EdgeGraph) -> tuple[Circuit, tuple[str, ...]]:
    try:
        record = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise CircuitError(f"This file begins like JSON and is none: {str(error)[:200]}.") from error
    if record.get("format") != FORMAT or not isinstance(record.get("edges"), list):
        raise CircuitError(f'No circuit of this application: expected "format": "{FORMAT}" and a list "edges".')
    if record.get("version") != VERSION:
        raise CircuitError(
            f"Version {str(record.get('version'))[:20]} of the format; this application reads version {VERSION}."
        )
    rows = []
    for number, row in enumerate(record["edges"][: MOST_EDGES + 1]):
        if not isinstance(row, dict):
            raise CircuitError(f"edges[{number}]: expected an object with sender and receiver.")
        where = "" if row.get("position") is None else f"@{row['position']}"
        rows.append((f"edges[{number}]", str(row.get("sender")), f"{row.get('receiver')}{where}", row.get("score")))
    positions = record.get("positions", 1) if record.get("by_position") else 1
    if not isinstance(positions, int) or not 1 <= positions <= graph.info.n_ctx:
        raise CircuitError(f'"positions": expected a whole number from 1 to {graph.info.n_ctx}.')
    made = joined(graph, rows, positions)
    model = record.get("model") if isinstance(record.get("model"), dict) else {}
    extra = {
        "method": short(record.get("method"), "from a file"),
        "groups": read_groups(record.get("groups"), made),
        "labels": read_labels(record.get("labels"), made),
        "notes": short(record.get("notes"), ""),
    }
    return Circuit(graph, made.kept, made.scores, made.by_position, **extra), other_model(model, graph.info)  # type: ignore[arg-type]


def short(value: Any, default: str) -> str:
    return value[:MOST_TEXT] if isinstance(value, str) else default


def read_groups(found: Any, circuit: Circuit) -> tuple[Group, ...]:
    there = set(circuit.nodes)
    rows = found if isinstance(found, list) else []
    groups = [
        Group(short(row.get("name"), "group")[:80], tuple(name for name in row.get("nodes", ()) if name in there))
        for row in rows
        if isinstance(row, dict) and isinstance(row.get("nodes"), list)
    ]
    return tuple(group for group in groups if group.nodes)


def read_labels(found: Any, circuit: Circuit) -> dict[str, str]:
    there = set(circuit.nodes)
    rows = found.items() if isinstance(found, dict) else ()
    return {str(name): text[:80] for name, text in rows if name in there and isinstance(text, str)}


def other_model(model: dict[str, Any], info: ModelInfo) -> tuple[str, ...]:
    """A remark where the circuit was found in other weights."""
    if not model.get("weight_hash") or model["weight_hash"] == info.weight_hash:
        return ()
    return (
        f"This circuit was found in another model ({str(model.get('key'))[:60]}), of the same shape as far as its edges go. "
        "Its scores are those of that model.",
    )  # fmt: skip


def read_graphml(text: str, graph: EdgeGraph) -> tuple[Circuit, tuple[str, ...]]:
    if "<!DOCTYPE" in text[:2000] or "<!ENTITY" in text:
        raise CircuitError("This GraphML declares entities, which are not read.")
    try:
        made = nx.parse_graphml(text)
    except (ElementTree.ParseError, nx.NetworkXException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CircuitError(f"This file begins like GraphML and cannot be read: {str(error)[:200]}.") from error
    rows = []
    for sender, receiver, data in made.edges(data=True):
        if data.get("kind") == "inside":
            continue
        name, _, position = str(sender).partition("@")
        at = f"@{position}" if position and "@" not in str(receiver) else ""
        rows.append((f"edge {sender} → {receiver}", name, f"{receiver}{at}", data.get("score")))
    marks = [receiver.rpartition("@")[2] for _, _, receiver, _ in rows if "@" in receiver]
    places = max((int(mark) for mark in marks if mark.isdigit()), default=0) + 1 if marks else 1
    remarks = other_model({"weight_hash": made.graph.get("weight_hash"), "key": made.graph.get("model")}, graph.info)
    return joined(graph, rows, min(places, graph.info.n_ctx)), remarks


def lines(text: str) -> Iterable[tuple[int, tuple[str, str, Any]]]:
    """Sender, receiver and score of each line that holds something; a heading is skipped."""
    for number, row in enumerate(csv.reader(io.StringIO(text)), 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#") or cells[0].lower() in ("sender", "source", "edge"):
            continue
        line = cells[0].replace("→", ARROW)
        if ARROW in line:
            sender, _, receiver = line.partition(ARROW)
            yield number, (sender.strip(), receiver.strip(), cells[1] if len(cells) > 1 else None)
        else:
            yield number, (line, cells[1] if len(cells) > 1 else "", cells[2] if len(cells) > 2 else None)


def joined(graph: EdgeGraph, rows: list[tuple[str, str, str, Any]], positions: int = 1) -> Circuit:
    """A circuit of rows (where, sender, receiver, score); `CircuitError` names those that do not fit."""
    if not rows:
        raise CircuitError("This file holds no edge. Expected lines such as L0H1 -> L1KV2.k.")
    if len(rows) > MOST_EDGES:
        raise CircuitError(f"This file holds {len(rows):,} edges; at most {MOST_EDGES:,} are read.")
    kept, problems = empty(graph, positions), []
    scores = np.full(kept.shape, np.nan)
    for where, sender, receiver, score in rows:
        try:
            for placed in expanded(graph, sender, receiver):
                reader, writer = placed_in(graph, placed)
                at = slice(None) if placed.position is None else placed.position
                if placed.position is not None and placed.position >= positions:
                    raise SiteError(f"position {placed.position} is beyond the circuit's {positions}.")
                kept[reader, writer, at] = True
                scores[reader, writer, at] = number_of(score)
        except ExplorerError as error:
            problems.append(f"{where}: {error}")
    if problems:
        more = f"\nand {len(problems) - NAMED:,} more" if len(problems) > NAMED else ""
        raise CircuitError(
            f"{len(problems):,} of {len(rows):,} edges do not fit {graph.info.title}:\n"
            + "\n".join(problems[:NAMED])
            + more
        )
    there = np.isfinite(scores).any()
    return Circuit(graph, kept, np.nan_to_num(scores) if there else None, positions > 1, "from a file")


def number_of(score: Any) -> float:
    try:
        return float(score)
    except (TypeError, ValueError):
        return float("nan")


def expanded(graph: EdgeGraph, sender: str, receiver: str) -> list[PlacedEdge]:
    """The edge of two names; all that a head or MLP reads by, where it is named as a whole."""
    name, at, position = receiver.partition("@")
    if found := KEYS_OF_HEAD.fullmatch(name):  # others write the keys and values that a head uses as its own
        served = graph.info.n_heads // graph.info.n_kv_heads
        receiver = f"L{found['layer']}KV{int(found['head']) // served}.{found['kind']}{at}{position}"
    try:
        return [parse_edge(f"{sender}{ARROW}{receiver}")]
    except StateError:
        writer = parse_sender(name)
    number = graph.writer_index.get(writer)
    if number is None or name == "embed":
        raise SiteError(f"{name[:40]!r} reads nothing in this graph.")
    readers = [graph.readers[reader] for reader in np.flatnonzero(owners(graph)[number])]
    return [parse_edge(f"{sender}{ARROW}{reader}{at}{position}") for reader in readers]


def placed_in(graph: EdgeGraph, placed: PlacedEdge) -> tuple[int, int]:
    """Reader and writer number; the reason why there are none."""
    edge: Edge = placed.edge
    if edge.sender not in graph.writer_index:
        raise SiteError(f"{graph.info.title} has no node {edge.sender}.")
    if edge.receiver not in graph.reader_index:
        raise SiteError(f"{graph.info.title} has no node {edge.receiver}.")
    if not graph.exists[graph.reader_index[edge.receiver], graph.writer_index[edge.sender]]:
        raise SiteError(f"{edge.sender} writes after {edge.receiver} has read, so the edge would close a cycle.")
    return graph.place(edge)
