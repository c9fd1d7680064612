"""The live renderer of `Graph`: cytoscape.js (MIT, in vendor/), updated in place, with zoom, search and a keyboard walk."""

import json
import re
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path
from typing import Any

import streamlit as st

from explorer.plots.graph import Graph

HERE = Path(__file__).parent
BAR = (
    "<div class='ce-graph-bar'><input type='search' placeholder='Find a node' aria-label='Find a node'>"
    "<button data-do='fit' title='Show all (0)'>Fit</button><button data-do='in' aria-label='Zoom in'>+</button>"
    "<button data-do='out' aria-label='Zoom out'>−</button><button data-do='group' hidden>Group</button>"
    "<button data-do='png' aria-label='Save as PNG'>PNG</button></div>"
)


def bundled() -> str:
    """cytoscape.js as a local name: its module's last statement, an export, turned into a constant."""
    text = (HERE / "vendor" / "cytoscape.esm.min.mjs").read_text()
    found = re.search(r"export\s*\{\s*(\w+)\s+as\s+default\s*\}\s*;?\s*$", text)
    assert found, "cytoscape.esm.min.mjs does not end in its default export"
    return f"{text[: found.start()]}\nconst cytoscape = {found[1]};\n"


_graph = st.components.v2.component(
    "circuit_graph",
    html=f"<div class='ce-graph'>{BAR}<div class='ce-graph-host' tabindex='0' role='application'></div>"
    "<div class='ce-graph-card' role='status'><div></div><canvas></canvas></div></div>",
    css=(HERE / "graph.css").read_text(),
    js=bundled() + (HERE / "graph.js").read_text(),
    isolate_styles=False,
)


def graph_chart(
    shown: Graph, key: str, on_item: Callable[[str], None], on_group: Callable[[tuple[str, ...]], None], about: str = ""
) -> None:
    """Draw it.  `on_item` gets the id of what was clicked (":name" of a group, empty when cleared), `on_group` several nodes.

    The view stays where the user moved it until `about` changes.
    """

    def take() -> None:
        found = st.session_state[f"{key}_graph"]
        if found.group:
            on_group(tuple(map(str, found.group)))
        elif found.item is not None:
            on_item(str(found.item))

    body: dict[str, Any] = {
        "nodes": [
            {
                "id": node.id, "label": node.label, "x": node.x, "y": node.y, "color": node.color, "hover": node.hover,
                "size": node.size, "small": node.size < 30, "parent": node.parent, "ring": node.ring, "marked": node.marked,
                "thumbnail": node.thumbnail, "shape": node.shape,
            }
            for node in shown.nodes
        ],
        "edges": [
            {
                "id": edge.id, "source": edge.source, "target": edge.target, "width": round(edge.width, 2), "color": edge.color,
                "hover": edge.hover, "kind": edge.kind, "marked": edge.marked,
            }
            for edge in shown.edges
        ],
        "rows": [list(row) for row in shown.rows],
        "columns": [list(column) for column in shown.columns],
        "groups": dict(shown.groups),
    }  # fmt: skip
    signature = sha1(json.dumps(body).encode(), usedforsecurity=False).hexdigest()
    data = body | {"signature": signature, "selected": shown.selected, "height": shown.height, "about": about}
    with st.container(key=key):
        _graph(key=f"{key}_graph", data=data, on_item_change=take, on_group_change=take)
