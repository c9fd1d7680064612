"""Direct logit attribution: which component writes how much of the objective straight into the logits.

    objective = Σ_c  c · u  +  biases,      u = γ/σ · (W_U[answer] − W_U[distractor]), centred where the final norm centres

with the final norm's scale σ held at the run's own value (Elhage et al. 2021, A Mathematical Framework;
Wang et al. 2022).  The rows add up to the objective, which is checked.  They count direct paths alone: a head whose write is
read by later layers matters more, or less, than its row says.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.errors import ModelError
from explorer.core.provenance import Provenance
from explorer.core.sites import AttnOut, Head, Kind, MlpOut, Neuron, Resid
from explorer.engine.fitting import address
from explorer.engine.forward import per_query_head
from explorer.engine.interventions import EdgeIntervention, Intervention, OnlyEdges, as_stack
from explorer.engine.model import Activations, Model
from explorer.engine.readout import freeze_norm, from_sources, token_row
from explorer.metrics.objectives import Objective, required_objective
from explorer.models.decoder import Decoder
from explorer.prompts.tokens import Bos, Tokens

REST = "set by interventions"
"""What interventions on attn_out, the stream or single edges put there: no component of the model writes it."""
Rows = dict[str, tuple[str, float]]
"""Component name -> its kind and contribution, in logits."""


@dataclass(frozen=True, eq=False)
class Attribution:
    frame: pd.DataFrame
    """A row a component: component, kind (embedding, head, attention, mlp, bias, set by interventions), baseline, changed,
    difference; in logits."""
    heads_by_source: Float[Tensor, "layer head source"]
    """Each head's contribution, by the position it comes from, under the interventions; what these set themselves comes from
    no position, and output biases are not in it."""
    logit_difference: tuple[float, float]
    """The objective, baseline and changed; logit(answer) alone without a distractor."""
    check: float
    """Largest |Σ rows − objective| of the two runs: rounding."""
    position: int
    tokens: Tokens
    provenance: Provenance

    @property
    def parts(self) -> dict[str, float]:
        """Contribution of each component under the interventions, in logits."""
        return dict(zip(self.frame["component"], self.frame["changed"], strict=True))

    @property
    def by_token(self) -> Float[Tensor, " source"]:
        """What all heads together bring from each source position, in logits, under the interventions."""
        return self.heads_by_source.sum((0, 1))


def direct_logit_attribution(
    model: Model,
    prompt: str,
    interventions: Any = (),
    *,
    answer: str,
    distractor: str = "",
    position: int = -1,
    bos: Bos = "default",
) -> Attribution:
    """The objective at a position as a sum over components, with and without the interventions.

    Raises `PromptError`, `AnswerError`, `SiteError`, `InterventionError`; `ModelError` for a model on the bridge, or one whose
    logits are capped (the cap is no sum).
    """
    decoder = linear_decoder(model)
    objective = required_objective(model, answer, distractor)
    tokens = model.tokenize(prompt, bos)
    place = tokens.place(position)
    stack = as_stack(interventions)
    kinds: tuple[Kind, ...] = ("z", "v", "pattern", "attn_out", "mlp_out", "resid_post")
    runs = [model.activations(tokens, each, kinds) for each in ((), stack)]
    readings = [reading_of(decoder, run.final[place], objective) for run in runs]
    rows = [contributions(decoder, model, tokens, *each, place) for each in zip(runs, readings, strict=True)]
    if any(sets_the_stream(item) for item in stack):
        whole = dot(runs[1].final[place], readings[1].u) + sum(readings[1].constants.values())
        rows[1][REST] = REST, whole - sum(each for _, each in rows[1].values())
    totals = [value(model, run, objective, place) for run in runs]
    frame = as_frame(rows[0], rows[1])
    return Attribution(
        frame=frame,
        heads_by_source=by_source(decoder, runs[1], readings[1], place),
        logit_difference=(totals[0], totals[1]),
        check=max(
            abs(float(frame[name].sum()) - total) for name, total in zip(("baseline", "changed"), totals, strict=True)
        ),
        position=place,
        tokens=tokens,
        provenance=model.provenance([tokens], stack),
    )


def linear_decoder(model: Model) -> Decoder:
    decoder = model.decoder("An attribution")
    if decoder.logit_softcap is not None:
        raise ModelError(f"{model.info.title} caps its logits, so they are no sum over components.")
    return decoder


def sets_the_stream(item: Intervention) -> bool:
    return isinstance(item, EdgeIntervention | OnlyEdges) or isinstance(item.site, AttnOut | Resid)


def neuron_attribution(
    model: Model,
    prompt: str,
    interventions: Any = (),
    *,
    layer: int,
    answer: str,
    distractor: str = "",
    position: int = -1,
    bos: Bos = "default",
) -> pd.DataFrame:
    """An MLP's part of the objective, neuron by neuron: activation times its row of W_out, read as in `direct_logit_attribution`.

    One row a neuron: component (`L5N17`), activation, baseline, changed, difference; in logits.  The rows and the MLP's output
    bias add up to its part.  Raises as `direct_logit_attribution`; `SiteError` for a layer without an MLP, `ModelError` where
    a norm follows the MLP (Gemma-2), so that neurons are no summands.
    """
    decoder = linear_decoder(model)
    objective = required_objective(model, answer, distractor)
    tokens, stack = model.tokenize(prompt, bos), as_stack(interventions)
    address(Neuron(layer, 0), model.info)
    block = decoder.blocks[layer]
    if block.mlp is None or block.norm_mlp_out is not None:
        raise ModelError(
            f"In {model.info.title} a norm follows the MLP, so single neurons are no summands of the logits."
        )
    weight, parts, activation = block.mlp.down.weight.double(), [], None
    for each in ((), stack):
        run = model.activations(tokens, each, ("neurons", "resid_post"))
        activation = run.kept["neurons"][layer][position].double()
        parts.append((activation * (reading_of(decoder, run.final[position], objective).u @ weight)).tolist())
    assert activation is not None
    names = [str(Neuron(layer, number)) for number in range(len(activation))]
    frame = pd.DataFrame(
        {"component": names, "activation": activation.tolist(), "baseline": parts[0], "changed": parts[1]}
    )
    return frame.assign(difference=frame["changed"] - frame["baseline"])


@dataclass(frozen=True, eq=False)
class Reading:
    """How the objective of one run reads the stream, in float64."""

    u: Float[Tensor, " d_model"]
    """A summand c of the stream adds c · u."""
    heads: Float[Tensor, "layer head d_head"]
    """The same for a head's mixed values z: u W_O."""
    constants: dict[str, float]
    """The parts of the objective that read no stream."""


