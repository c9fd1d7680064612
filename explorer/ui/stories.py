"""Stories against causes: gradients at the input tokens, beside the effect of replacing the same tokens."""

from typing import Any, get_args

import numpy as np
import streamlit as st

from explorer.analyses.token_attribution import CLOSE, TokenAttribution, TokenBaseline, token_attribution
from explorer.core.sites import Resid
from explorer.plots import attribution_figures as plots
from explorer.ui import session
from explorer.ui.act import act
from explorer.ui.data import data_menu
from explorer.ui.desk import Desk
from explorer.ui.heatmap import heatmap
from explorer.ui.html import safe_html, say
from explorer.ui.on_request import on_request
from explorer.ui.state import other_side
from explorer.ui.terms import help_for

BASELINES = {"mean": "the prompt's mean embedding", "corrupt": "the other prompt's token"}
HELP = help_for("gradient × input", "integrated gradients", "measured effect of a token", "rank correlation")


def stories(desk: Desk) -> None:
    """Asked for, since every token takes a run of its own."""
    st.markdown("**Input tokens: stories and causes**", help=HELP)
    bench = desk.bench
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "In a token's place", get_args(TokenBaseline), format_func=BASELINES.__getitem__, width=260,
            **session.bound("token_baseline", bench.token_baseline),
        )  # fmt: skip

    def work(progress: Any, cancelled: Any) -> TokenAttribution:
        return token_attribution(
            desk.model, desk.tokens.text, desk.stack, answer=desk.answer, distractor=desk.distractor,
            baseline=bench.token_baseline, corrupt=getattr(bench.pair, other_side(bench.side)), position=desk.position,
            bos=bench.bos, progress=progress, cancelled=cancelled,
        )  # fmt: skip

    other = getattr(bench.pair, other_side(bench.side)) if bench.token_baseline == "corrupt" else ""
    inputs = (
        desk.model.identity, tuple(desk.tokens.ids), desk.stack, desk.answer, desk.distractor, desk.position,
        bench.token_baseline, other,
    )  # fmt: skip
    found: TokenAttribution | None = on_request(
        "stories", "Compute gradients and measure every token", inputs, work, help="Some seconds; a run a token."
    )
    if found is not None:
        picture(desk, found)


def picture(desk: Desk, found: TokenAttribution) -> None:
    heatmap(plots.stories(found, measured=True), "stories", lambda row, column: read_token(found, column))
    gradient, integrated = (found.rank_correlation(name) for name in ("gradient", "integrated"))
    n = int(found.compared.sum())
    said = (
        f"Rank correlation with the measured effects over {n} tokens: gradient × input ρ = {gradient:+.2f}, integrated "
        f"gradients ρ = {integrated:+.2f}."
        if np.isfinite(gradient)
        else f"Only {n} {'token differs' if n == 1 else 'tokens differ'} from the baseline: too few for a rank correlation."
    )
    say(f"{said} The first two rows are correlational; the third is an intervention.")
    span = found.objective - found.at_baseline
    trusted = abs(found.residual) <= max(2 * CLOSE * abs(span), 1e-3)
    say(
        f"Integrated gradients add up to {found.integrated.sum():+.3f}; m(x) − m(x′) = {span:+.3f}, residual {found.residual:+.3f}."
        + (
            ""
            if trusted
            else " That is too much: along this line the model changes too abruptly, so do not rely on them."
        )
    )
    data_menu("token_attribution", lambda: found.frame, found.provenance)
    chosen = min(desk.bench.source or 0, len(desk.tokens) - 1)
    st.html(f"Act on position {chosen}, <code>{safe_html(desk.tokens.texts[chosen])}</code> (click another above):")
    act(desk, Resid(0, "resid_pre"), "act_token", positions=(chosen,), choices=("zero", "mean", "patch"))


def read_token(found: TokenAttribution, column: int) -> None:
    """A click chooses the token to act on."""
    block = -(-len(found.tokens) // plots.MOST_TOKENS)
    session.update(source=column * block)
