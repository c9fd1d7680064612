"""Editors of the Prompt page: model, contrast pair, answer and distractor."""

import streamlit as st

from explorer.engine.model import Model
from explorer.models.catalog import CATALOG
from explorer.models.info import in_millions
from explorer.prompts.examples import examples_for, opening_pair
from explorer.prompts.tokens import advice, with_leading_space
from explorer.ui import models, session
from explorer.ui.desk import Desk
from explorer.ui.html import facts, safe_html
from explorer.ui.known import known_panel
from explorer.ui.state import Workbench

BOS_LABELS = {"default": "tokenizer's default", "on": "on", "off": "off"}


def model_picker(bench: Workbench) -> None:
    """Catalog keys, or any hub id or directory typed in."""
    options = list(dict.fromkeys([*CATALOG, bench.model]))
    st.session_state["w_model"] = bench.model
    st.selectbox(
        "Model",
        options,
        format_func=lambda key: f"{key} ({CATALOG[key].title})" if key in CATALOG else key,
        accept_new_options=True,
        help="Choose from the catalog, or type a hub id (for example gpt2), a model's directory or a .gguf file, then press Enter.",
        key="w_model",
        on_change=choose_model,
    )


def choose_model() -> None:
    """A model picked or typed by hand may be fetched from the hub."""
    if chosen := st.session_state["w_model"]:
        models.ask(chosen)
        bench = session.bench()
        pair = opening_pair(chosen, bench.pair, bench.model)
        session.update(model=chosen, pair=pair, position=None if pair != bench.pair else bench.position)


def model_card(model: Model) -> None:
    """What runs, where, and whether it was checked."""
    info = model.info
    heads = (
        f"{info.n_heads} heads"
        if info.n_heads == info.n_kv_heads
        else f"{info.n_heads} heads ({info.n_kv_heads} key-value)"
    )
    rows = {
        "architecture": info.architecture,
        "size": f"{in_millions(info.n_parameters)} parameters, {info.dtype} on {info.device}",
        "shape": f"{info.n_layers} layers × {heads}, d_model {info.d_model}, context {info.n_ctx:,}",
        "backend": "engine (own forward pass)"
        if model.backend == "engine"
        else "TransformerBridge, one call at a time",
        "self-check": f"{'✓' if model.check.passed else '⚠'} {model.check}",
        "weights": f"SHA-256 {info.weight_hash[:16]}…",
        "run cache": f"{model.cache.used / 1e6:,.0f} of {model.cache.budget / 1e6:,.0f} MB, {model.cache.hit_rate:.0%} of look-ups answered",
    }
    with st.container(key="model_card"):
        st.html(facts(rows))
    known_panel(info.key)


def prompts(bench: Workbench) -> None:
    """The contrast pair."""
    st.selectbox(
        "Example",
        list(examples_for(bench.model)),
        index=None,
        placeholder="Load an example…",
        key="example",
        on_change=load_example,
    )
    st.text_area("Clean prompt", height=80, help="The prompt that every view runs.", **session.bound_text("clean"))
    st.text_area(
        "Corrupt prompt",
        height=80,
        help="A twin of equal token length that changes the answer. Resampling takes its values from here.",
        **session.bound_text("corrupt"),
    )
    answer, distractor, bos = st.columns(3)
    with answer:
        st.text_input(
            "Answer",
            help="The clean prompt's next token: one token, usually with its leading space.",
            **session.bound_text("answer"),
        )
    with distractor:
        st.text_input(
            "Distractor",
            help="The wrong alternative. logit(answer) − logit(distractor) is the objective.",
            **session.bound_text("distractor"),
        )
    with bos:
        st.selectbox(
            "BOS token",
            list(BOS_LABELS),
            format_func=BOS_LABELS.__getitem__,
            help="Whether a beginning-of-sequence token stands in front. The tokenizer's default is how the model was trained to be read.",
            **session.bound("bos", bench.bos),
        )


def answer_note(desk: Desk) -> None:
    """Answer and distractor as tokens, white space visible."""
    parts = [
        f"<code>{safe_html(text)}</code> id {desk.model.single_token(text)}"
        for text in (desk.answer, desk.distractor)
        if text
    ]
    if parts:
        st.html(f"<div class='ce-small ce-dim'>One token each: {' against '.join(parts)}</div>")


def white_space_advice(desk: Desk) -> None:
    """What white space in the prompt or the answers probably does that was not meant, with a button that mends it."""
    tokenizer, pair = desk.model.tokenizer, desk.bench.pair
    notes = advice(tokenizer, pair.clean, tuple(text for text in (desk.answer, desk.distractor) if text))
    spaced = {name: with_leading_space(tokenizer, getattr(pair, name)) for name in ("answer", "distractor")}
    offers = {name: text for name, text in spaced.items() if text is not None}
    if not notes and not offers:
        return
    with st.container(border=True, key="advice"):
        for note in notes:
            st.text(f"⚠ {note}")
        for name, text in offers.items():
            st.button(
                f"Add the leading space to the {name}",
                key=f"space_{name}",
                **session.calling(session.set_text, name, text),
            )


def load_example() -> None:
    name = st.session_state["example"]
    found = examples_for(session.bench().model)
    if name in found:
        session.update(pair=found[name], position=None)
        st.session_state["example"] = None


def position_heading(desk: Desk) -> None:
    """Which position's prediction is shown, and the way back to the last one."""
    token = desk.tokens.texts[desk.position]
    with st.container(horizontal=True, vertical_alignment="center", key="position_heading"):
        st.html(f"<b>Next token</b> after position {desk.position} (<code>{safe_html(token)}</code>)")
        if desk.bench.position is not None:
            st.button("Read the last position", key="last_position", type="tertiary", **session.calling(read_last))
    if desk.bench.position is not None and desk.bench.position >= len(desk.tokens):
        st.caption(f"Position {desk.bench.position} is not in this prompt; the last one is read.")


def read_last() -> None:
    session.update(position=None)
