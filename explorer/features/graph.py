"""Attribution graphs: which features, through which features, made the model say what it says on one prompt.

Every MLP is taken apart by its transcoder (Dunefsky et al. 2024) inside the local replacement model (Ameisen et al. 2025, Circuit
Tracing): patterns and norms frozen, what a transcoder misses kept as an error node.  An edge is exact there:

    A[t, s] = a_s · (decoder of s → encoder of t)        Σ_s A[t, s] + biases = pre-activation of t

Nodes: features that fire (layer, position), an error an MLP and position, a token a position, and logits with the mean over the
vocabulary taken off.  Influence (section 3 there): Â = |A| with rows that sum to 1, B = (I − Â)⁻¹ − I, weighted by the logits'
probabilities.  Scores, of the whole graph and of what is shown (what is left out counts as error):

    completeness   of what feeds the features and logits, the share that is not error, weighted by their influence
    replacement    of all influence that begins at a token or an error, the share that begins at a token
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from explorer.core.errors import DictionaryError
from explorer.core.provenance import Provenance
from explorer.core.sites import Feature
from explorer.engine.frozen import Frozen, freeze
from explorer.engine.interventions import Intervention, as_stack
from explorer.engine.model import Model
from explorer.features.influence import influence, scores, strongest_share
from explorer.models.dictionary import Dictionary
from explorer.models.info import Progress
from explorer.prompts.tokens import Bos

NodeKind = Literal["feature", "error", "token", "logit"]
MOST_FEATURES = 3000
"""Features of a graph; of more, those with the largest direct effect on the logits or the largest activation are kept."""
LOGITS, LOGIT_MASS = 10, 0.95
ROWS_AT_ONCE = 128


@dataclass(frozen=True)
class Node:
    kind: NodeKind
    layer: int
    """−1 of a token, n_layers of a logit."""
    position: int
    index: int = 0
    """The feature's number; the token's id of tokens and logits."""
    value: float = 0.0
    """A feature's activation, an error's norm, a logit's probability."""

    @property
    def name(self) -> str:
        match self.kind:
            case "feature":
                return f"L{self.layer}.transcoder/{self.index}@{self.position}"
            case "error":
                return f"L{self.layer}.error@{self.position}"
            case "token":
                return f"token@{self.position}"
        return f"logit {self.index}"


@dataclass(frozen=True, eq=False)
class AttributionGraph:
    """Nodes in the order features, errors, tokens, logits; `edges[t, s]` is what s adds to t."""

    nodes: tuple[Node, ...]
    edges: Float[np.ndarray, "target source"]
    biases: Float[np.ndarray, " target"]
    """What all biases together add to each feature or logit."""
    pre: Float[np.ndarray, " target"]
    """Pre-activation of each feature, logit (mean over the vocabulary taken off) of each logit; 0 elsewhere."""
    tokens: tuple[str, ...]
    names: tuple[str, ...]
    """Of the logits' tokens, in order."""
    dropped: int
    """Active features that were left out, counted as error."""
    provenance: Provenance

    def of_kind(self, *kinds: NodeKind) -> Bool[np.ndarray, " node"]:
        return np.array([node.kind in kinds for node in self.nodes])

    @cached_property
    def weights(self) -> Float[np.ndarray, " node"]:
        """The logits' probabilities, summing to 1; 0 elsewhere."""
        found = np.array([node.value if node.kind == "logit" else 0.0 for node in self.nodes])
        total = found.sum()
        return found / total if total else found

    @cached_property
    def influence(self) -> Float[np.ndarray, " node"]:
        """Influence of each node on the logits, over all paths."""
        return influence(self.edges, self.weights)

    @cached_property
    def scores(self) -> tuple[float, float]:
        """Completeness and replacement of the whole graph."""
        return scores(self.edges, self.weights, self.of_kind("error"), self.of_kind("token"))

    @property
    def completeness(self) -> float:
        return self.scores[0]

    @property
    def replacement(self) -> float:
        return self.scores[1]

    def shown(self, share: float = 0.8, edge_share: float = 0.98) -> "Shown":
        """The nodes that hold `share` of the influence, all errors of places that hold any, tokens and logits; the strongest edges."""
        keep = strongest_share(np.where(self.of_kind("feature"), self.influence, 0), share)
        keep |= self.of_kind("token", "logit", "error")
        chosen = np.flatnonzero(keep)
        square, sums = np.ix_(chosen, chosen), np.abs(self.edges[chosen]).sum(1)
        edges, weights = self.edges[square], self.weights[chosen]
        size = np.abs(edges)
        flow = size * (influence(edges, weights, sums - size.sum(1)) + weights)[:, None]
        strong = strongest_share(flow.ravel() / max(flow.sum(), 1e-30), edge_share).reshape(flow.shape)
        kept = np.zeros(self.edges.shape, bool)
        kept[square] = strong
        lost = sums - np.where(strong, size, 0).sum(1)
        errors, tokens = self.of_kind("error")[chosen], self.of_kind("token")[chosen]
        return Shown(self, keep, kept, scores(np.where(strong, edges, 0), weights, errors, tokens, lost))

    def table(self) -> pd.DataFrame:
        """One row a node."""
        return pd.DataFrame(
            [
                {"node": node.name, "kind": node.kind, "value": node.value, "influence": value}
                for node, value in zip(self.nodes, self.influence, strict=True)
            ]
        )


