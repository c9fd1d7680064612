"""Dictionaries of the model: their cards, adding and training one, and the index of a text."""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from explorer.core.errors import ExplorerError
from explorer.engine.model import Model
from explorer.features.index import FeatureIndex, feature_index
from explorer.models.dictionary import Dictionary
from explorer.models.dictionary_files import add_dictionary, card_of, folders
from explorer.models.info import Progress
from explorer.plots import feature_figures as plots
from explorer.plots.lines import Lines, Series, limits
from explorer.plots.theme import BLUE
from explorer.training.dictionary import dictionary_recipe, thinned, train_dictionary
from explorer.training.dictionary_card import CARD_ROWS, in_words
from explorer.ui import session
from explorer.ui.desk import Desk, message
from explorer.ui.html import grid, say
from explorer.ui.lines import line_chart
from explorer.ui.on_request import KEPT_SO_FAR, StoppedError, on_request, stopping
from explorer.ui.terms import help_for

TOKENS = (20_000, 50_000, 200_000, 1_000_000)


def dictionaries_view(desk: Desk) -> None:
    model = desk.model
    found = folders(model.info)
    if found:
        cards(model, found)
    else:
        st.info(f"{model.info.title} has no dictionary yet.", icon=":material/info:")
    adding, training = st.columns(2, gap="large")
    with adding:
        add_panel(model)
    with training:
        train_panel(model)


def cards(model: Model, found: dict[str, Path]) -> None:
    """All dictionaries beside each other, then the chosen one."""
    rows = []
    for place, folder in found.items():
        card = card_of(folder)
        quality = card.get("quality") or {}
        numbers = [
            in_words(quality.get(name)) for name in ("l0", "fve", "ce_recovered_zero", "ce_recovered_mean", "dead")
        ]
        rows.append([place, str(card.get("features", "?")), *numbers])
    st.markdown(
        "**Dictionaries of this model**",
        help=help_for("sparse dictionary", "fraction of variance explained", "CE recovered"),
    )
    st.html(
        grid(["place", "features", "L0", "variance explained", "CE recovered (zero)", "(mean)", "never fired"], rows)
    )
    chosen = st.selectbox("Card of", list(found), key="card_of", width=260)
    card = card_of(found[chosen])
    if not card.get("quality"):
        st.caption(
            "It was not trained here, so there is no card: how it was trained and what it explains is not known to this program."
        )
    else:
        show_card(card)
    dictionary = model.dictionary(chosen)
    index_panel(model, dictionary)


def show_card(card: dict[str, Any]) -> None:
    left, right = st.columns(2, gap="large")
    own, other = card["quality"], card.get("shuffled_weights") or {}
    with left:
        rows = [[words, in_words(own.get(name)), in_words(other.get(name))] for name, words in CARD_ROWS.items()]
        st.html(grid(["held-out text", "dictionary", "shuffled weights"], rows))
        say(
            f"{card['architecture']}, k {card['k']:g}; trained on {card['source']}; {card['steps']:,} steps of {card['batch']:,} tokens, {card['cpu_minutes']} CPU-minutes; measured on {own['tokens']:,} tokens."
        )
    with right:
        loss_curve(card["losses"], "loss_curve")
        line_chart(plots.density_bars(np.array(own["densities"])), "card_densities", lambda at: None)


def loss_curve(losses: Sequence[float], key: str) -> None:
    series = [Series("loss", np.log10(np.maximum(losses, 1e-9)), BLUE)]
    shown = Lines(series, "training, in equal stretches", "log10 of the squared error", *limits(series), height=230)
    line_chart(shown, key, lambda at: None)


def add_panel(model: Model) -> None:
    st.markdown(
        "**Add one**",
        help="A folder that sae-lens wrote, or a release of sae-lens or a hub repository, which is downloaded.",
    )
    source = st.text_input("Folder on this machine, or release", key="dictionary_source")
    sae_id = st.text_input(
        "Id in the release (empty for a folder)", key="dictionary_id", placeholder="blocks.8.hook_resid_pre"
    )
    name = st.text_input("Name, where another is at its place", key="dictionary_name")
    if st.button("Add", key="add_dictionary", icon=":material/add:", disabled=not source):
        try:
            with st.spinner("Reading and checking"):
                found = add_dictionary(source.strip(), model.info, sae_id.strip(), name.strip())
        except ExplorerError as error:
            message("add_error", "This dictionary was not added.", error)
            return
        session.update(dictionary=found.place)
        st.success(f"Added {found.place}: {found.n_features:,} features.", icon=":material/check:")


