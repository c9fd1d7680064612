"""Causal mediation: how much of an effect goes through a component, and how much past it (Pearl 2001; Vig et al. 2020).

x is the clean run, x' the corrupt one, M the mediator, Y the objective:

    TE  = Y(x', M(x')) − Y(x, M(x))        total effect: from the clean to the corrupt prompt
    NDE = Y(x', M(x))  − Y(x, M(x))        natural direct effect: the mediator keeps its clean value
    NIE = Y(x, M(x'))  − Y(x, M(x))        natural indirect effect: the mediator alone takes its corrupt value (noising)
    reverse NIE = Y(x', M(x)) − Y(x', M(x'))                         the mediator alone takes its clean value (denoising)

TE = NDE − reverse NIE holds exactly.  TE = NDE + NIE holds only without interaction; what is missing is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from explorer.core.errors import SiteError
from explorer.core.pairs import ContrastPair
from explorer.core.places import Place
from explorer.core.provenance import Provenance
from explorer.core.sites import Site
from explorer.engine.contrasts import Side, contrasts, objective, objective_edited, read_objective, values_from
from explorer.engine.edits import AnyEdit, EdgeEdit, Tape, first_layer
from explorer.engine.forward import Start
from explorer.engine.interventions import Noise
from explorer.engine.model import Model
from explorer.metrics.effects import SMALLEST_SPAN
from explorer.prompts.tokens import Bos


@dataclass(frozen=True, eq=False)
class Mediation:
    """Effects of one mediator (a component, or several together), a number a pair, in logits."""

    mediators: tuple[Place, ...]
    total: Float[np.ndarray, " pair"]
    direct: Float[np.ndarray, " pair"]
    indirect: Float[np.ndarray, " pair"]
    reverse_indirect: Float[np.ndarray, " pair"]
    """Its Y(x', M(x)) is run anew, by another way through the engine than that of `direct`."""
    notes: tuple[str, ...]
    provenance: Provenance

    @property
    def check(self) -> float:
        """Largest |TE − (NDE − reverse NIE)|, in logits: 0 but for rounding."""
        return float(np.abs(self.total - (self.direct - self.reverse_indirect)).max())

    @property
    def interaction(self) -> Float[np.ndarray, " pair"]:
        """TE − (NDE + NIE): what direct and indirect effect do together."""
        return np.asarray(self.total - (self.direct + self.indirect))

    @property
    def share(self) -> float:
        """mean NIE / mean TE; NaN where |TE| is too small to divide by."""
        total = float(self.total.mean())
        return float(self.indirect.mean()) / total if abs(total) >= SMALLEST_SPAN else float("nan")

    @property
    def frame(self) -> pd.DataFrame:
        """One row a pair: total, direct, indirect, reverse_indirect, interaction."""
        names = ("total", "direct", "indirect", "reverse_indirect", "interaction")
        return pd.DataFrame({name: getattr(self, name) for name in names})


def mediation(
    model: Model,
    pairs: ContrastPair | Sequence[ContrastPair],
    mediators: Site | Place | Sequence[Site | Place],
    *,
    interventions: Any = (),
    noise: Noise | None = None,
    bos: Bos = "default",
) -> Mediation:
    """Total, natural direct and natural indirect effect of a mediator.

    Args:
        mediators: a site (at all positions) or a `Place`, or several that take their values together.
        noise: takes the corrupt prompt's place.

    Raises `PairError`, `AnswerError`, `SiteError`, `InterventionError`, `NotFiniteError`.
    """
    several = mediators if isinstance(mediators, Sequence) else [mediators]
    chosen = tuple(each if isinstance(each, Place) else Place(each) for each in several)
    if not chosen:
        raise SiteError("Choose at least one mediator: a head, an MLP or another site.")
    found = contrasts(model, pairs, interventions, bos, noise)
    rows = []
    for each in found:
        from_clean, from_corrupt = (values_from(model, side, chosen) for side in (each.clean, each.corrupt))
        clean, corrupt = (objective(model, side, each.read) for side in (each.clean, each.corrupt))
        kept = objective_edited(model, each.corrupt, each.read, from_clean)
        again = read_objective(model, resumed(model, each.corrupt, from_clean), each.read)
        moved = objective_edited(model, each.clean, each.read, from_corrupt)
        rows.append((corrupt - clean, kept - clean, moved - clean, again - corrupt))
    total, direct, indirect, reverse = np.array(rows).T
    small = abs(total.mean()) < SMALLEST_SPAN
    notes = (f"The total effect is {total.mean():+.3f} logits, too small to tell shares of it.",) if small else ()
    texts = [side.tokens for each in found for side in (each.clean, each.corrupt)]
    return Mediation(chosen, total, direct, indirect, reverse, notes, model.provenance(texts, found[0].corrupt.stack))


def resumed(model: Model, side: Side, edits: Sequence[AnyEdit]) -> Any:
    """The final stream of an edited run that begins at the first layer that the edits touch, from the cached run below."""
    first = first_layer(edits, model.info.n_layers)
    all_edits = (*model.edits(side.tokens, side.stack), *edits)
    start = None
    if first > 0 and model.runtime.can_resume and not any(isinstance(edit, EdgeEdit) for edit in all_edits):
        stream = model.activations(side.tokens, side.stack, ("resid_post",)).kept["resid_post"][first - 1]
        start = Start(first, stream[None])
    return model.runtime.run(model.batch(side.tokens.ids), Tape(all_edits, ()), start)[0]
