"""Lenses: read the residual stream after each layer as if it were the last.

1. h_l is the residual stream after block l, at every position.
2. LogitLens(h_l) = LN_f(h_l) W_U  (nostalgebraist 2020; definition as in Belrose et al. 2023, eq. 1).
3. TunedLens(h_l) = LN_f(h_l + A_l h_l + b_l) W_U, with A and b trained to give the model's output (eq. 5).
4. After the last block either equals the model's own logits; `check` holds the difference found.

Early layers are not trained to be read this way: what the logit lens shows there may be far from what the model "knows".
The tuned lens says what *can* be predicted from a layer by one affine map, not that the model does so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

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
from explorer.models.tuned_lens import TunedLens
from explorer.prompts.tokens import Bos, Tokens

LensKind = Literal["logit", "tuned"]
ROWS = 128
"""Residual streams unembedded at once: enough to use the processor well, few enough to bound [rows, vocab] in memory."""


@dataclass(frozen=True, eq=False)
class Lens:
    kind: LensKind
    tokens: Tokens
    positions: tuple[int, ...]
    """Positions of the prompt that were read: the `pos` axis of everything below."""
    token_id: Int[np.ndarray, "layer pos"]
    """Likeliest next token as read after each layer."""
    prob: Float[np.ndarray, "layer pos"]
    """Its probability."""
    entropy: Float[np.ndarray, "layer pos"]
    """Entropy of the lens's distribution, in nats."""
    kl: Float[np.ndarray, "layer pos"] | None
    """KL(output ‖ lens) to the same run's own output at that position, in nats; None unless asked for."""
    top_ids: Int[np.ndarray, "layer pos k"]
    """The `top` likeliest tokens, likeliest first."""
    top_probs: Float[np.ndarray, "layer pos k"]
    followed: tuple[str, ...]
    """Further tokens that were followed: the first axis of the next three."""
    followed_prob: Float[np.ndarray, "token layer pos"]
    followed_logit: Float[np.ndarray, "token layer pos"]
    followed_rank: Int[np.ndarray, "token layer pos"]
    answer_prob: Float[np.ndarray, "layer pos"] | None
    answer_rank: Int[np.ndarray, "layer pos"] | None
    """Rank of the answer; 1 is the likeliest token."""
    answer_logit: Float[np.ndarray, "layer pos"] | None
    distractor_prob: Float[np.ndarray, "layer pos"] | None
    distractor_logit: Float[np.ndarray, "layer pos"] | None
    distractor_rank: Int[np.ndarray, "layer pos"] | None
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
        for name in ("token_id", "prob", "entropy", "kl", *OBJECTIVE_FIELDS):
            if (grid := getattr(self, name)) is not None:
                columns[name] = grid.ravel()
        return pd.DataFrame(columns)


OBJECTIVE_FIELDS = (
    "answer_prob", "answer_rank", "answer_logit", "distractor_prob", "distractor_logit", "distractor_rank",
)  # fmt: skip


def logit_lens(
    model: Model,
    prompt: str,
    interventions: Any = (),
    *,
    kind: LensKind = "logit",
    answer: str = "",
    distractor: str = "",
    follow: Sequence[str] = (),
    positions: Sequence[int] | None = None,
    top: int = 1,
    kl: bool = False,
    bos: Bos = "default",
) -> Lens:
    """A lens at every layer, under interventions.

    Args:
        kind: "logit", or "tuned" with the model's trained translators (`circuit-explorer train-lens`).
        follow: single tokens that are followed through the layers, as `answer` and `distractor` are.
        positions: limits the reading (and its cost) to some of the prompt's positions; None reads all.
        top: how many of the likeliest tokens are kept at each place.
        kl: whether to compare each layer with the output, which reads every layer anew.

    Raises `PromptError`, `AnswerError`, `SiteError`, `InterventionError`; `LensError` where there is no tuned lens.
    """
    stack = as_stack(interventions)
    tokens = model.tokenize(prompt, bos)
    lens = model.tuned_lens if kind == "tuned" else None
    wanted = Wanted(
        objective_of(model, answer, distractor),
        tuple(model.single_token(text) for text in follow),
        resolve(positions, len(tokens)),
        max(1, min(top, model.info.vocab_size)),
        kl,
    )
    layers = layer_readings(model, tokens, stack, lens, wanted)
    grids = {name: np.stack([layer[name] for layer in layers]) for name in layers[0]}
    ids = grids["top_ids"][..., 0]
    return Lens(
        kind=kind,
        tokens=tokens,
        positions=wanted.columns,
        token_id=ids,
        prob=grids["top_probs"][..., 0],
        entropy=grids["entropy"],
        kl=grids.get("kl"),
        top_ids=grids["top_ids"],
        top_probs=grids["top_probs"],
        followed=tuple(follow),
        **{f"followed_{name}": np.moveaxis(grids[f"followed_{name}"], -1, 0) for name in ("prob", "logit", "rank")},
        **{name: grids.get(name) for name in OBJECTIVE_FIELDS},  # type: ignore[arg-type]
        check=last_layer_error(
            model, model.activations(tokens, stack, ("resid_post",)), layers[-1], wanted.columns[-1]
        ),
        texts=texts_of(model, ids),
        provenance=model.provenance([tokens], stack),
    )


