"""What callers give as lists and numbers, told from what only looks like it."""

import reprlib
from collections.abc import Mapping
from math import nan
from numbers import Integral, Real
from typing import Any


def as_list(value: object) -> list[Any] | None:
    """What a list, or anything else that has an order, holds; None where it is no such thing.

    Of a text the letters would be taken, of a mapping the keys, and of a set any order.
    """
    if isinstance(value, str | bytes | Mapping | set | frozenset):
        return None
    try:
        items = iter(value)  # type: ignore[call-overload]
    except TypeError:  # arrays without a dimension have a method for it, and refuse
        return None
    return list(items)


def as_float(value: object) -> float:
    """A number as a float; NaN where it is none, or too great for one."""
    try:
        return float(value) if isinstance(value, Real) and not isinstance(value, bool) else nan
    except OverflowError:
        return nan


def is_whole(value: object) -> bool:
    """Whether it is an integer, of any type but bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def short_repr(value: object) -> str:
    """Something for a message: short, and with nothing that a terminal would act on."""
    try:
        text = reprlib.repr(value)
    except ValueError:
        return "a huge number"  # Python refuses to write integers of more than 4,300 digits
    return text.encode("ascii", "backslashreplace").decode()
