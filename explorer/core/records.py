"""Frozen dataclasses to JSON and back: `{"type": "Head", "layer": 9, "head": 6}`."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from explorer.core.errors import StateError


def to_record(value: Any) -> Any:
    """A JSON-ready form of a frozen dataclass, of tuples of them, or of a plain value."""
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: to_record(getattr(value, field.name)) for field in fields(value)}
        return {"type": type(value).__name__, **named}
    if isinstance(value, tuple | list):
        return [to_record(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_record(item) for key, item in value.items()}
    return value


def from_record(record: Any, types: Mapping[str, type]) -> Any:
    """Inverse of `to_record` for the dataclasses named in `types`; lists become tuples.

    Raises `StateError` for a type that is not in `types` or fields that do not fit it.
    """
    if isinstance(record, list):
        return tuple(from_record(item, types) for item in record)
    if not isinstance(record, Mapping):
        return record
    name = record.get("type")
    if not isinstance(name, str) or name not in types:
        raise StateError(f"A record of type {name!r} was found; expected one of {', '.join(sorted(types))}.")
    named = {key: from_record(item, types) for key, item in record.items() if key != "type"}
    try:
        return types[name](**named)
    except TypeError as error:
        raise StateError(f"The record of a {name} does not fit: {error}.") from error
