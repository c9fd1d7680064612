"""What patching every activation of a kind does to the objective, over pairs: means, normalised, with intervals."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Float

from explorer.core.errors import StateError
from explorer.core.places import Place, parse_place, site_name
from explorer.core.provenance import Provenance
from explorer.engine.contrasts import Direction
from explorer.metrics.bootstrap import RESAMPLES, mean_interval

SMALLEST_SPAN = 0.1
"""Below this |m(clean) − m(corrupt)|, in logits, a normalised effect would magnify noise, so none is given."""
GATE_GAP = 0.25
"""How far the two directions must disagree, in normalised effect, for a cell to be called AND-like or OR-like."""


@dataclass(frozen=True, eq=False)
class Effects:
    """Effects of patches, one a cell; what a subclass adds says whether they were measured or estimated."""

    by_pair: Float[np.ndarray, "pair ..."]
    """Change of the objective to the unpatched run, in logits; NaN where a cell was not run."""
    clean: Float[np.ndarray, " pair"]
    """Objective of each clean run, under the interventions."""
    corrupt: Float[np.ndarray, " pair"]
    site: str
    direction: Direction
    axes: tuple[str, ...]
    """Names of the axes of `values`: layer; then head, kv_head or neuron; then pos."""
    layers: tuple[int, ...]
    """The layers of the first axis."""
    positions: tuple[int, ...]
    """The positions of the last axis, where there is one."""
    notes: tuple[str, ...]
    """What a reader must know: why values are missing, or memory that ran out."""
    provenance: Provenance

    @property
    def base(self) -> Float[np.ndarray, " pair"]:
        """Objective of the runs that were patched."""
        return self.corrupt if self.direction == "denoising" else self.clean

    @property
    def span(self) -> float:
        """Mean of clean − corrupt, in logits."""
        return float(self.clean.mean() - self.corrupt.mean())

    @property
    def refusal(self) -> str:
        """Why there is no normalised effect; empty where there is one."""
        if abs(self.span) >= SMALLEST_SPAN:
            return ""
        return (
            f"No normalised effect: clean and corrupt differ by {self.span:+.3f} logits in the objective, less than "
            f"{SMALLEST_SPAN}, and dividing by so little would show noise. The changes in logits stand."
        )

    @cached_property
    def raw(self) -> Float[np.ndarray, "..."]:
        """Mean change of the objective over pairs, in logits."""
        return np.asarray(self.by_pair.mean(0))

    @property
    def patched(self) -> Float[np.ndarray, "..."]:
        """Mean objective of the patched runs, in logits."""
        return np.asarray(self.base.mean() + self.raw)

    @cached_property
    def values(self) -> Float[np.ndarray, "..."]:
        """(m(patched) − m(corrupt)) / (m(clean) − m(corrupt)), a ratio of means; NaN where not run or refused."""
        return self.normalised(self.raw)

    def normalised(self, change: np.ndarray) -> np.ndarray:
        """Changes in logits on the scale from 0 (corrupt) to 1 (clean); NaN where that is refused."""
        if self.refusal:
            return np.full_like(change, np.nan)
        return np.asarray((change + self.base.mean() - self.corrupt.mean()) / self.span)

    @cached_property
    def strength(self) -> Float[np.ndarray, "..."]:
        """How much of clean − corrupt a patch moves: restored in denoising, taken away in noising; NaN as `values`."""
        return self.values if self.direction == "denoising" else 1 - self.values

    def place(self, cell: int) -> Place:
        """What a cell, counted along `raw.ravel()`, patches."""
        where = dict(zip(self.axes, np.unravel_index(cell, self.raw.shape), strict=True))
        index = next((int(where[axis]) for axis in ("head", "kv_head", "neuron") if axis in where), None)
        position = self.positions[int(where["pos"])] if "pos" in where else None
        return parse_place(
            site_name(self.site, self.layers[int(where["layer"])], index) + ("" if position is None else f"@{position}")
        )

    def cell(self, name: str) -> int | None:
        """The number of the cell with a place's name; None where there is none."""
        try:
            layer = parse_place(name).site.layer
        except StateError:
            return None
        if layer not in self.layers:
            return None
        width = self.raw.size // len(self.layers)
        first = self.layers.index(layer) * width
        return next((cell for cell in range(first, first + width) if str(self.place(cell)) == name), None)

    def interval(
        self, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
    ) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
        """Percentile bootstrap over pairs of `raw`: lower and upper ends."""
        low, high = mean_interval(self.by_pair.reshape(len(self.by_pair), -1), confidence, resamples, seed)
        return low.reshape(self.raw.shape), high.reshape(self.raw.shape)

    @property
    def frame(self) -> pd.DataFrame:
        """One row a cell: layer, head or neuron, position, effect (normalised), change (in logits)."""
        places = np.indices(self.raw.shape).reshape(len(self.axes), -1)
        columns: dict[str, Any] = dict(zip(self.axes, places, strict=True))
        columns["layer"] = np.asarray(self.layers)[columns["layer"]]
        if "pos" in columns:
            columns["pos"] = np.asarray(self.positions)[columns["pos"]]
        columns |= {"effect": self.values.ravel(), "change": self.raw.ravel()}
        if len(self.by_pair) > 1:
            low, high = self.interval()
            columns |= {"change_low": low.ravel(), "change_high": high.ravel()}
        return pd.DataFrame(columns)


AnyEffects = TypeVar("AnyEffects", bound=Effects)


def only(effects: AnyEffects, rows: np.ndarray) -> AnyEffects:
    """Some of the pairs, by a mask over them."""
    return replace(effects, by_pair=effects.by_pair[rows], clean=effects.clean[rows], corrupt=effects.corrupt[rows])


def noted(effects: AnyEffects, *told: str) -> AnyEffects:
    """With notes: first why there is no normalised effect, where there is none."""
    return replace(effects, notes=(*([effects.refusal] if effects.refusal else []), *told))


def axes_of(site: str, parts: bool, by_position: bool) -> tuple[str, ...]:
    """Names of the axes of effects on a site: layer; then its part, where it has parts; then pos."""
    part = {"neurons": "neuron", "k": "kv_head", "v": "kv_head"}.get(site, "head")
    return ("layer", *[part] * parts, *["pos"] * by_position)


def gates(denoising: Effects, noising: Effects) -> np.ndarray:
    """Where the two directions disagree: "AND-like" (noising takes much away, denoising restores little), "OR-like", or "".

    A member of an AND gate is necessary and not sufficient alone, a member of an OR gate sufficient and not necessary alone.
    """
    gap = noising.strength - denoising.strength
    with np.errstate(invalid="ignore"):
        return np.where(gap >= GATE_GAP, "AND-like", np.where(gap <= -GATE_GAP, "OR-like", ""))
