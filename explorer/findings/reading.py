"""Paths into a result: `changed.objective`, `prob[3, 0]`, `parts['L23H3']`.  Nothing is called and nothing private is read, so that
a path from a file is as harmless as a number."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from explorer.core.errors import StateError

STEP = re.compile(r"\.?(?P<name>[a-z][a-z0-9_]*)|\[(?P<index>-?\d+(?:, ?-?\d+)*)\]|\['(?P<key>[^'\\\]]{1,80})'\]")


def at(result: Any, path: str) -> Any:
    """What a path leads to; `StateError` where it leads nowhere."""
    value, place = result, 0
    while place < len(path):
        step = STEP.match(path, place)
        if step is None:
            raise StateError(
                f"{path[:60]!r} is no path into a result. Expected for example changed.objective or prob[3, 0]."
            )
        value, place = follow(value, step, path), step.end()
    return value


def follow(value: Any, step: re.Match[str], path: str) -> Any:
    try:
        if step["name"]:
            return getattr(value, step["name"])
        if step["key"] is not None:
            if not isinstance(value, Mapping):
                raise StateError(f"{path[:60]!r}: there are no names to look up.")
            return value[step["key"]]
        index = tuple(int(number) for number in step["index"].split(","))
        if not isinstance(value, np.ndarray):
            raise StateError(f"{path[:60]!r}: there is no array to look into.")
        return value[index]
    except (AttributeError, IndexError, KeyError) as error:
        raise StateError(f"{path[:60]!r} leads nowhere in a {type(value).__name__}.") from error


def number_at(result: Any, path: str) -> float | None:
    """A number; None where the result has none there, or one that is not finite."""
    value = at(result, path)
    if value is None:
        return None
    if not isinstance(value, bool | int | float | np.number | np.bool_):
        raise StateError(f"{path[:60]!r} leads to a {type(value).__name__}, not to a number.")
    return float(value) if math.isfinite(value) else None


def array_at(result: Any, path: str) -> np.ndarray:
    value = at(result, path)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise StateError(f"{path[:60]!r} leads to a {type(value).__name__}, not to an array of numbers.")
    return np.ascontiguousarray(value)


def index_of(cell: int, shape: tuple[int, ...]) -> str:
    """The index of a cell, counted along the raveled array, as a path has it: `[3, 0]`."""
    return f"[{', '.join(str(int(at)) for at in np.unravel_index(cell, shape))}]"