def train_panel(model: Model) -> None:
    st.markdown("**Train one**", help=help_for("training of a dictionary"))
    with st.container(horizontal=True):
        site = st.text_input(
            "Site",
            f"L{model.info.n_layers // 2}.resid_post",
            key="train_site",
            width=170,
            help="L2.resid_post, L2.transcoder, L0.attn_out, …",
        )
        usual = dictionary_recipe(model, f"L{model.info.n_layers // 2}.resid_post").features
        features = int(st.number_input("Features", 8, 100_000, usual, key="train_features", width=120))
        tokens = int(st.number_input("Tokens", 5_000, 10_000_000, 200_000, key="train_tokens", width=140))
        steps = int(st.number_input("Steps", 10, 100_000, 500, key="train_steps", width=110))
    text = uploaded("train_text")
    try:
        recipe = dictionary_recipe(model, site, features=features, tokens=tokens, steps=steps)
    except ExplorerError as error:
        st.text(str(error))
        return
    so_far: dict[str, list[float]] = st.session_state.setdefault("_training_losses", {})

    def work(show: Progress, cancelled: Callable[[], bool]) -> Dictionary:
        so_far.clear()
        return train_dictionary(
            model, recipe, text=text, progress=stopping(show, cancelled, KEPT_SO_FAR),
            watch=lambda losses, dead: so_far.update(losses=losses),
        )  # fmt: skip

    def meanwhile() -> None:
        if len(losses := so_far.get("losses", [])) > 1:
            loss_curve(thinned(losses), "losses_so_far")

    found: Any = on_request(
        "train_dictionary", "Train", (model.identity, recipe, str(text)), work, meanwhile=meanwhile,
        help="Runs the text through the model, trains the dictionary and one on shuffled weights for comparison, and measures both. Cancelled or interrupted, it goes on where it was when started again.",
    )  # fmt: skip
    if found is not None:
        st.success(f"Trained {found.place}: choose it above to see its card.", icon=":material/check:")


def built(
    model: Model, dictionary: Dictionary, text: Path | None, tokens: int, show: Progress, cancelled: Callable[[], bool]
) -> FeatureIndex:
    """The finished index; `StoppedError` where it was cancelled."""
    found = feature_index(model, dictionary.place, text=text, tokens=tokens, progress=show, cancelled=cancelled)
    if found is None:
        raise StoppedError(KEPT_SO_FAR)
    return found


def uploaded(key: str) -> Path | None:
    """A text file of the user's, kept for this session."""
    file = st.file_uploader(
        "Text (UTF-8; without, see help)",
        type=["txt", "md", "csv"],
        key=key,
        help="Without a file: documents of the small world for its models, the text that came with a dictionary, or what the model writes itself.",
    )
    if file is None:
        return None
    home = Path(st.session_state.setdefault("_text_folder", tempfile.mkdtemp(prefix="circuit-explorer-")))
    content = file.getvalue()
    folder = home / hashlib.sha256(content).hexdigest()[:16]  # another text of the same name is another input
    folder.mkdir(exist_ok=True)
    path = folder / (Path(file.name).name[:80] or "text")
    path.write_bytes(content)
    return path


def index_panel(model: Model, dictionary: Dictionary) -> None:
    """Build or replace the index of a dictionary."""
    st.markdown("**Index of a text**", help=help_for("feature index"))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        tokens = st.selectbox(
            "Tokens", TOKENS, index=1, key=f"index_tokens_{dictionary.place}", format_func="{:,}".format, width=140
        )
    text = uploaded(f"index_text_{dictionary.place}")
    found: FeatureIndex | None = on_request(
        f"index_{dictionary.place}", "Build the index", (model.identity, dictionary.identity, tokens, str(text)),
        lambda show, cancelled: built(model, dictionary, text, int(tokens), show, cancelled),
        help="Runs the text and keeps where each feature fires. Interrupted, it goes on where it was.",
    )  # fmt: skip
    if found is not None:
        if st.session_state.get(f"_indexed_{dictionary.identity}") != found.about:
            st.session_state[f"_indexed_{dictionary.identity}"] = found.about
            st.rerun()
        say(f"{found.n_tokens:,} tokens of {found.about['source']}.")
