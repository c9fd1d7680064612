"""The choice that a click opens: ablate a site by zero, mean or resampling, at all or chosen positions."""

from dataclasses import replace

import streamlit as st

from explorer.core.sites import Site
from explorer.engine.interventions import AblationKind
from explorer.prompts.tokens import visible
from explorer.ui import session
from explorer.ui.desk import Desk, problem_with
from explorer.ui.state import Entry

CHOICES: dict[AblationKind, tuple[str, str]] = {
    "zero": ("Zero", "Replace what it writes by zero."),
    "mean": ("Mean", "Replace what it writes by its mean over all positions of the clean and the corrupt prompt."),
    "resample": ("Resample", "Replace what it writes by what it writes at the same position of the corrupt prompt."),
}


def act(desk: Desk, site: Site, key: str, positions: tuple[int, ...] | None = None) -> None:
    """Buttons that put an ablation of the site on the stack; `positions` fixes them, else they can be chosen."""
    chosen = choose_positions(desk, key) if positions is None else positions
    with st.container(horizontal=True, key=f"{key}_choices"):
        for how, (label, help_text) in CHOICES.items():
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
    """Why an entry cannot be carried out here.  Its site and positions were clicked, so only resampling can fail."""
    return problem_with(entry, desk.bench, desk.model, desk.tokens) if entry.how == "resample" else None


def present(site: Site) -> bool:
    return any(entry.site == site for entry in session.bench().entries)


def put(entry: Entry) -> None:
    """Add an entry; one for the same site and positions is changed in place."""
    entries = session.bench().entries
    for index, old in enumerate(entries):
        if (old.site, old.positions) == (entry.site, entry.positions):
            session.set_entries((*entries[:index], replace(entry, enabled=True), *entries[index + 1 :]))
            return
    session.set_entries((*entries, entry))


def restore(site: Site) -> None:
    session.set_entries(tuple(entry for entry in session.bench().entries if entry.site != site))
