"""Several patches at once, beside the sum of their single effects: what they do only together, or twice over."""

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
from explorer.engine.contrasts import Direction, contrasts, objective, objective_edited, values_from
from explorer.engine.interventions import Noise
from explorer.engine.model import Model
from explorer.prompts.tokens import Bos


@dataclass(frozen=True, eq=False)
class JointPatching:
    places: tuple[Place, ...]
    direction: Direction
    joint: Float[np.ndarray, " pair"]
    """Change of the objective with all patches at once, in logits."""
    single: Float[np.ndarray, "pair place"]
    """Change with each alone."""
    clean: Float[np.ndarray, " pair"]
    corrupt: Float[np.ndarray, " pair"]
    provenance: Provenance

    @property
    def interaction(self) -> Float[np.ndarray, " pair"]:
        """Joint effect minus the sum of the single ones."""
        return np.asarray(self.joint - self.single.sum(1))

    @property
    def frame(self) -> pd.DataFrame:
        """One row a patch, then their sum, the joint patch and the interaction: means over pairs, in logits."""
        names = [str(place) for place in self.places]
        means = self.single.mean(0)
        rows = [*zip(names, means, strict=True), ("sum of the single patches", means.sum())]
        rows += [("joint patch", self.joint.mean()), ("interaction", self.interaction.mean())]
        return pd.DataFrame(rows, columns=["patch", "change"])


def joint_patching(
    model: Model,
    pairs: ContrastPair | Sequence[ContrastPair],
    places: Sequence[Place],
    *,
    direction: Direction = "denoising",
    interventions: Any = (),
    noise: Noise | None = None,
    bos: Bos = "default",
) -> JointPatching:
    """Patch several places at once, and each alone.  Raises as `activation_patching`."""
    if not places:
        raise SiteError("Choose at least one place to patch.")
    found = contrasts(model, pairs, interventions, bos, noise)
    joint, single, ends = [], [], []
    for each in found:
        base, source = each.base(direction), each.source(direction)
        edits = values_from(model, source, places)
        before = objective(model, base, each.read)
        joint.append(objective_edited(model, base, each.read, edits) - before)
        single.append([objective_edited(model, base, each.read, [edit]) - before for edit in edits])
        ends.append([objective(model, side, each.read) for side in (each.clean, each.corrupt)])
    clean, corrupt = np.array(ends).T
    texts = [side.tokens for each in found for side in (each.clean, each.corrupt)]
    return JointPatching(
        tuple(places), direction, np.array(joint), np.array(single), clean, corrupt,
        model.provenance(texts, found[0].corrupt.stack),
    )  # fmt: skip
