"""A circuit that runs alone, as an ordinary run: with all edges the model, with none the source, in every kind of activation."""

from typing import get_args

import pytest
import torch

from explorer.core.errors import InterventionError
from explorer.core.places import PlacedEdge
from explorer.core.sites import Edge, Head, Kind, Logits
from explorer.engine.edges import EdgeMode
from explorer.engine.interventions import Ablate, OnlyEdges
from explorer.engine.model import Model
from tests.conftest import PROMPT, TWIN
from tests.engine.test_edges import FAR, any_model  # noqa: F401

pytestmark = pytest.mark.truth


def all_edges(model: Model, position: int | None = None) -> tuple[PlacedEdge, ...]:
    tokens = model.tokenize(PROMPT)
    graph = EdgeMode(model, [tokens], [tokens]).graph
    return tuple(PlacedEdge(graph.edge(*place), position) for place in graph.exists.nonzero().tolist())


def kinds_of(model: Model) -> list[Kind]:
    without = {"resid_mid"} if model.info.parallel else set()
    without |= (
        {"mlp_read", "neurons", "mlp_out"}
        if not EdgeMode(model, *[[model.tokenize(PROMPT)]] * 2).graph.has_mlp
        else set()
    )
    return [kind for kind in get_args(Kind) if kind not in without]


@pytest.mark.parametrize("how", ["resample", "zero", "mean"])
def test_with_all_edges_it_is_the_model(any_model: Model, how) -> None:  # noqa: F811
    tokens, kinds = any_model.tokenize(PROMPT), kinds_of(any_model)
    stack = (Ablate(Head(1, 2)),) if any_model.info.heads_add_up else ()
    plain = any_model.activations(tokens, stack, kinds)
    alone = any_model.activations(tokens, (*stack, OnlyEdges(all_edges(any_model), FAR, how)), kinds)
    assert (plain.final - alone.final).abs().max() < 1e-9
    for kind in kinds:
        assert (plain.stack(kind) - alone.stack(kind)).abs().max() < 1e-9, kind


def test_without_edges_it_is_the_source(any_model: Model) -> None:  # noqa: F811
    kinds = kinds_of(any_model)
    source = any_model.activations(any_model.tokenize(FAR), (), kinds)
    alone = any_model.activations(any_model.tokenize(PROMPT), (OnlyEdges((), FAR),), kinds)
    assert (source.final - alone.final).abs().max() < 1e-9
    for kind in ("q", "k", "v", "pattern", "z", "attn_out"):
        assert (source.stack(kind) - alone.stack(kind)).abs().max() < 1e-9, kind


def test_by_position_and_what_is_refused(tiny: Model) -> None:
    tokens = tiny.tokenize(PROMPT)
    placed = tuple(each for position in range(len(tokens)) for each in all_edges(tiny, position))
    alone = tiny.activations(tokens, (OnlyEdges(placed, FAR),), ("resid_post",))
    assert (alone.final - tiny.activations(tokens, (), ("resid_post",)).final).abs().max() < 1e-9
    with pytest.raises(InterventionError, match="has 14 tokens"):
        tiny.activations(tokens, (OnlyEdges((PlacedEdge(Edge(Head(0, 0), Logits()), 99),), TWIN),), ())
    with pytest.raises(InterventionError, match="Two circuits"):
        tiny.activations(tokens, (OnlyEdges((), TWIN), OnlyEdges((), FAR)), ())
    with pytest.raises(InterventionError, match="on the whole model"):
        tiny.edits(tokens, (OnlyEdges((), TWIN),))
    assert torch.isfinite(alone.final).all()
