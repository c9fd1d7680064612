"""What one patch does, before it is kept: the effect both ways, the next tokens, and the heads whose attention changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from explorer.core.pairs import ContrastPair
from explorer.core.places import Place
from explorer.engine.contrasts import Direction, contrasts, objective, read_objective, run_edited, values_from
from explorer.engine.interventions import Noise
from explorer.engine.model import Model
from explorer.prompts.tokens import Bos


@dataclass(frozen=True, eq=False)
class PatchPreview:
    places: tuple[Place, ...]
    direction: Direction
    before: float
    """The objective of the run that is patched, in logits."""
    after: float
    clean: float
    corrupt: float
    tokens: pd.DataFrame
    """token, before, after: probabilities of the likeliest next tokens of either run."""
    attention: pd.DataFrame
    """head, dest, source, before, after: for each of the heads whose attention changes most, where it does."""

    @property
    def change(self) -> float:
        return self.after - self.before


def patch_preview(
    model: Model,
    pair: ContrastPair,
    places: Sequence[Place],
    *,
    direction: Direction = "denoising",
    interventions: Any = (),
    noise: Noise | None = None,
    top: int = 5,
    bos: Bos = "default",
) -> PatchPreview:
    """Patch some places of one pair together.  Raises as `activation_patching`."""
    contrast = contrasts(model, pair, interventions, bos, noise)[0]
    base, source = contrast.base(direction), contrast.source(direction)
    edits = values_from(model, source, places)
    plain = model.activations(base.tokens, base.stack, ("pattern",))
    final, tape = run_edited(model, base, edits, ("pattern",))
    probs = [model.unembed(stream[-1]).double().softmax(-1) for stream in (plain.final, final)]
    likely = dict.fromkeys(int(token) for each in probs for token in each.topk(top).indices)
    rows = [(model.token_text(token), float(probs[0][token]), float(probs[1][token])) for token in likely]
    moved = []
    for layer, after in tape.kept["pattern"].items():
        before, now = plain.kept["pattern"][layer], after[0]
        change = (now - before).abs().flatten(1)
        size = before.shape[-1]
        for head, (most, at) in enumerate(zip(*change.max(1), strict=True)):
            dest, origin = divmod(int(at), size)
            here = (float(before[head, dest, origin]), float(now[head, dest, origin]))
            moved.append((float(most), f"L{layer}H{head}", dest, origin, *here))
    moved.sort(reverse=True)
    return PatchPreview(
        tuple(places), direction, objective(model, base, contrast.read), read_objective(model, final, contrast.read),
        objective(model, contrast.clean, contrast.read), objective(model, contrast.corrupt, contrast.read),
        pd.DataFrame(rows, columns=["token", "before", "after"]),
        pd.DataFrame([row[1:] for row in moved[:top]], columns=["head", "dest", "source", "before", "after"]),
    )  # fmt: skip
