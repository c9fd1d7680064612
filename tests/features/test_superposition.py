"""The toy model: sparse features share dimensions, dense ones do not; a dictionary finds them in the hidden layer alone."""

import numpy as np
import pytest

from explorer.core.errors import TrainingError
from explorer.features.superposition import Toy, ToyRecipe, recover, train_toy


def test_five_sparse_features_share_two_dimensions_and_are_recovered() -> None:
    seen: list[int] = []
    toy = train_toy(ToyRecipe(), lambda step, W, loss: seen.append(step))
    assert (toy.norms > 0.5).sum() == 5 and abs(toy.dimensionality.mean() - 0.4) < 0.05 and len(seen) == 75
    assert toy.losses[-1] < toy.losses[0] / 2
    found = recover(toy)
    assert (found.cosines > 0.95).all()


def test_dense_features_fight_for_the_dimensions() -> None:
    toy = train_toy(ToyRecipe(sparsity=0.0, importance=0.7))
    assert (toy.norms > 0.5).sum() == 2 and toy.norms[:2].min() > 0.8


def test_dimensionality_by_hand() -> None:
    """Orthogonal features have a dimension each; two opposite ones share one."""
    toy = Toy(ToyRecipe(), np.array([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]]), np.zeros(3), ())
    assert np.allclose(toy.dimensionality, [0.5, 1, 0.5])


def test_sizes_out_of_bounds_are_named() -> None:
    with pytest.raises(TrainingError, match="2 to 200 features; got 1"):
        train_toy(ToyRecipe(n_features=1))
    with pytest.raises(TrainingError, match="Sparsity lies in"):
        train_toy(ToyRecipe(sparsity=1.0))
