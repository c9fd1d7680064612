"""The choice that a click opens: ablate, patch, freeze or scale a site, at all or chosen positions."""

from dataclasses import replace

import streamlit as st

from explorer.core.sites import Edge, Site
from explorer.prompts.tokens import visible
from explorer.ui import session
from explorer.ui.desk import Desk, problem_with
from explorer.ui.state import Entry, How

CHOICES: dict[How, tuple[str, str]] = {
    "zero": ("Zero", "Replace it by zero."),
    "mean": ("Mean", "Replace it by its mean over all positions of the clean and the corrupt prompt."),
    "resample": ("Resample", "Replace it by its value at the same position of the corrupt prompt."),
    "patch": ("Patch", "Replace it by its value at the same position of the other prompt of the pair."),
    "freeze": ("Freeze", "Hold it at its value in the run without interventions, whatever the others do."),
    "scale": ("Halve", "Multiply it by 0.5; the factor can be changed on the strip."),
}
"""What is offered for any site; features have more (`ui/feature_act.py`)."""


def act(
    desk: Desk,
    site: Site | Edge,
    key: str,
    positions: tuple[int, ...] | None = None,
    *,
    choices: tuple[How, ...] = tuple(CHOICES),
    choose: bool = True,
) -> None:
    """Buttons that put an entry for the site on the stack; `positions` fixes them, else they can be chosen."""
    chosen = choose_positions(desk, key) if positions is None and choose else positions
    with st.container(horizontal=True, key=f"{key}_choices"):
        for how in choices:
            label, help_text = CHOICES[how]
            problem = why_not(desk, Entry(site, how, chosen))
            st.button(
                label,
                key=f"{key}_{how}",
                help=help_text if problem is None else f"Not possible here: {problem}",
                disabled=problem is not None,
                **session.calling(put, Entry(site, how, chosen)),
            )
        if present(site):
            st.button(
                "Restore",
                key=f"{key}_restore",
                icon=":material/undo:",
                help="Remove every intervention on it",
                **session.calling(restore, site),
            )


def choose_positions(desk: Desk, key: str) -> tuple[int, ...] | None:
    length = len(desk.tokens)
    if length > 200:
        return None
    picked = st.multiselect(
        "Positions",
        range(length),
        format_func=lambda position: f"{position} {visible(desk.tokens.texts[position])}",
        placeholder="all positions",
        key=f"{key}_positions_{length}",
        label_visibility="collapsed",
    )
    return tuple(sorted(picked)) or None


def why_not(desk: Desk, entry: Entry) -> str | None:
    """Why an entry cannot be carried out here.  Its site and positions were clicked, so only values from elsewhere can fail."""
    if entry.how not in ("resample", "patch"):
        return None
    return problem_with(entry, desk.bench, desk.model, desk.tokens, desk.bench.side)


def present(site: Site | Edge) -> bool:
    return any(entry.site == site for entry in session.bench().entries)


def put(entry: Entry) -> None:
    """Add an entry; one for the same site, positions and prompts is changed in place."""
    entries = session.bench().entries
    for index, old in enumerate(entries):
        if (old.site, old.positions, old.on) == (entry.site, entry.positions, entry.on):
            session.set_entries((*entries[:index], replace(entry, enabled=True), *entries[index + 1 :]))
            return
    session.set_entries((*entries, entry))


def restore(site: Site | Edge) -> None:
    session.set_entries(tuple(entry for entry in session.bench().entries if entry.site != site))
