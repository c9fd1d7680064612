"""Continue the prompt, baseline beside changed."""

from collections.abc import Iterator

import streamlit as st

from explorer.core.errors import ExplorerError
from explorer.engine.generation import generate
from explorer.engine.interventions import Intervention
from explorer.ui import session
from explorer.ui.desk import Desk, message
from explorer.ui.html import continuation


def continuation_panel(desk: Desk) -> None:
    """Options, a button, and the texts."""
    st.markdown(
        "**Continuation**",
        help="New tokens one at a time. Interventions at all positions act on new tokens too; those at chosen positions, and "
        "resampling, act on the prompt alone. Temperature 0 takes the likeliest token (greedy).",
    )
    length, temperature, seed = st.columns(3)
    with length:
        st.number_input("Tokens", 1, 50, **session.bound("n_new", desk.bench.n_new))
    with temperature:
        st.number_input("Temperature", 0.0, 2.0, step=0.1, **session.bound("temperature", desk.bench.temperature))
    with seed:
        st.number_input("Seed", 0, 999_999_999, **session.bound("seed", desk.bench.seed))
    wanted = fingerprint(desk)
    if st.button("Continue the text", key="continue", type="primary"):
        st.session_state["continued"] = wanted, write(desk)
    made_for, texts = st.session_state.get("continued", (None, {}))
    if texts and made_for != wanted:
        st.caption("The inputs have changed since this was written.")
    for name, text in texts.items():
        st.caption(name)
        st.html(continuation(*text))


def fingerprint(desk: Desk) -> tuple[object, ...]:
    bench = desk.bench
    return (
        desk.model.info.weight_hash,
        desk.tokens.text,
        bench.bos,
        desk.stack,
        bench.n_new,
        bench.temperature,
        bench.seed,
    )


def write(desk: Desk) -> dict[str, tuple[str, str]]:
    """Prompt and continuation of each run."""
    runs: dict[str, tuple[Intervention, ...]] = {"Baseline": ()}
    if desk.changed:
        runs["Changed"] = desk.stack
    texts = {}
    bar = st.progress(0.0, "Writing")
    for done, (name, stack) in enumerate(runs.items()):
        try:
            ids = []
            for id_ in stream(desk, stack):
                ids.append(id_)
                bar.progress(
                    (done + len(ids) / desk.bench.n_new) / len(runs), f"{name}: {len(ids)} of {desk.bench.n_new} tokens"
                )
            texts[name] = (
                desk.tokens.text,
                desk.model.tokenizer.decode(ids) if ids else "(the model ends the text here)",
            )
        except ExplorerError as error:
            message("continuation_error", "The text cannot be continued.", error)
    bar.empty()
    return texts


def stream(desk: Desk, stack: tuple[Intervention, ...]) -> Iterator[int]:
    bench = desk.bench
    return generate(
        desk.model,
        desk.tokens.text,
        stack,
        n_tokens=bench.n_new,
        temperature=bench.temperature,
        seed=bench.seed,
        bos=bench.bos,
    )
