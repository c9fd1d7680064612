"""What steering with a feature does, dose by dose, beside random features; and a text that makes it fire."""

from typing import Any

import streamlit as st

from explorer.core.sites import Feature
from explorer.features.index import FeatureIndex
from explorer.features.maximise import Maximised, maximise
from explorer.features.steering import DoseResponse, dose_response
from explorer.plots import feature_figures as plots
from explorer.prompts.tokens import visible
from explorer.ui.data import data_menu
from explorer.ui.feature_state import Opened
from explorer.ui.html import grid, say
from explorer.ui.lines import line_chart
from explorer.ui.on_request import on_request
from explorer.ui.terms import help_for


def response_panel(page: Opened, feature: Feature, index: FeatureIndex | None) -> None:
    desk = page.desk
    st.markdown("**Dose and response**", help=help_for("dose-response (of a feature)"))
    if not desk.answer:
        st.caption("This reads the objective: write an answer on the Prompt page.")
    else:
        unit = float(index.totals["largest"][feature.index]) if index is not None else 0.0
        known = desk.model.identity, page.dictionary.identity
        inputs = (str(feature), known, desk.tokens.text, desk.answer, desk.distractor, desk.stack, unit)
        found: DoseResponse | None = on_request(
            "dose", "Measure", inputs,
            lambda show, cancelled: dose_response(
                desk.model, feature, desk.tokens.text, desk.answer, desk.distractor, unit=unit or None, interventions=desk.stack,
                bos=desk.bench.bos, progress=show, cancelled=cancelled,
            ),
            help="Adds its decoder row at all positions in several doses, and 10 random features' rows of equal norm; side effects on other texts.",
        )  # fmt: skip
        if found is not None:
            dose_charts(found)
    optimised(page, feature)


def dose_charts(found: DoseResponse) -> None:
    line_chart(plots.dose_lines(found), "dose_objective", lambda at: None)
    line_chart(plots.dose_lines(found, "side effect"), "dose_kl", lambda at: None)
    slopes = found.random_slopes
    beaten = int((abs(slopes) >= abs(found.slope)).sum())
    say(
        f"One dose is an activation of {found.unit:.3g}. Slope within ±1 dose: {found.slope:+.3f} logits a dose; {beaten} of {len(slopes)} "
        "random features of equal norm have one as large. A claim of cause is checked, with its controls, when it is kept as a finding."
    )
    data_menu("dose", found.table, found.provenance)


def optimised(page: Opened, feature: Feature) -> None:
    desk = page.desk
    st.markdown("**Text that makes it fire (optimised)**", help=help_for("feature visualisation"))
    found: Any = on_request(
        "maximise", "Search", (str(feature), desk.model.identity, page.dictionary.identity),
        lambda show, cancelled: maximise(desk.model, feature, progress=show, cancelled=cancelled),
        help="Gradient-guided search over the vocabulary for six tokens.",
    )  # fmt: skip
    if isinstance(found, Maximised):
        st.html(
            grid(
                ["token", "pre-activation"],
                [[visible(token), f"{act:+.2f}"] for token, act in zip(found.tokens, found.acts, strict=True)],
            )
        )
        say(
            f"Optimised, not found in any text: from {found.history[0]:.2f} to {found.history[-1]:.2f} at the last token."
        )