@dataclass(frozen=True, eq=False)
class Shown:
    """A pruned graph."""

    graph: AttributionGraph
    nodes: Bool[np.ndarray, " node"]
    edges: Bool[np.ndarray, "target source"]
    scores: tuple[float, float]
    """Completeness and replacement of what is shown; what is not counts as error."""


def transcoders_of(model: Model) -> list[Dictionary]:
    """One transcoder a layer; `DictionaryError` names the layers that have none."""
    found, missing = [], []
    for layer in range(model.info.n_layers):
        try:
            found.append(model.dictionary(f"L{layer}.transcoder"))
        except DictionaryError:
            missing.append(layer)
    if missing:
        raise DictionaryError(
            f"An attribution graph needs a transcoder at every layer; {model.info.title} has none at {', '.join(map(str, missing[:6]))}"
            f"{'…' if len(missing) > 6 else ''}. Train one: circuit-explorer train-sae {model.info.key} --site L{missing[0]}.transcoder"
        )
    return found


def attribution_graph(
    model: Model,
    text: str,
    *,
    answers: Sequence[str] = (),
    interventions: object = (),
    bos: Bos = "default",
    most: int = MOST_FEATURES,
    progress: Progress | None = None,
) -> AttributionGraph:
    """The attribution graph of a prompt, towards the likeliest next tokens (up to 10, or probability .95) or the `answers`.

    Raises `DictionaryError` (a layer without transcoder), `BridgeError`, `AnswerError`, `PromptError`.
    """
    tokens = model.tokenize(text, bos)
    transcoders = transcoders_of(model)
    stack = as_stack(interventions)
    frozen = freeze(model, tokens, stack, transcoders)
    parts = taken_apart(frozen, transcoders, most)
    ids = tuple(model.single_token(answer) for answer in answers) or likeliest(model, frozen)
    return Builder(frozen, transcoders, parts, ids, stack).build(progress)


def likeliest(model: Model, frozen: Frozen) -> tuple[int, ...]:
    probs = model.unembed(frozen.final[0, -1]).double().softmax(-1)
    top = probs.topk(min(LOGITS, len(probs)))
    enough = int((top.values.cumsum(0) < LOGIT_MASS).sum()) + 1
    return tuple(int(id_) for id_ in top.indices[:enough])


@dataclass(frozen=True, eq=False)
class Parts:
    """What each MLP wrote, taken apart."""

    features: Tensor
    """[feature node, (layer, position, index)]"""
    acts: Float[Tensor, " feature_node"]
    errors: Float[Tensor, "layer pos d_model"]
    dropped: int


