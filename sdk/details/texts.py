"""Values of records as people read them."""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

Row = tuple[str, str]
"""A name and a readable value."""


def readable(value: Any) -> str:
    """A JSON value without JSON's brackets and quotes.

    Examples:
        >>> readable({"dropout": 0.1, "layers": [1, 2]})
        'dropout 0.1, layers 1, 2'
    """
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {readable(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(readable, value)) or "none"
    return str(value)


def flat_rows(value: Mapping[str, Any], prefix: str = "") -> Iterator[Row]:
    """Nested fields as one row each, by dotted name."""
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from flat_rows(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", readable(item)


def short_base(name: str) -> str:
    """The name of a base, of a directory its last part."""
    return PurePath(name).name if PurePath(name).is_absolute() else name
