"""Values that stand for what cannot be read in a row, so that one bad row stops no statement.

SQLite stores any bytes in any column, and one flipped bit on a disk is enough: text that is no UTF-8, JSON that does
not parse, a time that is none. The driver would raise while it fetches, and the whole result would be lost. Instead the
value is read as one of these. Each is of the type that the column has, so that what does not look goes on working, and
of a class of its own, by which ``Shape`` knows the row.
"""

import json
from datetime import UTC, datetime
from typing import Any


class DamagedText(str):
    """Text that is not valid UTF-8; the bytes that are none have become U+FFFD."""

    __slots__ = ()


class DamagedJson(dict[str, Any]):
    """A JSON document that does not parse, or is no object: empty."""

    def __init__(self, text: object) -> None:
        super().__init__()
        self.text = text


class DamagedTime(datetime):
    """A time that cannot be read: 1970."""

    text: object

    @classmethod
    def of(cls, text: object) -> "DamagedTime":
        """Stand for a stored value."""
        time = cls(1970, 1, 1, tzinfo=UTC)
        time.text = text
        return time


def read_text(content: bytes) -> str:
    """Read text as a driver gets it from SQLite."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return DamagedText(content.decode(errors="replace"))


def read_json(text: Any) -> dict[str, Any] | None:
    """Read a JSON column: every one of the schema holds an object, or nothing."""
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return DamagedJson(text)
    if value is None:  # a copy from PostgreSQL has it, by an earlier release
        return None
    return value if type(value) is dict and type(text) is not DamagedText else DamagedJson(text)


def write_json(value: Any) -> str:
    """Write a JSON column: no NaN, which Python writes and the databases' JSON functions refuse.

    Raises:
        TypeError, ValueError: The value is not plain JSON, or stands for a document that could not be read.
    """
    if isinstance(value, DamagedJson):
        raise TypeError(f"the document {value.text!a:.40} could not be read")
    return json.dumps(value, allow_nan=False)
