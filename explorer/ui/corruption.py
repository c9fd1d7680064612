"""What stands against the clean prompt: the other prompt, noise on chosen tokens, or tokens replaced one for one."""

from typing import Any, get_args

import streamlit as st

from explorer.core.errors import ExplorerError
from explorer.prompts.replacement import alike, replaced
from explorer.prompts.tokens import Tokens, visible
from explorer.ui import session
from explorer.ui.desk import Desk, message
from explorer.ui.html import say
from explorer.ui.state import Corruption
from explorer.ui.terms import help_for


def corruption_control(desk: Desk) -> None:
    bench = desk.bench
    noisy = bench.corruption == "noise"
    where = "all tokens" if not bench.noise_at else f"positions {', '.join(map(str, bench.noise_at))}"
    label = f"Corruption: noise on {where}" if noisy else "Corruption: the other prompt"
    menu: Any = st.popover(label, icon=":material/blur_on:", key="corruption", on_change="rerun")
    if not menu.open:
        return
    with menu:
        st.segmented_control(
            "Against the clean prompt stands", get_args(Corruption), required=True, help=help_for("noise (causal tracing)"),
            **session.bound("corruption", bench.corruption),
        )  # fmt: skip
        try:
            tokens = desk.model.tokenize(bench.pair.clean, bench.bos)
        except ExplorerError as error:
            message("corruption_error", "The clean prompt cannot be run.", error)
            return
        if noisy:
            noise_control(desk, tokens)
        else:
            replacement_control(desk, tokens)


def noise_control(desk: Desk, tokens: Tokens) -> None:
    bench = desk.bench
    st.multiselect(
        "Tokens that are corrupted", range(len(tokens)), format_func=lambda at: f"{at} {visible(tokens.texts[at])}",
        placeholder="all", **session.bound("noise_at", [at for at in bench.noise_at if at < len(tokens)]),
    )  # fmt: skip
    st.number_input(
        "Standard deviation, × that of the embeddings",
        0.0,
        100.0,
        step=0.5,
        **session.bound("noise_scale", bench.noise_scale),
    )
    st.number_input("Draws", 1, 50, help="Effects are means over so many draws.", **session.bound("draws", bench.draws))
    say(f"The embeddings' standard deviation is {desk.model.embedding_sd:.4f}; ROME takes three times that.")


def replacement_control(desk: Desk, tokens: Tokens) -> None:
    """Symmetric token replacement: a corrupt prompt of the same length by construction."""
    st.markdown("**Replace tokens of the clean prompt**", help=help_for("symmetric token replacement"))
    positions = st.multiselect(
        "Tokens", range(len(tokens)), format_func=lambda at: f"{at} {visible(tokens.texts[at])}", key="replace_at",
        max_selections=12,
    )  # fmt: skip
    if not positions:
        st.caption("Choose tokens; each is given another of its kind. Or write the corrupt prompt on the Prompt page.")
        return
    chosen: dict[int, int] = {}
    for at in positions:
        offered = alike(desk.model, tokens.ids[at])
        picked = st.selectbox(
            f"In the place of position {at}", offered, format_func=lambda token: visible(desk.model.token_text(token)),
            key=f"replace_{at}_{tokens.ids[at]}",
        )  # fmt: skip
        chosen[at] = picked
    try:
        text = replaced(desk.model.tokenizer, tokens, chosen)
    except ExplorerError as error:
        message("replacement_error", "These tokens do not make a prompt of the same length.", error)
        return
    st.text(text)
    st.button(
        "Use as the corrupt prompt",
        type="primary",
        key="use_replacement",
        **session.calling(session.set_text, "corrupt", text),
    )
