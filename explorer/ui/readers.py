"""How single parts of an address are read: each function takes a text and gives a value, or `StateError` that says what was wanted."""

import re
from collections.abc import Callable
from typing import Any, get_args
from urllib.parse import quote, unquote

from explorer.circuits.circuit import Group
from explorer.circuits.edge_scores import Method
from explorer.circuits.editing import parse_edit
from explorer.core.errors import StateError
from explorer.core.places import ARROW, parse_edge, parse_place
from explorer.core.sites import Feature, Head, parse_sender, parse_site
from explorer.models.dictionary_files import parse_place as parse_dictionary
from explorer.models.zoo.world import TASKS
from explorer.prompts.tokens import visible
from explorer.ui.state import PAIR_COUNTS

MAX_PINNED, MAX_PLACES = 8, 100
MAX_EDITS, MAX_NAME, MAX_NOTES = 300, 80, 2_000
MAX_NODE = 80


def read_positions(text: str) -> tuple[int, ...]:
    numbers = text.split(",")
    if not all(number.isascii() and number.isdigit() and len(number) <= 6 for number in numbers):
        raise StateError(f"{shown(text)} is no list of positions such as 3,4")
    return tuple(sorted({int(number) for number in numbers}))


def one_of(choices: Any) -> Callable[[str], Any]:
    def read(text: str) -> str:
        if text not in get_args(choices):
            raise StateError(f"{shown(text)} is not one of {', '.join(get_args(choices))}")
        return text

    return read


def whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text[:9]) <= high):
            raise StateError(f"{shown(text)} is no whole number from {low} to {high}")
        return int(text)

    return read


def read_head(text: str) -> Head:
    site = parse_site(text)
    if not isinstance(site, Head):
        raise StateError(f"{shown(text)} is no head such as L9H6")
    return site


def read_switch(text: str) -> bool:
    if text not in ("True", "False"):
        raise StateError(f"{shown(text)} is neither True nor False")
    return text == "True"


def read_component(text: str) -> str:
    return str(parse_site(text))


def read_place(text: str) -> str:
    return str(parse_place(text))


def read_places(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(read_place(name) for name in text.split(",")[:MAX_PLACES]))


def read_job(text: str) -> str:
    if not (text.isascii() and text.isalnum() and len(text) <= 16):
        raise StateError(f"{shown(text)} is no name of a job or finding")
    return text


def read_name(text: str) -> str:
    """Of a lesson: the name of its file."""
    if not re.fullmatch(r"[a-z0-9-]{1,60}", text):
        raise StateError(f"{shown(text)} is no lesson's name")
    return text


def read_task(text: str) -> str:
    if text not in TASKS:
        raise StateError(f"{shown(text)} is no task; known: {', '.join(TASKS)}")
    return text


def read_count(text: str) -> int:
    if text not in map(str, PAIR_COUNTS):
        raise StateError(f"{shown(text)} is not one of {', '.join(map(str, PAIR_COUNTS))}")
    return int(text)


def read_number(text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise StateError(f"{shown(text)} is no number from {low:g} to {high:g}")
    return value


def read_heads(text: str) -> tuple[Head, ...]:
    return tuple(dict.fromkeys(read_head(name) for name in text.split(",")[:MAX_PINNED]))


def read_text(text: str) -> str:
    if len(text) > 200:
        raise StateError(f"{shown(text)} is longer than 200 characters")
    return text


def read_edits(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(parse_edit(part)) for part in text.split(",")[:MAX_EDITS]))


def read_method(text: str) -> str:
    return "by hand" if text == "by hand" else str(one_of(Method)(text))


def write_groups(groups: tuple[Group, ...]) -> str:
    """`name:node|node,…`, names and nodes percent-encoded."""
    return ",".join(
        f"{quote(group.name, safe='')}:{'|'.join(quote(node, safe='') for node in group.nodes)}" for group in groups
    )


def groups_reader(read: Callable[[str], str]) -> Callable[[str], tuple[Group, ...]]:
    """A reader of groups whose nodes are read by `read`."""

    def groups(text: str) -> tuple[Group, ...]:
        found = []
        for part in text.split(",")[:MAX_PLACES]:
            name, _, nodes = part.partition(":")
            members = tuple(read(unquote(node)) for node in nodes.split("|")[:MAX_EDITS])
            found.append(Group(unquote(name)[:MAX_NAME], members))
        return tuple(found)

    return groups


def write_labels(labels: tuple[tuple[str, str], ...]) -> str:
    return ",".join(f"{node}:{quote(label, safe='')}" for node, label in labels)


def read_labels(text: str) -> tuple[tuple[str, str], ...]:
    parts = [part.partition(":") for part in text.split(",")[:MAX_EDITS]]
    return tuple((str(parse_sender(node)), unquote(label)[:MAX_NAME]) for node, _, label in parts)


def read_notes(text: str) -> str:
    return text[:MAX_NOTES]


def read_item(text: str) -> str:
    """A node, an edge or (behind a colon) a group."""
    if text.startswith(":"):
        return text[: MAX_NAME + 1]
    if ARROW in text:
        return str(parse_edge(text))
    return text if text == "logits" else str(parse_sender(text.partition("@")[0]))


def shown(text: str) -> str:
    """A stranger's text, short and with its white space visible."""
    return f"“{visible(text[:40])}{'…' if len(text) > 40 else ''}”"


def read_feature(text: str) -> str:
    site = parse_site(text)
    if not isinstance(site, Feature):
        raise StateError(f"{shown(text)} is no feature such as L14.resid_post/17")
    return str(site)


def read_dictionary(text: str) -> str:
    parse_dictionary(text)
    return text


def read_graph_node(text: str) -> str:
    """A node of an attribution graph, or (behind a colon) a group."""
    if len(text) > MAX_NODE or not text.isprintable():
        raise StateError(f"{shown(text)} is no node of an attribution graph")
    return text
