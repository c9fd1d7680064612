"""The causal check of a head's type: does what the pattern suggests hold when the head is taken away, or put back?

On random tokens told twice, with the same measurements on matched heads that do not have the type (Olsson et al. 2022;
Wang et al. 2022):

    removed      mean-ablate the head: by how much does the log-probability of the repeated token fall?
    misdirected  give it the pattern it has on the tokens told once and then backwards: how much falls?
    reproduced   on that other text, give it the pattern it had on the repeated one: by how much does the log-probability of
                 the token it then looks at rise?

A type is confirmed by a measurement that lies outside the range of the matched heads, on the side that the type says.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.errors import SiteError
from explorer.core.sites import Head
from explorer.engine.edits import Edit, Tape
from explorer.engine.fitting import address
from explorer.engine.model import Model
from explorer.engine.sweep import never
from explorer.models.info import Progress
from explorer.prompts.random_tokens import repeated_tokens, reversed_tokens

Measurement = Literal["removed", "misdirected", "reproduced"]
MEASUREMENTS: tuple[Measurement, ...] = get_args(Measurement)
CONTROLS, SEED = 12, 0
NEIGHBOURS = 3
"""Matched heads come from so many layers around."""


@dataclass(frozen=True, eq=False)
class HeadCheck:
    head: Head
    effects: dict[Measurement, float]
    """In nats of the log-probability, mean over positions; "removed" and "misdirected" are falls, "reproduced" is a rise."""
    controls: dict[Measurement, Float[np.ndarray, " control"]]
    """The same of each matched head."""
    matched: tuple[Head, ...]
    log_prob: float
    """Mean log-probability of the repeated token, nothing changed; the logarithm of 1 / vocabulary is chance."""
    partial: bool

    def band(self, name: Measurement) -> tuple[float, float]:
        """Smallest and largest of the matched heads."""
        values = self.controls[name]
        return (float(values.min()), float(values.max())) if len(values) else (float("nan"), float("nan"))

    def confirmed(self, name: Measurement) -> bool:
        """Whether the head's effect is larger than every matched head's."""
        return bool(len(self.controls[name])) and self.effects[name] > self.band(name)[1]

    @property
    def highest_matched(self) -> dict[Measurement, float]:
        """The largest of the matched heads, by measurement."""
        return {name: self.band(name)[1] for name in self.effects}

    @property
    def confirmations(self) -> dict[Measurement, bool]:
        return {name: self.confirmed(name) for name in self.effects}

    @property
    def frame(self) -> pd.DataFrame:
        """One row a measurement: measurement, effect, lowest and highest of the matched heads, confirmed."""
        return pd.DataFrame(
            [
                (name, self.effects[name], *self.band(name), self.confirmed(name))
                for name in MEASUREMENTS
                if name in self.effects
            ],
            columns=["measurement", "effect", "lowest_matched", "highest_matched", "confirmed"],
        )


def head_check(
    model: Model,
    head: Head,
    typed: Iterable[Head] = (),
    *,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = never,
) -> HeadCheck:
    """Check a head against matched ones: heads of layers close by, outside `typed` (those that have the type too).

    Raises `SiteError` for a head that the model does not have.
    """
    address(head, model.info)
    bench = Bench(model)
    chosen = matched_heads(model, head, frozenset(typed))
    results: list[dict[Measurement, float]] = []
    for number, each in enumerate((head, *chosen)):
        results.append(bench.measure(each))
        if progress is not None:
            progress((number + 1) / (len(chosen) + 1), f"{number} of {len(chosen)} matched heads")
        if cancelled():
            break
    found = {name: np.array([result[name] for result in results[1:]]) for name in MEASUREMENTS}
    partial = len(results) <= len(chosen)
    return HeadCheck(head, results[0], found, chosen[: len(results) - 1], bench.log_prob, partial)


def matched_heads(model: Model, head: Head, typed: frozenset[Head]) -> tuple[Head, ...]:
    info = model.info
    close = [
        Head(layer, number)
        for layer in range(max(0, head.layer - NEIGHBOURS), min(info.n_layers, head.layer + NEIGHBOURS + 1))
        for number in range(info.n_heads)
    ]
    free = [each for each in close if each != head and each not in typed]
    if not free:
        raise SiteError(f"{head}: no head close by is without the type, so there is nothing to compare with.")
    return tuple(Random(SEED).sample(free, min(CONTROLS, len(free))))


class Bench:
    """The two texts, run once, and a head's three measurements on them."""

    def __init__(self, model: Model) -> None:
        self.model = model
        of = model.tokenizer, model.info.vocab_size, model.info.n_ctx
        self.twice, self.backwards = repeated_tokens(*of, SEED), reversed_tokens(*of, SEED)
        period = len(self.twice) // 2
        self.read = torch.arange(period, 2 * period - 1)
        """Positions whose next token is a repeat."""
        self.runs = {tokens.text: self.run(tokens.ids, ()) for tokens in (self.twice, self.backwards)}
        self.right = torch.tensor(self.twice.ids[period + 1 :])
        self.log_prob = float(self.mean_log_prob(self.final(self.twice.text), self.right))

    def run(self, ids: list[int], edits: tuple[Edit, ...]) -> dict[str, Tensor]:
        tape = Tape(edits, () if edits else ("pattern", "z"))
        final = self.model.runtime.run(self.model.batch(ids), tape)[0]
        kept = {kind: torch.stack([layers[n][0] for n in sorted(layers)]) for kind, layers in tape.kept.items()}
        return {str(kind): value for kind, value in kept.items()} | {"final": final}

    def final(self, text: str) -> Tensor:
        return self.runs[text]["final"]

    def mean_log_prob(self, final: Tensor, ids: Tensor) -> float:
        log_probs = self.model.unembed(final[self.read]).double().log_softmax(-1)
        return float(log_probs[torch.arange(len(ids)), ids.to(log_probs.device)].mean())

    def measure(self, head: Head) -> dict[Measurement, float]:
        twice, backwards = (self.runs[tokens.text] for tokens in (self.twice, self.backwards))
        layer, number = head.layer, head.head
        mean = twice["z"][layer, :, number].mean(0, keepdim=True)
        removed = self.run(self.twice.ids, (Edit("z", layer, number, None, "set", mean),))
        other = self.run(self.twice.ids, (self.pattern(head, backwards["pattern"]),))
        put_back = self.run(self.backwards.ids, (self.pattern(head, twice["pattern"]),))
        looked_at = twice["pattern"][layer, number, self.read].argmax(-1)
        copied = torch.tensor(self.backwards.ids)[looked_at.cpu()]
        before = self.mean_log_prob(backwards["final"], copied)
        return {
            "removed": self.log_prob - self.mean_log_prob(removed["final"], self.right),
            "misdirected": self.log_prob - self.mean_log_prob(other["final"], self.right),
            "reproduced": self.mean_log_prob(put_back["final"], copied) - before,
        }

    def pattern(self, head: Head, patterns: Float[Tensor, "layer head dest source"]) -> Edit:
        rows = patterns[head.layer, head.head]
        return Edit("pattern", head.layer, head.head, tuple(range(len(rows))), "set", rows)
