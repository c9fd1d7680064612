"""Places: a site at one position or at all, as patches name them: `L23H3`, `L23H3@13`, `L5.resid_pre@2`."""

from dataclasses import dataclass

from explorer.core.errors import StateError
from explorer.core.sites import Site, parse_site


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


def parse_place(text: str) -> Place:
    """The place of a name such as `L23H3` or `L5.mlp_out@13`; `StateError` for other text."""
    name, at, position = text.partition("@")
    if at and not (position.isascii() and position.isdigit() and len(position) <= 6):
        raise StateError(
            f"{text[:40]!r} names no place. Expected a site such as L23H3, or one with a position, L23H3@13."
        )
    return Place(parse_site(name), int(position) if at else None)


def site_name(kind: str, layer: int, index: int | None) -> str:
    """Name of the site that a sweep over `kind` patches in a layer."""
    letter = {"neurons": "N", "k": "KV", "v": "KV"}.get(kind, "H")
    part = "" if index is None else f"{letter}{index}"
    return f"L{layer}{part}" + ("" if kind in ("head_out", "neurons") else f".{kind}")
