"""Editors of the Prompt page: model, contrast pair, answer and distractor, examples."""

from typing import Any

import streamlit as st

from explorer.analyses.prediction import Prediction, prediction
from explorer.core.errors import ExplorerError
from explorer.core.pairs import ContrastPair
from explorer.engine.model import Model
from explorer.models.catalog import CATALOG
from explorer.models.info import in_millions
from explorer.prompts.examples import examples_for, opening_pair
from explorer.prompts.pairs import alignment
from explorer.prompts.tokens import Tokens, advice, with_leading_space
from explorer.ui import models, session
from explorer.ui.desk import Desk, fitted, message
from explorer.ui.html import facts, safe_html
from explorer.ui.html import grid as text_grid
from explorer.ui.known import known_panel
from explorer.ui.state import Side, Workbench, other_side
from explorer.ui.terms import help_for

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
    """The contrast pair, clean beside corrupt."""
    gallery(bench)
    clean, corrupt = st.columns(2)
    with clean:
        st.text_area("Clean prompt", height=110, help=help_for("clean, corrupt"), **session.bound_text("clean"))
    with corrupt:
        st.text_area(
            "Corrupt prompt",
            height=110,
            help="A twin of equal token length that changes the answer. Patching and resampling take their values from it.",
            **session.bound_text("corrupt"),
        )
    answer, distractor, bos = st.columns(3)
    with answer:
        st.text_input("Answer", help=help_for("answer, distractor"), **session.bound_text("answer"))
    with distractor:
        st.text_input("Distractor", help=help_for("logit difference"), **session.bound_text("distractor"))
    with bos:
        st.selectbox(
            "BOS token",
            list(BOS_LABELS),
            format_func=BOS_LABELS.__getitem__,
            help=help_for("BOS"),
            **session.bound("bos", bench.bos),
        )


def gallery(bench: Workbench) -> None:
    """Worked examples, each with the models that it works on."""
    area: Any = st.popover(
        "Examples", icon=":material/collections_bookmark:", key="gallery", on_change="rerun", width="stretch"
    )
    if not area.open:
        return
    with area:
        st.caption(
            "An example works on a model if logit(answer) − logit(distractor) is above 0 on the clean prompt and below 0 on the "
            "corrupt one."
        )
        for number, (name, example) in enumerate(examples_for(bench.model).items()):
            works = bench.model in example.works_on
            known = bench.model in CATALOG
            with st.container(horizontal=True, vertical_alignment="center"):
                st.button(
                    name,
                    key=f"example_{number}",
                    icon=":material/check_circle:"
                    if works
                    else ":material/help:"
                    if not known
                    else ":material/cancel:",
                    type="primary" if bench.pair == example.pair else "secondary",
                    **session.calling(load_example, example.pair),
                )
                st.caption(example.shows)
            models_in_words = ", ".join(example.works_on) or "none of the catalog"
            st.caption(
                f"Works on: {models_in_words}." + ("" if known else " Not measured on this model: see below the pair.")
            )


def load_example(pair: ContrastPair) -> None:
    session.update(pair=pair, position=None, source=None)


def pair_panel(desk: Desk) -> Tokens | None:
    """Both prompts' objective, with and without the interventions; the other prompt's tokens where they line up or not."""
    bench, model = desk.bench, desk.model
    side = other_side(bench.side)
    text = getattr(bench.pair, side)
    if not text.strip():
        st.caption(
            f"No {side} prompt: write one to patch from, and to see whether the pair tells answer and distractor apart."
        )
        return None
    try:
        other = model.tokenize(text, bench.bos)
        _, stack = fitted(bench, model, other, side)
        found = prediction(model, text, stack, answer=desk.answer, distractor=desk.distractor, bos=bench.bos)
        here = desk.prediction
        if desk.position != len(desk.tokens) - 1:
            here = prediction(
                model, bench.prompt, desk.stack, answer=desk.answer, distractor=desk.distractor, bos=bench.bos
            )
    except ExplorerError as error:
        message("other_error", f"The {side} prompt cannot be run.", error)
        return None
    if len(other) != len(desk.tokens):
        length_warning(desk, other, side)
    both = {bench.side: here, side: found}
    if desk.answer and desk.distractor:
        objective_table(desk, both["clean"], both["corrupt"])
    return other


def length_warning(desk: Desk, other: Tokens, side: Side) -> None:
    """Unequal lengths: what cannot be done, and where the prompts part."""
    texts = (desk.tokens, other) if side == "corrupt" else (other, desk.tokens)
    with st.container(key="length_warning"):
        st.warning(
            f"The clean prompt has {len(texts[0])} tokens, the corrupt one {len(texts[1])}: patching and resampling need equal "
            "lengths. They differ here (reword one of them; nothing is cut off):",
            icon=":material/straighten:",
        )
        st.text(alignment(*texts))


def objective_table(desk: Desk, clean: Prediction, corrupt: Prediction) -> None:
    rows = []
    for name, found, wanted in (("clean", clean, 1), ("corrupt", corrupt, -1)):
        assert found.baseline is not None and found.changed is not None
        before, after = found.baseline.objective, found.changed.objective
        right = "✓" if before * wanted > 0 else "✗"
        rows.append(
            [
                f"{name} prompt",
                f"{before:+.2f} {right}",
                *([f"{after:+.2f}", f"{after - before:+.2f}"] if desk.changed else []),
            ]
        )
    head = ["logit difference, last position", "baseline"] + (["changed", "difference"] if desk.changed else [])
    st.html(text_grid(head, rows))
    st.caption(
        "✓: above 0 on the clean prompt, below 0 on the corrupt one.", help=help_for("logit difference", "pairs right")
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
