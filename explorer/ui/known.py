"""What is known of a shipped model: a true circuit as a table, or the accuracies on its card."""

import streamlit as st

from explorer.models.catalog import CATALOG
from explorer.models.zoo.knowledge import card, true_circuit
from explorer.models.zoo.world import TASKS
from explorer.ui.html import grid


def known_panel(key: str) -> None:
    """Below the model card, for models of the catalog."""
    circuit, measured = true_circuit(key), card(key)
    if circuit is not None:
        with st.expander("The true circuit of this model", icon=":material/account_tree:", key="true_circuit"):
            st.caption(f"{CATALOG[key].title}: {CATALOG[key].note}. Set by hand, so this is known and not inferred.")
            st.text(circuit.text)
            st.html(grid(["from", "to"], [[str(edge.sender), str(edge.receiver)] for edge in circuit.edges]))
    if measured is not None:
        with st.expander("What this model was measured to do", icon=":material/fact_check:", key="known_card"):
            st.caption(
                f"{measured['tokens'] / 1e6:.1f} M tokens of the small world, {measured['cpu_minutes']} CPU-minutes. Strict top-1 "
                "over the whole vocabulary, both prompts of each pair; for years the probability of all later ones. A held-out "
                "template is a combination of opening and core that no document had."
            )
            rows = [
                [TASKS[name].title, f"{found['fresh']:.3f}", f"{found['held_out']:.3f}"]
                for name, found in measured["tasks"].items()
            ]
            rows.append(["Random tokens told twice", f"{measured['repeats']:.3f}", ""])
            rows += [
                [f"As taught: {name}", f"{share:.3f}", ""] for name, share in measured.get("behaviour", {}).items()
            ]
            st.html(grid(["task", "fresh", "held-out"], rows))
