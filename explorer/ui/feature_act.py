"""What a click on a feature offers: ablate, double, clamp, steer and the rest, at all or chosen positions."""

import streamlit as st

from explorer.core.sites import Feature
from explorer.ui import session
from explorer.ui.act import choose_positions, present, put, restore, why_not
from explorer.ui.desk import Desk
from explorer.ui.state import Entry, How

BUTTONS: tuple[tuple[str, How, float, str], ...] = (
    ("Ablate", "zero", 0.5, "Set its activation to 0; what the dictionary does not explain stays."),
    ("Double", "scale", 2.0, "Multiply its activation by 2."),
    ("Turn around", "scale", -1.0, "Multiply its activation by −1."),
    ("Mean", "mean", 0.5, "Set it to its mean over all positions of both prompts."),
    ("Patch", "patch", 0.5, "Set it to its activation at the same position of the other prompt."),
    ("Freeze", "freeze", 0.5, "Hold it at its activation in the run without interventions."),
)


def feature_actions(desk: Desk, feature: Feature, key: str, largest: float) -> None:
    """Buttons that put an entry for the feature on the stack; `largest` is a strong activation, offered for clamp and steer."""
    positions = choose_positions(desk, key)
    with st.container(horizontal=True, key=f"{key}_choices"):
        for label, how, factor, help_text in BUTTONS:
            entry = Entry(feature, how, positions, factor=factor)
            problem = why_not(desk, entry)
            st.button(
                label,
                key=f"{key}_{label}",
                help=help_text if problem is None else f"Not possible here: {problem}",
                disabled=problem is not None,
                **session.calling(put, entry),
            )
        if present(feature):
            st.button(
                "Restore",
                key=f"{key}_restore",
                icon=":material/undo:",
                help="Remove every intervention on it",
                **session.calling(restore, feature),
            )
    with st.container(horizontal=True, vertical_alignment="bottom", key=f"{key}_numbers"):
        amount = st.number_input(
            "Activation", -1e6, 1e6, float(f"{2 * largest or 10:.3g}"), key=f"{key}_amount_{feature}", width=150,
            help="For Clamp: what it is set to. For Steer: how much is added, fire or not. Begins at twice its largest here.",
        )  # fmt: skip
        for label, how in (("Clamp", "clamp"), ("Steer", "steer")):
            text = "Set its activation to this number." if how == "clamp" else "Add its decoder row this many times."
            st.button(
                label,
                key=f"{key}_{how}",
                help=text,
                **session.calling(put, Entry(feature, how, positions, factor=float(amount))),
            )
