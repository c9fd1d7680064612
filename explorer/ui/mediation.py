"""The Mediation view: total, natural direct and natural indirect effect of a component, with the identity that ties them."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from explorer.analyses.mediation import Mediation, mediation
from explorer.core.errors import ExplorerError
from explorer.core.places import parse_place, parse_places
from explorer.plots import patching_figures as plots
from explorer.ui import session
from explorer.ui.corruption import corruption_control
from explorer.ui.data import data_menu
from explorer.ui.desk import Desk, message
from explorer.ui.heatmap import heatmap
from explorer.ui.html import grid, say
from explorer.ui.sweeps import on_the_pair
from explorer.ui.terms import help_for

TEXT, BAD, WHY = "w_mediators", "_bad_mediators", "_why_bad"
HELP = help_for("total effect", "natural direct effect", "natural indirect effect", "interaction (of effects)")


def mediation_view(desk: Desk) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.session_state[TEXT] = st.session_state.get(BAD) or ", ".join(mediators_of(desk))
        st.text_input(
            "Mediators", key=TEXT, on_change=take, width=420, placeholder="L23H3, or L5.mlp_out@9, L20H0",
            help="Sites by name, at all positions or at one (L23H3@13). Several take their values together. Cells opened or "
            "collected in the Sweep view stand here.",
        )  # fmt: skip
        corruption_control(desk)
    if BAD in st.session_state:
        st.error("This is no list of mediators.", icon=":material/error:")
        st.text(st.session_state[WHY])
        return
    names = mediators_of(desk)
    if not names:
        st.info(
            "Name a component, or open a cell in the Sweep view: its part in the total effect is taken apart here.",
            icon=":material/info:",
        )
        return
    try:
        found = computed(desk, names)
    except ExplorerError as error:
        message("mediation_error", "These mediators cannot be run on this pair.", error)
        return
    shown(found, ", ".join(names))


def take() -> None:
    """The mediators that were typed; a text that names none stays, with the reason."""
    text = st.session_state[TEXT]
    try:
        names = tuple(map(str, parse_places(text)))
    except ExplorerError as error:
        st.session_state[BAD], st.session_state[WHY] = text, str(error)
        return
    st.session_state.pop(BAD, None)
    session.update(collected=names, place=names[0] if names else "")


def mediators_of(desk: Desk) -> tuple[str, ...]:
    return desk.bench.collected or ((desk.bench.place,) if desk.bench.place else ())


def computed(desk: Desk, names: Sequence[str]) -> Mediation:
    found: Mediation = on_the_pair(desk, mediation, tuple(map(parse_place, names)), 5_000)
    return found


def shown(found: Mediation, name: str) -> None:
    named = {
        "total (TE)": float(found.total.mean()),
        "direct (NDE)": float(found.direct.mean()),
        "indirect (NIE)": float(found.indirect.mean()),
        "reverse indirect": float(found.reverse_indirect.mean()),
        "interaction": float(found.interaction.mean()),
    }
    st.markdown("**From the clean to the corrupt prompt, through the mediator**", help=HELP)
    rows = [
        ["total effect TE", "clean → corrupt prompt, mediator as it follows", f"{named['total (TE)']:+.4f}"],
        [
            "natural direct effect NDE",
            "corrupt prompt, mediator held at its clean value",
            f"{named['direct (NDE)']:+.4f}",
        ],
        [
            "natural indirect effect NIE",
            "clean prompt, mediator at its corrupt value (noising)",
            f"{named['indirect (NIE)']:+.4f}",
        ],
        ["reverse NIE", "corrupt prompt, mediator at its clean value (denoising)", f"{named['reverse indirect']:+.4f}"],
        [
            "interaction TE − (NDE + NIE)",
            "what direct and indirect effect do only together",
            f"{named['interaction']:+.4f}",
        ],
    ]
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.html(grid([name, "", "logits"], rows))
        share = "" if not np.isfinite(found.share) else f" The indirect effect is {found.share:.0%} of the total one."
        say(f"Check: TE = NDE − reverse NIE, to {found.check:.0e} logits (two separate runs).{share}")
        for note in found.notes:
            say(note)
        say("One pair: the Dataset view gives intervals. Mediators in series do not add up to one another.")
        data_menu("mediation", lambda: found.frame, found.provenance)
    with right:
        heatmap(plots.mediation_bars(named), "mediation_bars")
