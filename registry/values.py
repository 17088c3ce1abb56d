"""What may be stored: JSON, texts, numbers and times that every reader of a registry can read again.

A database takes more than that, and one odd value then spoils every list that it is in: JSON of a thousand levels
cannot be printed, half a surrogate pair cannot be encoded, PostgreSQL has no NUL in a text and no JSON with NaN, a time
in the year 9999 has no local time. So whatever comes in passes these checks, be it a training's or a stranger's.
"""

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from numbers import Real
from typing import Any, Final

from .errors import SettingsError

MAX_DEPTH: Final = 32
"""Levels of lists and objects inside each other; the deepest that pointsman writes has eight."""

MAX_JSON: Final = 1 << 22
"""Characters and values of one JSON field: a task with 100,000 class names fits."""

_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(3000, 1, 1, tzinfo=UTC)
_SECONDS: Final = _LATEST.timestamp()
_NOT_UNICODE: Final = re.compile("[\0\ud800-\udfff]")


def check_json(what: str, value: Any) -> Any:
    """Return a value if it is plain JSON: dicts with text as keys, lists, texts, finite numbers, booleans and None.

    Args:
        what: Its name in messages, as ``config``.
        value: The value; a tuple counts as a list.

    Raises:
        SettingsError: It is something else, has more than ``MAX_DEPTH`` levels, or is larger than ``MAX_JSON``.
    """
    if _size(what, value, MAX_DEPTH) > MAX_JSON:
        raise SettingsError(f"{what} is too large: at most {MAX_JSON:,} characters and values are allowed")
    return value


def check_object(what: str, value: Any) -> Mapping[str, Any]:
    """Return a value if it is a JSON object.

    Raises:
        SettingsError: As ``check_json``, or it is no object.
    """
    if not isinstance(value, Mapping):
        raise refused(what, value, "a JSON object")
    check_json(what, dict(value))
    return value


def check_whole(what: str, value: Any, low: int = 0, high: int = 2**63 - 1) -> int:
    """Return a value if it is a whole number in a range, ends included.

    Raises:
        SettingsError: It is something else.
    """
    # bool is an int in Python, and not in a registry.
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise refused(what, value, f"a whole number from {low:,} to {high:,}")
    return value


def check_number(what: str, value: Any, *, finite: bool = False) -> float:
    """Return a number as a float; NaN and the infinities are numbers, unless it must be finite.

    Raises:
        SettingsError: It is something else.
    """
    number: float | None = None
    if type(value) is float:
        number = value
    elif isinstance(value, Real) and not isinstance(value, bool):
        with suppress(OverflowError):  # a whole number beyond every float
            number = float(value)
    if number is None or (finite and not math.isfinite(number)):
        raise refused(what, value, "a finite number" if finite else "a number")
    return number


def check_text(what: str, value: Any, most: int) -> str:
    """Return a value if it is a text of at most ``most`` characters, all of them Unicode and none of them NUL.

    Raises:
        SettingsError: It is something else.
    """
    if not isinstance(value, str):
        raise refused(what, value, "a text")
    if len(value) > most:
        raise SettingsError(f"{what} {_shown(value)} is {len(value):,} characters long: at most {most:,} are allowed")
    if (match := _NOT_UNICODE.search(value)) is not None:
        raise SettingsError(f"{what} {_shown(value)} has the character {match[0]!a} in it, which no text can have")
    return value


def check_time(what: str, value: Any) -> datetime:
    """Return a value if it is a time with its time zone, from 1970 up to the year 3000.

    Raises:
        SettingsError: It is something else.
    """
    if not isinstance(value, datetime) or value.tzinfo is None or not _EARLIEST <= value < _LATEST:
        shown = value.isoformat() if isinstance(value, datetime) else value
        raise refused(what, shown, "a time with its time zone, from 1970 up to the year 3000")
    return value


def check_seconds(what: str, value: Any) -> float:
    """Return a value if it is a time in seconds since 1970-01-01 UTC, up to the year 3000.

    Raises:
        SettingsError: It is something else.
    """
    seconds = check_number(what, value)
    if not 0 <= seconds < _SECONDS:
        raise refused(what, value, "seconds since 1970, up to the year 3000")
    return seconds


def refused(what: str, value: Any, wanted: str) -> SettingsError:
    """Make the error for a value that is not what it must be.

    Args:
        what: Its name.
        value: What was found.
        wanted: What it must be.
    """
    return SettingsError(f"{what} is {_shown(value)}: it must be {wanted}")


def _size(what: str, value: Any, levels: int) -> int:
    """The number of characters and values in a JSON value, each of which is checked."""
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, str):
        return 1 + len(check_text(what, value, MAX_JSON))
    if isinstance(value, int):
        check_whole(what, value, -(2**63))
        return 1
    if isinstance(value, float):
        check_number(what, value, finite=True)
        return 1
    if not isinstance(value, dict | list | tuple):
        raise refused(what, value, "plain JSON")
    if not levels:
        raise SettingsError(f"{what[:80]} has more than {MAX_DEPTH} levels of lists and objects inside each other")
    if not isinstance(value, dict):
        return 1 + sum(_size(what, item, levels - 1) for item in value)
    size = 1
    for key, item in value.items():
        size += len(check_text(f"a key of {what}", key, 1_000)) + _size(f"{what}.{key}", item, levels - 1)
    return size


def _shown(value: Any) -> str:
    """A value for a message: short, and with nothing that a terminal would act on."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # a number of over 4,300 digits, a value of very many levels
        return f"a huge {type(value).__name__}"
    short = ascii(text if len(text) <= 80 else text[:77] + "...")
    return short if isinstance(value, str) else short[1:-1]
