"""Supernodes of an attribution graph: features at one token, of one layer, or with alike edges."""

from collections import defaultdict
from typing import Literal

import numpy as np

from explorer.circuits.circuit import Group
from explorer.circuits.grouping import communities
from explorer.features.graph import Shown

GroupRule = Literal["alike edges (proposed)", "token", "token and layer"]


def graph_groups(shown: Shown, rule: GroupRule) -> tuple[Group, ...]:
    """Groups of the features that are shown; a feature alone stays alone."""
    graph = shown.graph
    numbers = [number for number, node in enumerate(graph.nodes) if shown.nodes[number] and node.kind == "feature"]
    if rule == "alike edges (proposed)":
        kept = np.where(shown.edges, graph.edges, 0.0)
        rows = np.concatenate([kept[numbers], kept[:, numbers].T], 1)
        return communities([graph.nodes[number].name for number in numbers], rows)
    found: dict[str, list[str]] = defaultdict(list)
    for number in numbers:
        node = graph.nodes[number]
        layer = f" L{node.layer}" if rule == "token and layer" else ""
        found[f"{graph.tokens[node.position].strip() or '·'} {node.position}{layer}"].append(node.name)
    return tuple(Group(name, tuple(members)) for name, members in found.items() if len(members) > 1)
