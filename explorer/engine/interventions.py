"""Interventions: frozen values that can be shown, hashed, stored and compared; one function turns them into edits.

A stack is a tuple.  Order matters only where two entries set the same activation: the later one stands.
Reference activations (means, resampled values) always come from runs *without* interventions.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from explorer.core.errors import InterventionError, SiteError
from explorer.core.sites import AttnOut, Head, MlpOut, Resid, Site
from explorer.engine.edits import Edit, Kind
from explorer.models.info import ModelInfo
from explorer.prompts.pairs import ContrastPair
from explorer.prompts.tokens import Tokens

AblationKind = Literal["zero", "mean", "resample"]

Reference = Callable[[str, Kind, int], Tensor]
"""Activation [pos, ...] of `kind` at `layer` when a text is run without interventions."""


def references_of(pair: ContrastPair, how: AblationKind) -> tuple[str, ...]:
    """Reference prompts of an ablation on a contrast pair: both prompts for a mean, the corrupt one for resampling."""
    wanted = {"zero": (), "mean": (pair.clean, pair.corrupt), "resample": (pair.corrupt,)}[how]
    return tuple(text for text in wanted if text.strip())


def in_words(positions: tuple[int, ...] | None) -> str:
    return "" if positions is None else " at " + ", ".join(map(str, positions))


@dataclass(frozen=True)
class Ablate:
    """Replace what a site writes.

    `zero`      by zero;
    `mean`      by its mean over all positions of the `reference` prompts (the prompt itself if there are none);
    `resample`  by its value at the same position of the one `reference` prompt, which must be as long.
    """

    site: Site
    how: AblationKind = "zero"
    positions: tuple[int, ...] | None = None
    """Positions of the prompt (negative: from its end); None for all."""
    reference: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.how}-ablate {self.site}{in_words(self.positions)}"


Intervention = Ablate
TYPES: dict[str, type] = {type_.__name__: type_ for type_ in (Ablate, Head, AttnOut, MlpOut, Resid)}
"""For `core.records.from_record`."""


def compile_edits(
    interventions: Sequence[Intervention], info: ModelInfo, tokens: Tokens, reference: Reference
) -> tuple[Edit, ...]:
    """Edits of a stack on one prompt; raises `SiteError` or `InterventionError` for what does not fit."""
    return tuple(compile_ablation(item, info, tokens, reference) for item in interventions)


def compile_ablation(item: Ablate, info: ModelInfo, tokens: Tokens, reference: Reference) -> Edit:
    kind, layer, head = address(item.site, info)
    positions = resolve_positions(item, len(tokens))

    def values(text: str) -> Tensor:
        activation = reference(text, kind, layer)
        return activation if head is None else activation[:, head]

    match item.how:
        case "zero":
            return Edit(kind, layer, head, positions)
        case "mean":
            texts = item.reference or (tokens.text,)
            return Edit(kind, layer, head, positions, torch.cat([values(text) for text in texts]).mean(0))
        case "resample":
            if len(item.reference) != 1:
                raise InterventionError(
                    f"{item}: resampling needs exactly one reference prompt, got {len(item.reference)}."
                )
            other = values(item.reference[0])
            places = tuple(range(len(tokens))) if positions is None else positions
            check_lengths(item, len(tokens), len(other), places, positions is None)
            return Edit(kind, layer, head, places, other[list(places)])
    raise InterventionError(f"Unknown ablation {item.how!r}: choose zero, mean or resample.")


def check_lengths(item: Ablate, here: int, there: int, places: Iterable[int], everywhere: bool) -> None:
    if everywhere and here != there:
        raise InterventionError(
            f"{item}: the prompt has {here} tokens, the reference {there}. Resampling takes each position from the "
            "same position of the other prompt, so make them equally long, or choose single positions."
        )
    if (last := max(places, default=0)) >= there:
        raise InterventionError(f"{item}: the reference prompt has {there} tokens, so it has no position {last}.")


def resolve_positions(item: Ablate, length: int) -> tuple[int, ...] | None:
    if item.positions is None:
        return None
    for position in item.positions:
        if not -length <= position < length:
            raise InterventionError(f"{item}: the prompt has {length} tokens, so positions run from 0 to {length - 1}.")
    return tuple(sorted({position % length for position in item.positions}))


def address(site: Site, info: ModelInfo) -> tuple[Kind, int, int | None]:
    """Where a site lies in the forward pass; `SiteError` if the model has no such site."""
    if not 0 <= site.layer < info.n_layers:
        raise SiteError(f"{site}: {info.title} has layers 0 to {info.n_layers - 1}.")
    match site:
        case Head(layer, head):
            if not 0 <= head < info.n_heads:
                raise SiteError(f"{site}: {info.title} has heads 0 to {info.n_heads - 1} in each layer.")
            return "z", layer, head
        case AttnOut(layer):
            return "attn_out", layer, None
        case MlpOut(layer):
            return "mlp_out", layer, None
        case Resid(layer, kind):
            if kind == "resid_mid" and info.parallel:
                raise SiteError(f"{site}: {info.title} has none, its attention and MLP read the same stream.")
            return kind, layer, None
