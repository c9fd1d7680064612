"""The toy model of superposition: set it up, train it live, see features pack, and a dictionary recover them."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from explorer.core.errors import TrainingError
from explorer.features.superposition import Recovered, Toy, ToyRecipe, check, recover, train_toy
from explorer.plots import feature_figures as plots
from explorer.plots.lines import Lines, Series, limits
from explorer.plots.points import Points
from explorer.plots.theme import BLUE
from explorer.ui.data import data_menu
from explorer.ui.heatmap import heatmap
from explorer.ui.html import say
from explorer.ui.lines import line_chart
from explorer.ui.live_work import live_work, under_way
from explorer.ui.on_request import on_request
from explorer.ui.points import point_chart
from explorer.ui.terms import help_for

FRAMES = "_toy_frames"


def superposition_page() -> None:
    say(
        "Sparse features x go through fewer dimensions, h = W x, and back, ReLU(Wᵀh + b). Dense features fight for the dimensions; sparse ones share "
        "them, at angles that disturb each other seldom (Elhage et al. 2022). Train the toy, then let a sparse dictionary see h alone."
    )
    recipe = controls()
    try:
        check(recipe)
    except TrainingError as error:
        st.error("This toy cannot be trained.", icon=":material/error:")
        st.text(str(error))
        return
    frames: dict[ToyRecipe, list[tuple[int, np.ndarray, float]]] = st.session_state.setdefault(FRAMES, {})
    mine = frames.setdefault(recipe, [])
    job = live_work("toy", recipe, lambda show, cancelled: trained(recipe, mine, show, cancelled), wait=0.1)
    if job.error:
        st.error("The toy could not be trained.", icon=":material/error:")
        st.text(job.error)
        return
    toy: Toy | None = job.result
    packed(recipe, toy, mine)
    if toy is None:
        under_way("toy", job)
        return
    recovered(toy)


def trained(recipe: ToyRecipe, frames: list[Any], show: Any, cancelled: Any) -> Toy:
    frames.clear()

    def watch(step: int, W: np.ndarray, loss: float) -> None:
        frames.append((step, W, loss))
        show((step + 1) / recipe.steps, f"Step {step}, loss {loss:.4f}")

    return train_toy(recipe, watch, cancelled)


def controls() -> ToyRecipe:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        n = int(st.number_input("Features", 2, 200, 5, key="toy_features", width=110))
        hidden = int(st.number_input("Dimensions", 1, 64, 2, key="toy_hidden", width=120))
        sparsity = float(
            st.slider(
                "Sparsity: how often a feature is absent",
                0.0,
                0.99,
                0.9,
                0.01,
                key="toy_sparsity",
                width=280,
                help=help_for("superposition"),
            )
        )
        importance = float(
            st.slider("Importance of each next feature, ×", 0.5, 1.0, 0.9, 0.01, key="toy_importance", width=260)
        )
        seed = int(st.number_input("Seed", 0, 999_999, 0, key="toy_seed", width=110))
    return ToyRecipe(n, hidden, sparsity, importance, seed=seed)


def packed(recipe: ToyRecipe, toy: Toy | None, frames: list[tuple[int, np.ndarray, float]]) -> None:
    """Directions, interference and loss; of an earlier step where one is chosen."""
    if not frames:
        return
    step = len(frames) - 1
    if toy is not None and len(frames) > 1:
        step = st.slider(
            "Step of the training",
            0,
            len(frames) - 1,
            len(frames) - 1,
            format=f"%d × {frames[1][0]}",
            key=f"toy_step_{hash(recipe)}",
        )
    W = toy.W if toy is not None and step == len(frames) - 1 else frames[step][1]
    view = Toy(recipe, W, np.zeros(W.shape[1]), ())
    left, right = st.columns(2, gap="large")
    with left:
        if recipe.n_hidden == 2:
            directions(view)
        else:
            bars(view)
    with right:
        st.markdown("**Interference WᵀW**", help=help_for("superposition"))
        heatmap(plots.toy_interference(view), "toy_interference")
    represented = int((view.norms > 0.5).sum())
    say(
        f"{represented} of {recipe.n_features} features are represented in {recipe.n_hidden} dimensions; mean share of a dimension "
        f"{view.dimensionality[view.norms > 0.5].mean() if represented else 0:.2f}."
    )
    losses = np.array([loss for _, _, loss in frames])
    series = [Series("loss", np.log10(np.maximum(losses, 1e-9)), BLUE)]
    line_chart(
        Lines(
            series,
            f"× {frames[1][0] if len(frames) > 1 else 1} steps",
            "log10 loss",
            *limits(series),
            selected=step,
            height=220,
        ),
        "toy_loss",
        lambda at: None,
    )
    data_menu(
        "toy",
        lambda: pd.DataFrame(
            {"feature": range(recipe.n_features), "norm": view.norms, "dimensionality": view.dimensionality}
        ),
    )


def directions(view: Toy) -> None:
    st.markdown(
        "**Features in two dimensions**",
        help="Each line is a column of W: where a feature points, and how strongly it is represented.",
    )
    hovers = [f"feature {number}\nnorm {norm:.2f}" for number, norm in enumerate(view.norms)]
    faint = [number for number, norm in enumerate(view.norms) if norm < 0.5]
    x, y = (row.astype(float) for row in view.W)
    shown = Points(x, y, hovers, "first dimension", "second dimension", faint=faint, vectors=True, height=360)
    point_chart(shown, "toy_directions")


def bars(view: Toy) -> None:
    st.markdown("**How strongly each feature is represented, ‖W_i‖**", help=help_for("superposition"))
    x = np.arange(len(view.norms)).astype(float)
    hovers = [
        f"feature {number}\nnorm {norm:.2f}\nshare of a dimension {share:.2f}"
        for number, (norm, share) in enumerate(zip(view.norms, view.dimensionality, strict=True))
    ]
    point_chart(Points(x, view.norms.astype(float), hovers, "feature", "‖W_i‖", height=360), "toy_norms")


def recovered(toy: Toy) -> None:
    st.markdown("**What a dictionary finds in h**", help=help_for("sparse dictionary"))
    found: Recovered | None = on_request(
        "recover", "Train a dictionary on h", toy.recipe, lambda show, cancelled: recover(toy, progress=show, cancelled=cancelled),
        help="BatchTopK with twice as many latents as features; it sees h, never x or W.",
    )  # fmt: skip
    if found is None:
        return
    known = found.cosines[~np.isnan(found.cosines)]
    say(
        f"{int((known > 0.95).sum())} of {len(known)} represented features have a latent within cosine .95; mean of the largest cosines {known.mean():.3f}."
    )
    x = np.arange(len(found.cosines)).astype(float)
    hovers = [f"feature {number}\nlargest cosine {value:.3f}" for number, value in enumerate(found.cosines)]
    point_chart(
        Points(x, found.cosines.astype(float), hovers, "feature", "largest cosine with a latent", height=260),
        "toy_recovered",
    )
