"""Groups of a circuit's nodes: by a rule, or proposed and then accepted."""

import numpy as np
import streamlit as st

from explorer.analyses.attention import HEAD_TYPES, NAMED_ABOVE, attention
from explorer.circuits.circuit import Circuit, Group
from explorer.circuits.grouping import by_layer_band, by_type, proposed
from explorer.core.errors import ExplorerError
from explorer.core.sites import Head
from explorer.plots.theme import token_label
from explorer.ui.circuit_state import Shown
from explorer.ui.desk import Desk
from explorer.ui.groups import CIRCUIT_GROUPS

RULES = ("alike edges (proposed)", "head type", "token looked at", "layer band")


def grouping(desk: Desk, shown: Shown) -> None:
    """A popover: choose a rule, see the groups, take them."""

    def choose() -> tuple[Group, ...] | None:
        rule = st.segmented_control("Group by", RULES, default=RULES[0], required=True, key="group_rule")
        width = st.number_input("Layers in a band", 1, 50, 2, key="group_band") if rule == "layer band" else 2
        try:
            return groups_by(desk, shown.circuit, str(rule), int(width))
        except ExplorerError as error:
            st.text(str(error))
            return None

    CIRCUIT_GROUPS.menu(choose, "Alike: nodes whose edges' scores point the same way (cosine 0.6 or more).")


def groups_by(desk: Desk, circuit: Circuit, rule: str, width: int) -> tuple[Group, ...]:
    if rule == RULES[0]:
        return proposed(circuit)
    if rule == "layer band":
        return by_layer_band(circuit, width)
    found = attention(desk.model, desk.tokens.text, desk.stack, bos=desk.bench.bos)
    heads = [site for site in circuit.senders if isinstance(site, Head)]
    if rule == "head type":
        scores = np.stack([found.scores[name] for name in HEAD_TYPES])
        best = {head: int(scores[:, head.layer, head.head].argmax()) for head in heads}
        types = {
            str(head): HEAD_TYPES[number]
            for head, number in best.items()
            if scores[number, head.layer, head.head] >= NAMED_ABOVE
        }
        return by_type(circuit, types)
    rows = {head: int(found.patterns[head.layer, head.head, desk.position].argmax()) for head in heads}
    return by_type(circuit, {str(head): f"{token_label(desk.tokens.texts[at])} {at}" for head, at in rows.items()})
