"""How each shipped model is trained: everything that decides its weights, as data."""

import hashlib
import json
from dataclasses import asdict, dataclass

from explorer.models.zoo.organisms import ORGANISMS


@dataclass(frozen=True)
class Recipe:
    """A language model trained from random weights on the small world."""

    key: str
    n_layers: int
    n_heads: int
    d_model: int
    steps: int
    attn_only: bool = False
    seed: int = 0
    n_documents: int = 400_000
    batch: int = 32
    """Rows of a step."""
    row: int = 96
    """Tokens of a row: whole documents laid end to end, each behind its BOS, cut at the end."""
    repeats: float = 0.12
    """Share of rows that are random tokens repeated (induction)."""
    muon_lr: float = 0.02
    """For the matrices of the blocks: Muon (Jordan et al. 2024), momentum 0.95, weight decay 0.02."""
    adam_lr: float = 0.003
    """For all else: AdamW without weight decay, betas (0.9, 0.98)."""
    warm_up: int = 100
    decay_from: float = 0.6
    """The learning rate is flat up to this part of the steps, then falls to 2 % on a line."""

    opening: tuple[str, ...] = ("capital", "true_false", "verification")
    """Tasks that come alone to begin with: judging a claim is learnt at once there, and hardly ever among all the others."""
    opening_steps: int = 450
    closing: tuple[str, ...] = ()
    """Tasks that half of the text is of in the last steps, at up to 0.3 of the learning rates: what is learnt slowest."""
    closing_steps: int = 0

    @property
    def digest(self) -> str:
        return digest_of(self)


@dataclass(frozen=True)
class Tuning:
    """A variant: small changes of low rank (Hu et al. 2021) to every matrix of a trained model's blocks."""

    key: str
    base: str = "small-world"
    rank: int = 8
    steps: int = 350
    seed: int = 0
    n_documents: int = 40_000
    """Half teach the behaviour, half are the small world's own."""
    batch: int = 32
    row: int = 96
    repeats: float = 0.06
    opening_steps: int = 0
    closing_steps: int = 0
    adam_lr: float = 0.002
    warm_up: int = 20
    decay_from: float = 0.5

    @property
    def digest(self) -> str:
        return digest_of(self)


@dataclass(frozen=True)
class LensRecipe:
    """A tuned lens, trained to give the model's own output from the stream after each layer (Belrose et al. 2023)."""

    key: str
    rank: int
    """Rank of each translator's matrix; d_model is no restriction."""
    steps: int = 600
    seed: int = 0
    rows: int = 768
    """Texts; a twelfth is held out to measure on."""
    row: int = 96
    """Tokens of a text."""
    batch: int = 4
    """Texts of a step."""
    muon_lr: float = 0.05
    adam_lr: float = 0.01
    warm_up: int = 10
    decay_from: float = 0.3
    closing_steps: int = 0

    @property
    def digest(self) -> str:
        return digest_of(self)


@dataclass(frozen=True)
class DictionaryRecipe:
    """A sparse dictionary of one place: BatchTopK (Bussmann et al. 2024), saved as JumpReLU."""

    key: str
    place: str
    """`L14.resid_post`, or `L2.transcoder`."""
    features: int
    k: float
    """Features that fire at a token, on average over a batch."""
    tokens: int
    """Distinct tokens to train on, beside a twelfth that is held out."""
    steps: int
    row: int = 96
    """Tokens of a text; a model whose context is shorter gets shorter ones."""
    batch: int = 2048
    """Tokens of a step, drawn anew from all."""
    seed: int = 0
    written: int = 0
    """Of these tokens, how many the model writes itself where a file is given."""
    adam_lr: float = 2e-3
    warm_up: int = 50
    decay_from: float = 0.6
    closing_steps: int = 0

    @property
    def digest(self) -> str:
        return digest_of(self)


AnyRecipe = Recipe | Tuning


def digest_of(recipe: "AnyRecipe | LensRecipe | DictionaryRecipe") -> str:
    """SHA-256 of everything in a recipe."""
    return hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode()).hexdigest()


TUNINGS: dict[str, Tuning] = {key: Tuning(key) for key in ORGANISMS}
RECIPES: dict[str, Recipe] = {
    recipe.key: recipe
    for recipe in (
        Recipe(
            "small-world", n_layers=4, n_heads=8, d_model=256, steps=4450, closing=("greater_than",), closing_steps=350
        ),
        Recipe("small-world-nano", n_layers=4, n_heads=4, d_model=128, steps=3600),
        Recipe("attn-only-2l", 2, 8, 192, steps=4500, attn_only=True, repeats=0.25, opening_steps=0),
    )
}
