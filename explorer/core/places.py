"""Places: a site or an edge at one position or at all: `L23H3`, `L5.resid_pre@2`, `L0H1->L1KV2.k`, `embed->logits@13`."""

from dataclasses import dataclass

from explorer.core.errors import StateError
from explorer.core.sites import Edge, Site, parse_receiver, parse_sender, parse_site

ARROW = "->"


@dataclass(frozen=True)
class Place:
    site: Site
    position: int | None = None
    """None: all positions."""

    @property
    def positions(self) -> tuple[int, ...] | None:
        return None if self.position is None else (self.position,)

    def __str__(self) -> str:
        return str(self.site) if self.position is None else f"{self.site}@{self.position}"


@dataclass(frozen=True)
class PlacedEdge:
    """An edge, at one position of its reader or (None) at all."""

    edge: Edge
    position: int | None = None

    def __str__(self) -> str:
        where = "" if self.position is None else f"@{self.position}"
        return f"{self.edge.sender}{ARROW}{self.edge.receiver}{where}"


def parse_edge(name: str) -> PlacedEdge:
    """The edge of a name such as `L0H1->L1KV2.k` or `L0H1->L1KV2.k@5`; `StateError` for other text."""
    sender, arrow, rest = name.replace("→", ARROW).partition(ARROW)
    receiver, at, position = rest.strip().partition("@")
    if not arrow or (at and not is_position(position)):
        raise StateError(
            f"{name[:60]!r} names no edge. Expected names like L0H1->L1KV2.k, embed->L0.mlp_in or L3H1->logits."
        )
    return PlacedEdge(Edge(parse_sender(sender.strip()), parse_receiver(receiver)), int(position) if at else None)


def is_position(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6


def parse_place(text: str) -> Place:
    """The place of a name such as `L23H3` or `L5.mlp_out@13`; `StateError` for other text."""
    name, at, position = text.partition("@")
    if at and not is_position(position):
        raise StateError(
            f"{text[:40]!r} names no place. Expected a site such as L23H3, or one with a position, L23H3@13."
        )
    return Place(parse_site(name), int(position) if at else None)


def site_name(kind: str, layer: int, index: int | None) -> str:
    """Name of the site that a sweep over `kind` patches in a layer."""
    letter = {"neurons": "N", "k": "KV", "v": "KV"}.get(kind, "H")
    part = "" if index is None else f"{letter}{index}"
    return f"L{layer}{part}" + ("" if kind in ("head_out", "neurons") else f".{kind}")


def parse_places(text: str) -> tuple[Place, ...]:
    """The places of names parted by commas, each once; `StateError` as `parse_place`."""
    return tuple(dict.fromkeys(parse_place(name.strip()) for name in text.split(",") if name.strip()))
