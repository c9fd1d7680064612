"""Paths into results, and calls from files: numbers and arrays, and nothing else."""

from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import pytest

import explorer as ex
from explorer.core.errors import ExplorerError, FindingError, StateError
from explorer.findings.finding import Measure, measure_record, read_measure
from explorer.findings.functions import FUNCTIONS, call, measured
from explorer.findings.reading import array_at, number_at
from tests.conftest import PROMPT

pytestmark = pytest.mark.unit


@dataclass
class Result:
    grid: np.ndarray = field(default_factory=lambda: np.arange(6.0).reshape(2, 3))
    parts: dict = field(default_factory=lambda: {"L0H1": 1.5})
    inner: object = field(default_factory=lambda: MappingProxyType({"x": float("nan")}))
    none: None = None
    flag: bool = True

    def method(self) -> float:
        raise AssertionError("nothing may be called")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("grid[1, 2]", 5.0),
        ("grid[-1, 0]", 3.0),
        ("parts['L0H1']", 1.5),
        ("inner['x']", None),
        ("none", None),
        ("flag", 1.0),
    ],
)
def test_numbers(path, value) -> None:
    assert number_at(Result(), path) == value


@pytest.mark.parametrize(
    "path",
    [
        "method", "method()", "__class__", "grid.__class__", "_private", "grid", "grid[9, 9]", "grid[0]", "parts['no']", "parts[0]", "missing", "grid['x']",
        "grid[1, 2", "grid; import os", "inner['x'].real.__class__", "parts['a' + 'b']",
    ],
)  # fmt: skip
def test_everything_else_is_refused(path) -> None:
    with pytest.raises(StateError):
        number_at(Result(), path)


def test_arrays() -> None:
    assert array_at(Result(), "grid[0]").tolist() == [0.0, 1.0, 2.0]
    for path in ("parts", "flag", "method"):
        with pytest.raises(StateError):
            array_at(Result(), path)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [("exec", {}), ("__import__", {}), ("load_model", {}), ("prediction", {"prompt": PROMPT, "evil": 1}), ("prediction", {}), ("prediction", {"prompt": 7}), ("activation_patching", {"pairs": 3})],
)  # fmt: skip
def test_calls_that_do_not_fit_are_sentences(function, arguments) -> None:
    model = ex.load_model("small-world-nano")
    with pytest.raises((ExplorerError, FindingError)):
        call(model, Measure("m", function, arguments, ()))


def test_a_measure_comes_back_from_its_record() -> None:
    pair = ex.ContrastPair("a", "b", " c", " d")
    stacks = ex.Stacks((ex.Ablate(ex.Head(1, 2)),), (ex.Patch(ex.Neuron(0, 3), "text"),))
    made = Measure("t", "activation_patching", {"pairs": (pair,), "interventions": stacks, "layers": None}, ("raw[0]",), ("raw",), {"layer": 1}, "held out")  # fmt: skip
    assert read_measure(measure_record(made)) == made
    for broken in (
        {},
        {"title": 1},
        measure_record(made) | {"arguments": 3},
        measure_record(made) | {"arguments": {"x": {"type": "Popen"}}},
    ):
        with pytest.raises(StateError):
            read_measure(broken)


def test_every_function_has_a_place_in_the_public_face() -> None:
    from explorer import plots

    for name, function in FUNCTIONS.items():
        assert getattr(ex, name) is function.run
        assert not function.draw or hasattr(plots, function.draw)


def test_numbers_read_are_those_of_the_result(nano, plain) -> None:
    found = ex.prediction(nano, PROMPT, [ex.Ablate(ex.Head(1, 2))], answer=" Mary", distractor=" John")
    now = {"baseline.objective": found.baseline.objective, "changed.objective": found.changed.objective, "kl": found.kl}
    assert plain.views[0].numbers == pytest.approx(now, abs=1e-5)
    again = measured(nano, plain.views[1].measure)
    assert np.array_equal(
        again.arrays["patterns[0, 2]"], plain.views[1].arrays["patterns[0, 2]"]
    ) and again.figure.startswith("{")
    assert again.provenance["weight_hash"] == nano.info.weight_hash and again.provenance["prompts"] == [PROMPT]
