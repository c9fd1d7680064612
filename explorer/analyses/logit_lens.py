"""Logit lens: read the residual stream after each layer as if it were the last.

1. h_l is the residual stream after block l, at every position.
2. LogitLens(h_l) = LN_f(h_l) W_U  (nostalgebraist 2020; definition as in Belrose et al. 2023, eq. 1).
3. After the last block it equals the model's own logits; `check` holds the difference found.

Early layers are not trained to be read this way: what the lens shows there may be far from what the model "knows".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from explorer.core.errors import PromptError
from explorer.core.provenance import Provenance
from explorer.engine.interventions import Intervention, as_stack
from explorer.engine.model import Activations, Model
from explorer.metrics.objectives import Objective, objective_of, rank_of
from explorer.prompts.tokens import Bos, Tokens

ROWS = 128
"""Residual streams unembedded at once: enough to use the processor well, few enough to bound [rows, vocab] in memory."""


@dataclass(frozen=True, eq=False)
class LogitLens:
    tokens: Tokens
    positions: tuple[int, ...]
    """Positions of the prompt that were read: the `pos` axis of everything below."""
    token_id: Int[np.ndarray, "layer pos"]
    """Likeliest next token as read after each layer."""
    prob: Float[np.ndarray, "layer pos"]
    """Its probability."""
    entropy: Float[np.ndarray, "layer pos"]
    """Entropy of the lens's distribution, in nats."""
    answer_prob: Float[np.ndarray, "layer pos"] | None
    answer_rank: Int[np.ndarray, "layer pos"] | None
    """Rank of the answer; 1 is the likeliest token."""
    answer_logit: Float[np.ndarray, "layer pos"] | None
    distractor_prob: Float[np.ndarray, "layer pos"] | None
    distractor_logit: Float[np.ndarray, "layer pos"] | None
    check: float
    """|Δ probability| of the top token at the last position read, lens after the last layer against the model's output."""
    texts: tuple[tuple[str, ...], ...]
    """Text of `token_id`, by layer and position."""
    provenance: Provenance

    @property
    def values(self) -> Float[np.ndarray, "layer pos"]:
        """Same as `prob`."""
        return self.prob

    @property
    def frame(self) -> pd.DataFrame:
        """One row a layer and position, with everything above as columns."""
        n_layers, length = self.prob.shape
        layers, columns_read = np.divmod(np.arange(n_layers * length), length)
        positions = np.asarray(self.positions)[columns_read]
        columns: dict[str, Any] = {
            "layer": layers,
            "pos": positions,
            "token": [self.tokens.texts[pos] for pos in positions],
            "top_token": [text for row in self.texts for text in row],
        }
        for name in ("token_id", "prob", "entropy", *OBJECTIVE_FIELDS):
            if (grid := getattr(self, name)) is not None:
                columns[name] = grid.ravel()
        return pd.DataFrame(columns)


OBJECTIVE_FIELDS = ("answer_prob", "answer_rank", "answer_logit", "distractor_prob", "distractor_logit")


def logit_lens(
    model: Model,
    prompt: str,
    interventions: Any = (),
    *,
    answer: str = "",
    distractor: str = "",
    positions: Sequence[int] | None = None,
    bos: Bos = "default",
) -> LogitLens:
    """The logit lens at every layer, under interventions.

    `answer` and `distractor` (single tokens) are followed through the layers where given.  `positions` limits the
    reading (and its cost) to some of the prompt's positions; None reads all.
    Raises `PromptError`, `AnswerError`, `SiteError`, `InterventionError`.
    """
    stack = as_stack(interventions)
    tokens = model.tokenize(prompt, bos)
    objective = objective_of(model, answer, distractor)
    columns = resolve(positions, len(tokens))
    layers = layer_readings(model, tokens, stack, objective, columns)
    grids = {name: np.stack([layer[name] for layer in layers]) for name in layers[0]}
    ids = grids.pop("token_id")
    present = {name: grids.pop(name, None) for name in OBJECTIVE_FIELDS}
    return LogitLens(
        tokens=tokens,
        positions=columns,
        token_id=ids,
        prob=grids["prob"],
        entropy=grids["entropy"],
        **present,
        check=last_layer_error(model, model.activations(tokens, stack, ("resid_post",)), layers[-1], columns[-1]),
        texts=texts_of(model, ids),
        provenance=model.provenance([tokens], stack),
    )