def reading_of(decoder: Decoder, final: Float[Tensor, " d_model"], objective: Objective) -> Reading:
    row, bias = token_row(decoder, objective.answer, objective.distractor), decoder.unembed.bias
    norm = freeze_norm(decoder.norm_final, final)
    constants = {}
    if bias is not None:
        other = 0 if objective.distractor is None else bias[objective.distractor]
        constants["unembedding bias"] = float(bias[objective.answer] - other)
    if norm.bias is not None:
        constants["final norm bias"] = float(norm.bias @ row)
    u = norm.back(row)
    heads = [u @ block.o.weight.double() for block in decoder.blocks]
    return Reading(u, torch.stack(heads).view(decoder.n_layers, decoder.n_heads, decoder.d_head), constants)


def contributions(
    decoder: Decoder, model: Model, tokens: Tokens, run: Activations, reading: Reading, place: int
) -> Rows:
    """Every component's part of the objective, in logits."""
    u = reading.u
    rows: Rows = {"token embedding": ("embedding", dot(decoder.embed[tokens.ids[place]] * decoder.embed_scale, u))}
    if decoder.embed_positions is not None:
        rows["position embedding"] = "embedding", dot(decoder.embed_positions[place], u)
    for layer, block in enumerate(decoder.blocks):
        if model.info.heads_add_up:
            for head in range(decoder.n_heads):
                rows[str(Head(layer, head))] = (
                    "head",
                    dot(run.kept["z"][layer][place, head], reading.heads[layer, head]),
                )
            if block.o.bias is not None:
                rows[f"L{layer} attention bias"] = "bias", dot(block.o.bias, u)
        else:
            rows[str(AttnOut(layer))] = "attention", dot(run.kept["attn_out"][layer][place], u)
        if block.mlp is not None:
            own = 0.0 if block.mlp.down.bias is None or block.norm_mlp_out else dot(block.mlp.down.bias, u)
            rows[str(MlpOut(layer))] = "mlp", dot(run.kept["mlp_out"][layer][place], u) - own
            if block.mlp.down.bias is not None and not block.norm_mlp_out:
                rows[f"L{layer} MLP bias"] = "bias", own
    return rows | {name: ("bias", value) for name, value in reading.constants.items()}


def dot(vector: Tensor, u: Tensor) -> float:
    return float(vector.double() @ u)


def by_source(decoder: Decoder, run: Activations, reading: Reading, place: int) -> Float[Tensor, "layer head source"]:
    """Each head's contribution split over the positions that its values come from."""
    grid = []
    for layer in range(decoder.n_layers):
        values = per_query_head(run.kept["v"][layer], decoder.n_heads).double()
        whole = run.kept["pattern"][layer]
        own = from_sources(decoder, run.kept["z"][layer], whole, run.kept["v"][layer])[:, place, None]
        grid.append(own * whole[:, place].double() * torch.einsum("shd,hd->hs", values, reading.heads[layer]))
    return torch.stack(grid).float()


def value(model: Model, run: Activations, objective: Objective, place: int) -> float:
    logits = model.unembed(run.final[place]).double()
    return float(logits[objective.answer] - (0 if objective.distractor is None else logits[objective.distractor]))


def as_frame(baseline: Rows, changed: Rows) -> pd.DataFrame:
    names = list(dict.fromkeys([*baseline, *changed]))
    kinds = {name: kind for rows in (baseline, changed) for name, (kind, _) in rows.items()}
    columns = {
        "component": names,
        "kind": [kinds[name] for name in names],
        "baseline": [baseline.get(name, ("", 0.0))[1] for name in names],
        "changed": [changed.get(name, ("", 0.0))[1] for name in names],
    }
    frame = pd.DataFrame(columns)
    return frame.assign(difference=frame["changed"] - frame["baseline"])
