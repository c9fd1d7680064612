"""A lens on each head and MLP: which tokens its write speaks for, straight into the logits.

    logits of a component c  =  (γ ∘ (c − c̄) / σ) W_U,  minus their mean over the vocabulary

with the final norm's scale σ of the run itself (Elhage et al. 2021; as `direct_logit_attribution`, but over the whole
vocabulary).  Observed: it says what a write promotes, not what later layers make of it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from explorer.core.provenance import Provenance
from explorer.engine.interventions import Intervention, as_stack
from explorer.engine.model import Model
from explorer.engine.readout import freeze_norm, head_writes
from explorer.metrics.objectives import Objective, objective_of
from explorer.prompts.tokens import Bos, Tokens

ROWS = 128


@dataclass(frozen=True, eq=False)
class ComponentLens:
    tokens: Tokens
    position: int
    columns: tuple[str, ...]
    """H0 … and mlp_out; attn_out in place of heads where a norm follows their sum."""
    token_id: Int[np.ndarray, "layer column"]
    """The token that each component promotes most."""
    texts: tuple[tuple[str, ...], ...]
    logit: Float[np.ndarray, "layer column"]
    """Its logit over the mean of the vocabulary."""
    lowest_id: Int[np.ndarray, "layer column"]
    """The token that it holds down most."""
    lowest_texts: tuple[tuple[str, ...], ...]
    objective: Float[np.ndarray, "layer column"] | None
    """logit(answer) − logit(distractor) of the component alone: its direct logit attribution, output biases of MLPs included."""
    provenance: Provenance

    @property
    def values(self) -> Float[np.ndarray, "layer column"]:
        """Same as `logit`."""
        return self.logit

    def name(self, layer: int, column: int) -> str:
        part = self.columns[column]
        return f"L{layer}{part}" if part.startswith("H") else f"L{layer}.{part}"

    @property
    def frame(self) -> pd.DataFrame:
        """One row a component: component, promoted, logit, held_down, objective."""
        places = [(layer, column) for layer in range(len(self.logit)) for column in range(len(self.columns))]
        table: dict[str, Any] = {
            "component": [self.name(*place) for place in places],
            "promoted": [self.texts[layer][column] for layer, column in places],
            "logit": self.logit.ravel(),
            "held_down": [self.lowest_texts[layer][column] for layer, column in places],
        }
        return pd.DataFrame(table if self.objective is None else table | {"objective": self.objective.ravel()})


def component_lens(
    model: Model,
    prompt: str,
    interventions: Any = (),
    *,
    answer: str = "",
    distractor: str = "",
    position: int = -1,
    bos: Bos = "default",
) -> ComponentLens:
    """What every head and MLP promotes at one position, under interventions.

    Raises `PromptError`, `AnswerError`, `SiteError`, `InterventionError`, `BridgeError`.
    """
    stack, tokens = as_stack(interventions), model.tokenize(prompt, bos)
    place = tokens.place(position)
    objective = objective_of(model, answer, distractor)
    key = ("component_lens", tuple(tokens.ids), tokens.bos, stack, objective, place)
    read: dict[str, np.ndarray] = model.remember(
        key,
        lambda: read_components(model, tokens, stack, objective, place),
        lambda made: sum(g.nbytes for g in made.values()),
    )
    text = {int(id_): model.token_text(int(id_)) for id_ in np.unique([read["token_id"], read["lowest_id"]])}

    def texts(ids: np.ndarray) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(text[int(id_)] for id_ in row) for row in ids)

    return ComponentLens(
        tokens, place, columns_of(model), read["token_id"], texts(read["token_id"]), read["logit"],
        read["lowest_id"], texts(read["lowest_id"]), read.get("objective"), model.provenance([tokens], stack),
    )  # fmt: skip


def columns_of(model: Model) -> tuple[str, ...]:
    attention = [f"H{head}" for head in range(model.info.n_heads)] if model.info.heads_add_up else ["attn_out"]
    return (*attention, *(["mlp_out"] if model.info.d_mlp else []))


def read_components(
    model: Model, tokens: Tokens, stack: tuple[Intervention, ...], objective: Objective | None, place: int
) -> dict[str, np.ndarray]:
    decoder = model.decoder("A lens on components")
    run = model.activations(tokens, stack, ("z", "attn_out", "mlp_out", "resid_post"))
    norm = freeze_norm(decoder.norm_final, run.final[place])
    writes = []
    for layer in range(decoder.n_layers):
        if model.info.heads_add_up:
            writes += list(head_writes(decoder, layer, run.kept["z"][layer][place, None])[0])
        else:
            writes.append(run.kept["attn_out"][layer][place].double())
        if model.info.d_mlp:
            writes.append(run.kept["mlp_out"][layer][place].double())
    found: dict[str, list[Tensor]] = {}
    dtype = decoder.unembed.weight.dtype
    for some in torch.split(torch.stack(writes), ROWS):
        logits = norm(some).to(dtype) @ decoder.unembed.weight.T
        logits -= logits.mean(-1, keepdim=True)
        high, low = logits.max(-1), logits.min(-1)
        parts = {"token_id": high.indices, "logit": high.values, "lowest_id": low.indices}
        if objective is not None:
            other = 0 if objective.distractor is None else logits[:, objective.distractor]
            parts["objective"] = logits[:, objective.answer] - other
        for name, part in parts.items():
            found.setdefault(name, []).append(part)
    shape = (decoder.n_layers, -1)
    return {name: torch.cat(parts).view(shape).cpu().numpy() for name, parts in found.items()}