@torch.no_grad()
def taken_apart(frozen: Frozen, transcoders: Sequence[Dictionary], most: int) -> Parts:
    places, acts = [], []
    for dictionary in transcoders:
        found = dictionary.encode(frozen.kept["mlp_read"][dictionary.layer][0])
        for edit in frozen.features:
            if edit.dictionary is dictionary:  # what an intervention set it to is what it writes
                found[:, edit.feature] = edit.acts(found[None, :, edit.feature])[0]
        position, index = found.nonzero(as_tuple=True)
        places.append(torch.stack([torch.full_like(position, dictionary.layer), position, index], 1))
        acts.append(found[position, index])
    features, values = torch.cat(places), torch.cat(acts)
    dropped = max(0, len(values) - most)
    if dropped:
        chosen = values.topk(most).indices.sort().values
        features, values = features[chosen], values[chosen]
    errors = []
    for dictionary in transcoders:
        layer = dictionary.layer
        read = frozen.kept["mlp_read"][layer][0]
        kept = torch.zeros(len(read), dictionary.n_features).to(read)
        mine = features[:, 0] == layer
        kept[features[mine, 1], features[mine, 2]] = values[mine].to(read)
        errors.append(frozen.kept["mlp_out"][layer][0] - dictionary.decode(kept, read))
    return Parts(features, values, torch.stack(errors), dropped)


