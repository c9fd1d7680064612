"""Attention weighted by what is carried: a pattern says where a head looks, not how much it takes from there.

attention        A_ij
value-weighted   A_ij · ‖v_j W_O‖                    (Kobayashi et al. 2020, Attention is Not Only a Weight, eq. 5)
contribution     A_ij · (v_j W_O · u_i)              u_i: how the objective reads the stream at i (direct logit attribution)
"""

from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.errors import AnswerError, ModelError
from explorer.engine.forward import per_query_head
from explorer.engine.interventions import as_stack
from explorer.engine.model import Activations, Model
from explorer.engine.readout import freeze_norm, from_sources, token_row
from explorer.metrics.objectives import objective_of
from explorer.models.decoder import Decoder
from explorer.prompts.tokens import Bos

Weighting = Literal["attention", "value-weighted", "contribution"]
WEIGHTINGS: tuple[Weighting, ...] = get_args(Weighting)


def weighted_attention(
    model: Model,
    prompt: str,
    interventions: Any = (),
    *,
    weighting: Weighting = "value-weighted",
    answer: str = "",
    distractor: str = "",
    bos: Bos = "default",
) -> Float[np.ndarray, "layer head dest source"]:
    """Patterns of every head, weighted.  Value-weighted in the stream's own units; a contribution in logits of the objective at
    each destination (for the run's own norm scale there).  Where an intervention sets what a head writes, nothing comes from a
    source, and the row is 0.

    Raises `PromptError`, `AnswerError`, `SiteError`, `InterventionError`, `BridgeError`; `ModelError` where heads do not add up.
    """
    decoder = model.decoder("Weighted attention")
    if not model.info.heads_add_up:
        raise ModelError(
            f"In {model.info.title} a norm follows the sum of the heads, so a single head's write has no size of its own."
        )
    stack, tokens = as_stack(interventions), model.tokenize(prompt, bos)
    run = model.activations(tokens, stack, ("pattern", "v", "z", "resid_post"))
    patterns = [run.kept["pattern"][layer].double() for layer in range(decoder.n_layers)]
    if weighting != "attention":
        patterns = [pattern * written(decoder, layer, run)[..., None] for layer, pattern in enumerate(patterns)]
    if weighting == "attention":
        weights = [torch.ones(1, 1, 1, dtype=torch.float64)] * decoder.n_layers
    elif weighting == "value-weighted":
        weights = [value_sizes(decoder, layer, run)[:, None] for layer in range(decoder.n_layers)]
    else:
        weights = contributions(model, decoder, run, answer, distractor)
    return (
        torch.stack([pattern * weight for pattern, weight in zip(patterns, weights, strict=True)]).float().cpu().numpy()
    )


def written(decoder: Decoder, layer: int, run: Activations) -> Float[Tensor, "head dest"]:
    return from_sources(decoder, run.kept["z"][layer], run.kept["pattern"][layer], run.kept["v"][layer])


def by_head(decoder: Decoder, layer: int) -> Float[Tensor, "d_model head d_head"]:
    return decoder.blocks[layer].o.weight.view(-1, decoder.n_heads, decoder.d_head)


def values(decoder: Decoder, layer: int, run: Activations) -> Float[Tensor, "source head d_head"]:
    return per_query_head(run.kept["v"][layer], decoder.n_heads)


def value_sizes(decoder: Decoder, layer: int, run: Activations) -> Float[Tensor, "head source"]:
    """‖v W_O‖, through W_Oᵀ W_O, so that no [source, head, d_model] is made."""
    W, v = by_head(decoder, layer), values(decoder, layer, run)
    gram = torch.einsum("dhe,dhf->hef", W, W)
    return torch.einsum("she,hef,shf->hs", v, gram, v).clamp_min(0).sqrt().double()


def contributions(
    model: Model, decoder: Decoder, run: Activations, answer: str, distractor: str
) -> list[Float[Tensor, "head dest source"]]:
    objective = objective_of(model, answer, distractor)
    if objective is None:
        raise AnswerError(
            "Contributions are to an objective: give an answer, one token, usually with its leading space."
        )
    u = freeze_norm(decoder.norm_final, run.final).back(token_row(decoder, objective.answer, objective.distractor))
    u = u.to(decoder.unembed.weight.dtype)
    found = []
    for layer in range(decoder.n_layers):
        reading = torch.einsum("pd,dhe->phe", u, by_head(decoder, layer))
        found.append(torch.einsum("ihe,she->his", reading, values(decoder, layer, run)).double())
    return found