@dataclass(frozen=True)
class Wanted:
    """What is read at each place."""

    objective: Objective | None
    follow: tuple[int, ...]
    columns: tuple[int, ...]
    top: int
    kl: bool


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
    model: Model, tokens: Tokens, stack: tuple[Intervention, ...], lens: TunedLens | None, wanted: Wanted
) -> list[Reading]:
    """The lens a layer at a time; layers below the first intervention are taken from the run without any.

    (Not where each layer is compared with the output, which the interventions change.)
    """
    key = ("lens", tuple(tokens.ids), tokens.bos, stack, lens and lens.identity, wanted)

    def make() -> list[Reading]:
        run = model.activations(tokens, stack, ("resid_post",))
        first = run.first_changed if stack and not wanted.kl else 0
        below = layer_readings(model, tokens, (), lens, wanted)[:first] if first else []
        columns, streams = list(wanted.columns), run.kept["resid_post"]
        rows = [streams[layer][columns] for layer in range(first, model.info.n_layers)]
        if lens is not None:
            rows = [lens.translate(first + number, stream) for number, stream in enumerate(rows)]
        output = model.unembed(run.final[columns]).float() if wanted.kl else None
        return [*below, *read(model, rows, wanted, output)]

    def size(made: list[Reading]) -> int:
        return sum(grid.nbytes for layer in made for grid in layer.values())

    readings: list[Reading] = model.remember(key, make, size)
    return readings


def read(
    model: Model, streams: list[Tensor], wanted: Wanted, output: Float[Tensor, "pos vocab"] | None
) -> list[Reading]:
    """Readings, [pos] each, of several layers' residual streams; layers share the large products."""
    length = len(wanted.columns)
    together = max(1, ROWS // length)
    parts = []
    for start in range(0, len(streams), together):
        some = streams[start : start + together]
        beside = None if output is None else output.repeat(len(some), 1)
        parts.append(read_rows(model.unembed(torch.cat(some)).float(), wanted, beside))
    whole = {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}
    by_layer = {name: np.split(grid, len(streams)) for name, grid in whole.items()}
    return [{name: grids[index] for name, grids in by_layer.items()} for index in range(len(streams))]


def read_rows(
    logits: Float[Tensor, "rows vocab"], wanted: Wanted, output: Float[Tensor, "rows vocab"] | None
) -> dict[str, Tensor]:
    """One pass over the vocabulary: the probabilities give everything else.

    Entropy is H = ln Z − Σ p·logit with ln Z = max logit − ln max p; KL(output ‖ lens) = Σ p_out (ln p_out − logit) + ln Z.
    """
    probs = logits.softmax(-1)
    top_probs, top_ids = probs.max(-1, keepdim=True) if wanted.top == 1 else probs.topk(wanted.top)
    log_z = logits.amax(-1) - top_probs[:, 0].log()
    entropy = (log_z - torch.linalg.vecdot(probs, logits)).clamp_min(0)
    reading = {"top_ids": top_ids, "top_probs": top_probs, "entropy": entropy}
    if output is not None:
        log_output = output.log_softmax(-1)
        reading["kl"] = (torch.linalg.vecdot(log_output.exp(), log_output - logits) + log_z).clamp_min(0)
    ids = list(wanted.follow)
    reading |= {"followed_prob": probs[:, ids], "followed_logit": logits[:, ids]}
    reading["followed_rank"] = ranks(logits, ids)
    if wanted.objective is None:
        return reading
    for name, id_ in (("answer", wanted.objective.answer), ("distractor", wanted.objective.distractor)):
        if id_ is not None:
            reading |= {f"{name}_prob": probs[:, id_], f"{name}_logit": logits[:, id_]}
            reading[f"{name}_rank"] = ranks(logits, [id_])[:, 0]
    return reading


def ranks(logits: Float[Tensor, "rows vocab"], ids: list[int]) -> Int[Tensor, "rows token"]:
    """Rank of each token in every row; 1 is the likeliest."""
    if not ids:
        return torch.empty(len(logits), 0, dtype=torch.int32)
    return torch.stack([rank_of(logits, logits[:, id_, None]) for id_ in ids], -1)


def last_layer_error(model: Model, run: Activations, last: Reading, position: int) -> float:
    """The lens after the last layer must be the model's output: |Δ probability| of its top token, last position read."""
    output = model.unembed(run.final[position]).float().softmax(-1)
    return abs(float(last["top_probs"][-1, 0]) - output[int(last["top_ids"][-1, 0])].item())