@dataclass(frozen=True, eq=False)
class Builder:
    """Rows of the graph, by derivatives in the frozen model."""

    frozen: Frozen
    transcoders: Sequence[Dictionary]
    parts: Parts
    answers: tuple[int, ...]
    stack: tuple[Intervention, ...] = ()

    def leaves(self) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
        """Embedding and MLPs' writes that derivatives are taken of, and what the MLPs read and the logits read of them."""
        embedded = self.frozen.embedded.detach().clone().requires_grad_()
        writes = [
            self.base_write(layer).detach().clone().requires_grad_() for layer in range(self.frozen.decoder.n_layers)
        ]
        with torch.enable_grad():
            reads, final = self.frozen.run(embedded, writes)
        return embedded, writes, reads, final

    def base_write(self, layer: int) -> Tensor:
        """What an MLP wrote, without a transcoder's skip, which the frozen model adds itself."""
        skip = self.frozen.skips.get(layer)
        whole = self.frozen.kept["mlp_out"][layer]
        return whole if skip is None else whole - self.frozen.kept["mlp_read"][layer] @ skip

    def logit_rows(self) -> Float[Tensor, "logit d_model"]:
        weight = self.frozen.decoder.unembed.weight
        return weight[list(self.answers)] - weight.mean(0)

    def build(self, progress: Progress | None) -> AttributionGraph:
        embedded, writes, reads, final = self.leaves()
        layers, positions, index = self.parts.features.unbind(1)
        rows, biases, pres = [], [], []
        bias_reads, bias_final = self.of_biases()
        for dictionary in self.transcoders:
            weight, bias = (part.to(final) for part in dictionary.linear)
            mine = (layers == dictionary.layer).nonzero()[:, 0]
            for chosen in torch.split(mine, ROWS_AT_ONCE) if len(mine) else ():
                vectors = weight[:, index[chosen]].T
                at = positions[chosen]
                rows.append(self.rows(reads[dictionary.layer], at, vectors, embedded, writes[: dictionary.layer]))
                biases.append((bias_reads[dictionary.layer][0, at] * vectors).sum(-1) + bias[index[chosen]])
                pres.append((reads[dictionary.layer][0, at].detach() * vectors).sum(-1) + bias[index[chosen]])
                if progress is not None:
                    progress(sum(map(len, rows)) / (len(layers) + len(self.answers)), "Direct effects of features")
        unembed = self.logit_rows()
        last = torch.full((len(unembed),), len(self.frozen.tokens) - 1)
        rows.append(self.rows(final, last, unembed, embedded, writes))
        extra = self.logit_bias()
        biases.append((bias_final[0, -1] * unembed).sum(-1) + extra)
        pres.append((final[0, -1].detach() * unembed).sum(-1) + extra)
        return self.finished(torch.cat(rows), torch.cat(biases), torch.cat(pres))

    def logit_bias(self) -> Tensor:
        bias = self.frozen.decoder.unembed.bias
        return (
            torch.zeros(len(self.answers)).to(self.frozen.final)
            if bias is None
            else bias[list(self.answers)] - bias.mean()
        )

    @torch.no_grad()
    def of_biases(self) -> tuple[list[Tensor], Tensor]:
        """What reaches each reader of all biases alone: attention's, norms', and the transcoders' decoder biases."""
        nothing = torch.zeros_like(self.frozen.embedded)
        writes = [dictionary.sae.b_dec.detach().to(nothing).expand_as(nothing) for dictionary in self.transcoders]
        return self.frozen.run(nothing, writes)

    def rows(
        self,
        read: Tensor,
        at: Tensor,
        vectors: Float[Tensor, "row d_model"],
        embedded: Tensor,
        writes: Sequence[Tensor],
    ) -> Float[Tensor, "row source"]:
        """Edges into some targets from every feature, error and token."""
        seeds = torch.zeros(len(at), *read.shape).to(read)
        seeds[torch.arange(len(at)), 0, at] = vectors.to(read)
        found = torch.autograd.grad(
            read, [embedded, *writes], seeds, retain_graph=True, is_grads_batched=True, allow_unused=True
        )
        slopes = [None if each is None else each[:, 0] for each in found]
        return torch.cat(
            [
                self.from_features(slopes[1:], len(at)),
                self.from_errors(slopes[1:], len(at)),
                self.from_tokens(slopes[0], len(at)),
            ],
            1,
        )

    def from_features(self, slopes: Sequence[Tensor | None], n: int) -> Tensor:
        layers, positions, index = self.parts.features.unbind(1)
        made = torch.zeros(n, len(layers)).to(self.frozen.final)
        for layer, slope in enumerate(slopes):
            mine = (layers == layer).nonzero()[:, 0]
            if slope is not None and len(mine):
                rows = self.transcoders[layer].decoder[index[mine]].to(slope)
                made[:, mine] = (slope[:, positions[mine]] * rows).sum(-1) * self.parts.acts[mine].to(slope)
        return made

    def from_errors(self, slopes: Sequence[Tensor | None], n: int) -> Tensor:
        errors = self.parts.errors
        made = torch.zeros(n, *errors.shape[:2]).to(errors)
        for layer, slope in enumerate(slopes):
            if slope is not None:
                made[:, layer] = (slope * errors[layer]).sum(-1)
        return made.flatten(1)

    def from_tokens(self, slope: Tensor | None, n: int) -> Tensor:
        embedded = self.frozen.embedded[0].detach()
        return torch.zeros(n, len(embedded)).to(embedded) if slope is None else (slope * embedded).sum(-1)

    def finished(self, rows: Tensor, biases: Tensor, pres: Tensor) -> AttributionGraph:
        model, tokens = self.frozen.model, self.frozen.tokens
        n_layers, n_pos = self.parts.errors.shape[:2]
        nodes = [
            Node("feature", layer, position, index, float(act))
            for (layer, position, index), act in zip(self.parts.features.tolist(), self.parts.acts, strict=True)
        ]
        n_features = len(nodes)
        nodes += [
            Node("error", layer, position, value=float(self.parts.errors[layer, position].norm()))
            for layer in range(n_layers)
            for position in range(n_pos)
        ]
        nodes += [Node("token", -1, position, int(id_)) for position, id_ in enumerate(tokens.ids)]
        probs = model.unembed(self.frozen.final[0, -1]).double().softmax(-1)
        first_logit = len(nodes)
        nodes += [Node("logit", n_layers, n_pos - 1, id_, float(probs[id_])) for id_ in self.answers]
        edges = np.zeros((len(nodes), len(nodes)))
        numbers = rows.detach().double().cpu().numpy()
        edges[:n_features, :first_logit] = numbers[:n_features]
        edges[first_logit:, :first_logit] = numbers[n_features:]
        bias, pre = np.zeros(len(nodes)), np.zeros(len(nodes))
        for array, values in ((bias, biases), (pre, pres)):
            both = values.detach().double().cpu().numpy()
            array[:n_features], array[first_logit:] = both[:n_features], both[n_features:]
        words = tuple(model.token_text(id_) for id_ in tokens.ids)
        return AttributionGraph(
            tuple(nodes), edges, bias, pre, words, tuple(model.token_text(id_) for id_ in self.answers), self.parts.dropped,
            model.provenance([tokens], self.stack),
        )  # fmt: skip


def feature_of(node: Node) -> Feature:
    """The site of a feature node."""
    return Feature(node.layer, "transcoder", node.index)
