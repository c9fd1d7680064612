"""The toy model of superposition (Elhage et al. 2022): more sparse features than dimensions, packed as a network packs them.

    x in [0, 1]^n, each entry non-zero with probability 1 − S      h = W x      x' = ReLU(Wᵀ h + b)      loss = Σ I_i (x_i − x'_i)²

Trained here in seconds; a dictionary is then trained on h alone, and compared with the columns of W.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.errors import TrainingError
from explorer.engine.sweep import never
from explorer.models.info import Progress
from explorer.models.saelens import batch_topk, step_input

BATCH = 1024
SHOWN_EVERY = 20


@dataclass(frozen=True)
class ToyRecipe:
    n_features: int = 5
    n_hidden: int = 2
    sparsity: float = 0.9
    """Probability that a feature is absent, S."""
    importance: float = 0.9
    """Importance of feature i is this to the power i."""
    steps: int = 1500
    lr: float = 0.01
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Toy:
    """A trained toy model."""

    recipe: ToyRecipe
    W: Float[np.ndarray, "hidden feature"]
    bias: Float[np.ndarray, " feature"]
    losses: tuple[float, ...]

    @property
    def norms(self) -> Float[np.ndarray, " feature"]:
        """‖W_i‖: about 1 for a feature that is represented, 0 for one that is not."""
        found: np.ndarray = np.linalg.norm(self.W, axis=0)
        return found

    @property
    def interference(self) -> Float[np.ndarray, "feature feature"]:
        """WᵀW: off the diagonal, how much features disturb each other."""
        found: np.ndarray = self.W.T @ self.W
        return found

    @property
    def dimensionality(self) -> Float[np.ndarray, " feature"]:
        """D_i = ‖W_i‖² / Σ_j (Ŵ_i · W_j)²: what share of a dimension a feature has (section 6 there)."""
        norms = self.norms
        unit = self.W / np.maximum(norms, 1e-9)
        shared = ((unit.T @ self.W) ** 2).sum(1)
        found: np.ndarray = np.where(norms > 1e-3, norms**2 / np.maximum(shared, 1e-9), 0)
        return found


@dataclass(frozen=True, eq=False)
class Recovered:
    """A dictionary trained on the toy's hidden layer."""

    directions: Float[np.ndarray, "latent hidden"]
    """Unit decoder rows of the latents that fire."""
    cosines: Float[np.ndarray, " feature"]
    """Each represented feature's largest cosine with a latent; NaN for those that are not represented."""
    losses: tuple[float, ...]


def check(recipe: ToyRecipe) -> None:
    limits = (
        (2, recipe.n_features, 200, "features"),
        (1, recipe.n_hidden, 64, "dimensions"),
        (1, recipe.steps, 20_000, "steps"),
    )
    for low, value, high, what in limits:
        if not low <= value <= high:
            raise TrainingError(f"A toy model has {low} to {high:,} {what}; got {value:,}.")
    if not 0 <= recipe.sparsity < 1 or not 0 < recipe.importance <= 1:
        raise TrainingError("Sparsity lies in [0, 1) and importance in (0, 1].")


def draw(recipe: ToyRecipe, generator: torch.Generator, n: int = BATCH) -> Float[Tensor, "row feature"]:
    x = torch.rand(n, recipe.n_features, generator=generator)
    return x * (torch.rand(n, recipe.n_features, generator=generator) >= recipe.sparsity)


def train_toy(
    recipe: ToyRecipe,
    watch: Callable[[int, Float[np.ndarray, "hidden feature"], float], None] | None = None,
    cancelled: Callable[[], bool] = never,
) -> Toy:
    """Train a toy; `watch` gets step, W and loss every 20 steps.  `TrainingError` for sizes that are out of bounds."""
    check(recipe)
    generator = torch.Generator().manual_seed(recipe.seed)
    W = (
        torch.randn(recipe.n_hidden, recipe.n_features, generator=generator) * recipe.n_features**-0.5
    ).requires_grad_()
    bias = torch.zeros(recipe.n_features, requires_grad=True)
    importance = recipe.importance ** torch.arange(recipe.n_features)
    optimiser = torch.optim.Adam([W, bias], lr=recipe.lr)
    losses = []
    for step in range(recipe.steps):
        x = draw(recipe, generator)
        with torch.enable_grad():
            loss = (importance * (x - torch.relu(x @ W.T @ W + bias)) ** 2).sum(-1).mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
        if watch is not None and step % SHOWN_EVERY == 0:
            watch(step, W.detach().numpy().copy(), losses[-1])
        if cancelled():
            break
    return Toy(recipe, W.detach().numpy().copy(), bias.detach().numpy().copy(), tuple(losses))


def recover(
    toy: Toy, steps: int = 1500, progress: Progress | None = None, cancelled: Callable[[], bool] = never
) -> Recovered:
    """Train a dictionary on h = W x, by sae-lens, with twice as many latents as features."""
    recipe = toy.recipe
    W = torch.from_numpy(toy.W)
    generator = torch.Generator().manual_seed(recipe.seed + 1)
    fires = max(1.0, recipe.n_features * (1 - recipe.sparsity))
    sae = batch_topk(recipe.n_hidden, None, 2 * recipe.n_features, fires, recipe.seed)
    start = draw(recipe, generator, 8 * BATCH) @ W.T
    size = float(start.norm(dim=-1).mean()) / recipe.n_hidden**0.5 or 1.0
    with torch.no_grad():
        seeds = start[start.norm(dim=-1) > 0][: 2 * recipe.n_features]
        rows = torch.nn.functional.normalize(seeds[torch.arange(2 * recipe.n_features) % max(1, len(seeds))], dim=-1)
        sae.W_dec.copy_(rows)
        sae.W_enc.copy_(rows.T)
    optimiser = torch.optim.Adam(sae.parameters(), lr=3e-3)
    silent, losses = torch.zeros(2 * recipe.n_features), []
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1.0, (1 - step / steps) / 0.4)
        batch = draw(recipe, generator) @ W.T / size
        with torch.enable_grad():
            out = sae.training_forward_pass(step_input(batch[batch.norm(dim=-1) > 0], silent > 100, step))
            optimiser.zero_grad()
            torch.autograd.backward(out.loss)
        optimiser.step()
        silent = (silent + 1).masked_fill((out.feature_acts > 0).any(0), 0)
        losses.append(out.losses["mse_loss"].item())
        if progress is not None and step % SHOWN_EVERY == 0:
            progress(step / steps, f"loss {losses[-1]:.4f}")
        if cancelled():
            break
    alive = torch.nn.functional.normalize(sae.W_dec.detach()[silent <= 100], dim=-1).numpy()
    unit = toy.W / np.maximum(toy.norms, 1e-9)
    cosines = (alive @ unit).max(0) if len(alive) else np.zeros(recipe.n_features)
    return Recovered(alive, np.where(toy.norms > 0.5, cosines, np.nan), tuple(losses))
