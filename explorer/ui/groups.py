"""Groups of a graph's nodes: joined by hand or by a rule, renamed, changed and dissolved.  Circuits and attribution graphs have each their own."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import streamlit as st

from explorer.circuits.circuit import Group
from explorer.core.sites import parse_site
from explorer.ui import session
from explorer.ui.act import CHOICES, put
from explorer.ui.html import grid, say
from explorer.ui.state import Entry, How

OFFERED: tuple[How, ...] = ("zero", "mean", "resample")


@dataclass(frozen=True)
class Groups:
    """The groups of one kind of graph, in the workbench."""

    field: str
    open_field: str
    """What is open in the graph: a node, or a group behind a colon."""

    def all(self) -> tuple[Group, ...]:
        found: tuple[Group, ...] = getattr(session.bench(), self.field)
        return found

    def put(self, groups: tuple[Group, ...], opened: str = "") -> None:
        session.update(**{self.field: groups, self.open_field: f":{opened}" if opened else ""})

    def join(self, names: tuple[str, ...]) -> None:
        """Draw some nodes as one; a node is in one group at a time."""
        if len(names) < 2:
            return
        left = [Group(each.name, tuple(name for name in each.nodes if name not in names)) for each in self.all()]
        taken = {each.name for each in left}
        title = next(title for number in count(1) if (title := f"group {number}") not in taken)
        self.put((*(each for each in left if len(each.nodes) > 1), Group(title, names)), title)

    def rename(self, old: str, key: str) -> None:
        new = " ".join(st.session_state[key].split())
        if new and new not in {each.name for each in self.all()}:
            self.put(tuple(Group(new, each.nodes) if each.name == old else each for each in self.all()), new)

    def dissolve(self, name: str) -> None:
        self.put(tuple(each for each in self.all() if each.name != name))

    def menu(self, choose: Callable[[], tuple[Group, ...] | None], by_hand: str) -> None:
        """A popover: `choose` draws the choice of a rule and gives its groups, which can be taken; None where it said why not."""
        menu: Any = st.popover(
            "Groups", icon=":material/workspaces:", key=f"{self.field}_menu", type="tertiary", on_change="rerun"
        )
        if not menu.open:
            return
        with menu:
            found = choose()
            if found is None:
                return
            if found:
                st.html(grid(["group", "nodes"], [[group.name, ", ".join(group.nodes)] for group in found], "ce-words"))
                st.button(
                    "Take these groups", key=f"{self.field}_take", type="primary", **session.calling(self.put, found)
                )
            else:
                st.caption("No two nodes belong together by this rule.")
            if self.all():
                st.button("Dissolve all groups", key=f"{self.field}_none", **session.calling(self.put, ()))
            say(f"{by_hand} By hand: hold g and click nodes.")

    def panel(self, name: str, called: dict[str, str], more: Callable[[Group], None] = lambda group: None) -> None:
        """The group that is open: its name, its nodes, and what can be done with all of them; `more` adds buttons."""
        group = next((each for each in self.all() if each.name == name), None)
        if group is None:
            say("This group is gone.")
            return
        key = f"group_{name}"
        st.session_state[key] = name
        st.text_input("Group", key=key, on_change=self.rename, args=(name, key), max_chars=60)
        say(", ".join(called.get(node, node) for node in group.nodes))
        with st.container(horizontal=True, key="group_acts"):
            for how in OFFERED:
                label, help_text = CHOICES[how]
                st.button(
                    f"{label} all", key=f"group_{how}", help=help_text, **session.calling(put_all, group.nodes, how)
                )
            more(group)
            st.button("Dissolve", key="group_dissolve", icon=":material/close:", **session.calling(self.dissolve, name))


CIRCUIT_GROUPS = Groups("circuit_groups", "circuit_item")
GRAPH_GROUPS = Groups("graph_groups", "graph_node")


def put_all(nodes: tuple[str, ...], how: How) -> None:
    """An intervention on every node; a node of one position (`L1.transcoder/5@3`) is changed there alone."""
    for node in nodes:
        base, _, at = node.partition("@")
        if base != "embed":
            put(Entry(parse_site(base), how, (int(at),) if at else None))
