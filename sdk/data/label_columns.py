"""Columns of labels: whether they hold classes or scores is read from the values."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointsman.registry.errors import DataError

from .table_files import Table

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|nan|inf(?:inity)?)", re.IGNORECASE)


def label_values(table: Table, name: str) -> list[Any]:
    """Read the labels of a table as values of one type: bool, int (float if any is a float) or str.

    In a file that writes everything as text (CSV, TSV), labels are integers if all of them are written so, else floats
    if all of them are numbers, else strings. Spaces around strings are removed.

    Raises:
        DataError: A label that is missing, is neither string nor number, or differs in type; with its line.
    """
    values = [value.strip() if isinstance(value, str) else value for value in table.columns[name]]
    for row, value in enumerate(values):
        if value is None or value == "":
            raise DataError(f"{table.where(row)}: the label {name!r} is missing; fill it or remove the row")
        if not isinstance(value, bool | int | float | str):
            raise DataError(f"{table.where(row)}: a label is a string or a number; found {value!r}")
    if table.written and all(_INTEGER.fullmatch(value) for value in values):
        values = [int(value) for value in values]
    elif table.written and all(_NUMBER.fullmatch(value) for value in values):
        values = [float(value) for value in values]
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        values, kinds = [float(value) for value in values], {float}
    if len(kinds) > 1:
        odd = next(row for row, value in enumerate(values) if type(value) is not type(values[0]))
        raise DataError(
            f"{table.where(odd)}: the label {values[odd]!r} is of another kind than the first, {values[0]!r}; "
            "make them all numbers or all strings"
        )
    return values


def class_names(values: Sequence[Any]) -> tuple[str, ...]:
    """List the classes among labels, sorted: numbers by size, strings by alphabet; none if they are scores (floats)."""
    return () if isinstance(values[0], float) else tuple(_name(value) for value in sorted(set(values)))


def class_ids(values: Sequence[Any], classes: Sequence[str], where: Callable[[int], str]) -> NDArray[np.int64]:
    """Look up the class id of every label, ``(rows,)``.

    Raises:
        DataError: Labels that are none of the classes; the message lists all, with the line of the first.
    """
    index = {name: place for place, name in enumerate(classes)}
    names = [_name(value) for value in values]
    if unseen := [row for row, name in enumerate(names) if name not in index]:
        listed = ", ".join(map(repr, dict.fromkeys(names[row] for row in unseen)))
        raise DataError(
            f"{where(unseen[0])}: {listed}: not among the labels of the training data; known: {', '.join(classes)}"
        )
    return np.array([index[name] for name in names], dtype=np.int64)


def scores(values: Sequence[Any], where: Callable[[int], str]) -> NDArray[np.float32]:
    """Read the score of every label, ``(rows,)``.

    Raises:
        DataError: A label that is no number, is not finite, or is too large for float32; with its line.
    """
    if isinstance(values[0], str | bool):
        raise DataError(f"{where(0)}: the label {values[0]!r} is no score; the training data has numbers")
    with np.errstate(over="ignore"):
        numbers = np.array([_number(value) for value in values], dtype=np.float64).astype(np.float32)
    if not np.isfinite(numbers).all():
        row = int(np.argmin(np.isfinite(numbers)))
        raise DataError(f"{where(row)}: the score {values[row]!r} is not a finite number; correct it or remove the row")
    return numbers


def lone_classes(ids: NDArray[np.int64]) -> list[int]:
    """The rows whose class occurs in no other row."""
    counts = Counter(ids.tolist())
    return [row for row, label in enumerate(ids.tolist()) if counts[label] == 1]


def _name(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return float("inf")