def resolve(positions: Sequence[int] | None, length: int) -> tuple[int, ...]:
    chosen = tuple(range(length)) if positions is None else tuple(positions)
    if not chosen or not all(0 <= position < length for position in chosen):
        raise PromptError(f"The lens was asked to read positions {chosen[:8]}; the prompt has 0 to {length - 1}.")
    return chosen


def texts_of(model: Model, ids: np.ndarray) -> tuple[tuple[str, ...], ...]:
    known = {int(id_): model.token_text(int(id_)) for id_ in np.unique(ids)}
    return tuple(tuple(known[int(id_)] for id_ in row) for row in ids)


Reading = dict[str, np.ndarray]


def layer_readings(
    model: Model,
    tokens: Tokens,
    stack: tuple[Intervention, ...],
    objective: Objective | None,
    columns: tuple[int, ...],
) -> list[Reading]:
    """The lens a layer at a time; layers below the first intervention are taken from the run without any."""
    key = ("logit_lens", tuple(tokens.ids), tokens.bos, stack, objective, columns)

    def make() -> list[Reading]:
        run = model.activations(tokens, stack, ("resid_post",))
        first = run.first_changed if stack else 0
        below = layer_readings(model, tokens, (), objective, columns)[:first] if first else []
        streams = [run.kept["resid_post"][layer][list(columns)] for layer in range(first, model.info.n_layers)]
        return [*below, *read(model, streams, objective)]

    def size(made: list[Reading]) -> int:
        return sum(grid.nbytes for layer in made for grid in layer.values())

    readings: list[Reading] = model.remember(key, make, size)
    return readings


def read(model: Model, streams: list[Tensor], objective: Objective | None) -> list[Reading]:
    """Readings, [pos] each, of several layers' residual streams; layers share the large products."""
    parts = [read_rows(model.unembed(rows).float(), objective) for rows in torch.split(torch.cat(streams), ROWS)]
    whole = {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}
    by_layer = {name: np.split(grid, len(streams)) for name, grid in whole.items()}
    return [{name: grids[index] for name, grids in by_layer.items()} for index in range(len(streams))]


def read_rows(logits: Float[Tensor, "rows vocab"], objective: Objective | None) -> dict[str, Tensor]:
    """One pass over the vocabulary: the probabilities give everything else.

    Entropy is H = ln Z − Σ p·logit with ln Z = max logit − ln max p.
    """
    probs = logits.softmax(-1)
    prob, token_id = probs.max(-1)
    log_z = logits.amax(-1) - prob.log()
    entropy = (log_z - torch.linalg.vecdot(probs, logits)).clamp_min(0)
    reading = {"token_id": token_id, "prob": prob, "entropy": entropy}
    if objective is None:
        return reading
    for name, id_ in (("answer", objective.answer), ("distractor", objective.distractor)):
        if id_ is not None:
            reading |= {f"{name}_prob": probs[:, id_], f"{name}_logit": logits[:, id_]}
    return reading | {"answer_rank": rank_of(logits, logits[:, objective.answer, None])}


def last_layer_error(model: Model, run: Activations, last: Reading, position: int) -> float:
    """The lens after the last layer must be the model's output: |Δ probability| of its top token, last position read."""
    output = model.unembed(run.final[position]).float().softmax(-1)
    return abs(float(last["prob"][-1]) - output[int(last["token_id"][-1])].item())
