"""Checks of arguments: lists and numbers of any type, and short texts of values for messages."""

import reprlib
from collections.abc import Mapping
from math import nan
from numbers import Integral, Real
from typing import Any


def as_list(value: object) -> list[Any] | None:
    """Read a list, or another iterable with an order, as a list; None for anything else.

    Texts, mappings and sets give None too: their items would be letters, keys, or in no order.

    Examples:
        >>> as_list(("a", "b")), as_list("ab")
        (['a', 'b'], None)
    """
    if isinstance(value, str | bytes | Mapping | set | frozenset):
        return None
    try:
        items = iter(value)  # type: ignore[call-overload]
    except TypeError:  # an array without dimensions has __iter__, and it raises
        return None
    return list(items)


def as_float(value: object) -> float:
    """Convert a number to float; NaN for anything else, and for integers too large for a float."""
    try:
        return float(value) if isinstance(value, Real) and not isinstance(value, bool) else nan
    except OverflowError:
        return nan


def is_whole(value: object) -> bool:
    """Whether a value is an integer, of any type except bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def short_repr(value: object) -> str:
    """A value as text for a message: short, and without control characters that a terminal would interpret."""
    try:
        text = reprlib.repr(value)
    except ValueError:
        return "a huge number"  # Python refuses to write integers of more than 4,300 digits
    return text.encode("ascii", "backslashreplace").decode()


def not_unicode(text: str) -> str | None:
    """Why a string cannot be written as UTF-8, for the end of a message; None if it can.

    JSON and the command line can hold halves of surrogate pairs, which neither files nor databases take.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"is not Unicode: {error.reason}"
    return None
