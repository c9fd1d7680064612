"""Kept circuits: what is packed comes out again, and nothing else is taken for one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.circuits.circuit import Circuit
from explorer.circuits.packing import pack, unpack
from explorer.core.errors import CircuitError
from explorer.engine.edges import graph_of

pytestmark = pytest.mark.unit


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), places=st.integers(1, 4), share=st.floats(0, 1))
def test_a_circuit_comes_out_as_it_went_in(tiny_models, seed, places, share) -> None:
    graph = graph_of(tiny_models["llama"])
    exists = graph.exists.numpy()[..., None]
    kept = (np.random.default_rng(seed).random((*graph.exists.shape, places)) < share) & exists
    again = unpack(pack(Circuit(graph, kept)), graph)
    assert np.array_equal(again.kept, kept) and again.by_position == (places > 1)


@pytest.mark.parametrize("text", ["", "1:", "x:AAAA", "1:AAAA", "0:eJwDAAAAAAE=", "-3:eJwDAAAAAAE=", "1:" + "A" * 40])
def test_other_texts_are_refused(tiny_models, text) -> None:
    with pytest.raises(CircuitError):
        unpack(text, graph_of(tiny_models["gpt2"]))


def test_a_circuit_of_another_model_is_refused(tiny_models) -> None:
    graph = graph_of(tiny_models["gpt2"])
    other = graph_of(tiny_models["llama"])
    if graph.n_edges == other.n_edges:
        pytest.skip("the two tiny models have as many edges")
    with pytest.raises(CircuitError, match="another number of edges"):
        unpack(pack(Circuit(graph, graph.exists.numpy()[..., None])), other)
