"""A linear probe: can the prompts of contrast pairs be told apart by one activation, on pairs that the probe never saw?

The label is the prompt's side, clean or corrupt.  A ridge classifier (least squares on labels ±1, inputs standardised on the training pairs)
is fitted on four fifths of the pairs and read on the rest, five times; both prompts of a pair are always on the same side of the
split.  The control task draws labels anew for each pair (Hewitt & Liang 2019, section 3): selectivity is the accuracy minus the mean
accuracy there.  What can be decoded need not be used: this is the rung "decodable", and no more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from explorer.core.errors import PairError
from explorer.core.pairs import ContrastPair
from explorer.core.places import Place
from explorer.core.provenance import Provenance
from explorer.engine.contrasts import Side, contrasts, values_from
from explorer.engine.model import Model
from explorer.engine.sweep import never
from explorer.metrics.bootstrap import p_value
from explorer.models.info import Progress
from explorer.prompts.tokens import Bos

FOLDS = 5
SHUFFLES = 39
FEWEST_PAIRS = 10


@dataclass(frozen=True, eq=False)
class Probe:
    place: Place
    """Read at its position, or at the last one where it names none."""
    accuracy: float
    """Share of held-out prompts that are told right; 0.5 is chance."""
    shuffled: Float[np.ndarray, " shuffle"]
    """The same with labels drawn anew for each pair."""
    n: int
    """Pairs."""
    provenance: Provenance

    @property
    def selectivity(self) -> float:
        return self.accuracy - float(self.shuffled.mean())

    @property
    def p(self) -> float:
        """Share of label draws with at least this accuracy, the true labels counted among them."""
        return p_value(self.accuracy, self.shuffled)


def probe(
    model: Model,
    pairs: Sequence[ContrastPair],
    place: Place,
    *,
    interventions: object = (),
    shuffles: int = SHUFFLES,
    seed: int = 0,
    bos: Bos = "default",
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = never,
) -> Probe:
    """Probe an activation, at its position or at the last one.

    Raises `PairError` (fewer than ten pairs, or prompts of unequal lengths), `SiteError`, `PromptError`, `AnswerError`.
    """
    found = contrasts(model, pairs, interventions, bos)
    if len(found) < FEWEST_PAIRS:
        raise PairError(f"A probe needs at least {FEWEST_PAIRS} pairs; these are {len(found)}.")
    activations = np.stack([[vector(model, side, place) for side in (each.clean, each.corrupt)] for each in found])
    rng = np.random.default_rng(seed)
    labels = np.tile([1.0, -1.0], (len(found), 1))
    order = rng.permutation(len(found))
    accuracies = [accuracy(activations, labels, order)]
    for number in range(shuffles):
        flips = rng.choice([1.0, -1.0], size=(len(found), 1))
        accuracies.append(accuracy(activations, labels * flips, order))
        if progress is not None:
            progress((number + 1) / shuffles, f"{number + 1} of {shuffles} draws of labels")
        if cancelled():
            break
    texts = [side.tokens for each in found for side in (each.clean, each.corrupt)]
    provenance = model.provenance(texts, found[0].clean.stack, seed)
    return Probe(place, accuracies[0], np.array(accuracies[1:]), len(found), provenance)


def vector(model: Model, side: Side, place: Place) -> Float[np.ndarray, " d"]:
    position = len(side.tokens) - 1 if place.position is None else place.position
    value = values_from(model, side, [Place(place.site, position)])[0].value
    return np.asarray(torch.as_tensor(value).double().cpu().numpy().ravel())


def accuracy(
    activations: Float[np.ndarray, "pair side d"], labels: Float[np.ndarray, "pair side"], order: np.ndarray
) -> float:
    """Held-out accuracy over folds of pairs."""
    right = []
    for held_out in np.array_split(order, FOLDS):
        kept = np.setdiff1d(order, held_out)
        scores = ridge(activations[kept].reshape(-1, activations.shape[2]), labels[kept].ravel(), activations[held_out])
        right.append(np.sign(scores) == labels[held_out])
    return float(np.concatenate(right).mean())


def ridge(
    x: Float[np.ndarray, "row d"], y: Float[np.ndarray, " row"], new: Float[np.ndarray, "pair side d"]
) -> Float[np.ndarray, "pair side"]:
    """Predictions of least squares with a penalty of the mean squared length of a row; solved among rows, which are few."""
    mean, scale = x.mean(0), x.std(0) + 1e-12
    known, unknown = (x - mean) / scale, (new - mean) / scale
    gram = known @ known.T
    weights = np.linalg.solve(gram + np.eye(len(gram)) * max(np.trace(gram) / len(gram), 1e-12), y - y.mean())
    return np.asarray(unknown @ (known.T @ weights) + y.mean())
