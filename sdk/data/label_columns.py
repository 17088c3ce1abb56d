"""Columns of labels: whether they hold classes or scores is read from the values, unless the caller says it."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pointsman.registry.errors import DataError, listed

from ..core.arguments import not_unicode, short_repr
from ..tasks import NO_CLASS
from .table_files import Table

INTEGERS: Final = "integers"
"""The source of labels that are all integers, written or typed."""
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_NUMBER: Final = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|nan|inf(?:inity)?)", re.IGNORECASE)
_GROUPS: Final = r"[0-9]{1,3}(?P<mark>[.,'’ \u00a0\u202f])[0-9]{3}(?:(?P=mark)[0-9]{3})*"
_OTHERWISE: Final = re.compile(rf"[+-]? ?(?:{_GROUPS}|[0-9]+)(?:[.,][0-9]+)?")
"""A number as people of any country write it, without a currency sign."""
_AS_NUMBER: Final = "with a decimal point, and without separators of thousands, currency signs and units, as 1234.5"
_LONGEST_NAME: Final = 1_000
"""Characters of a class's name; a longer label is a text, or no label at all."""
_LISTED: Final = 8
"""Classes in a description."""


@dataclass(frozen=True, kw_only=True)
class LabelType:
    """What labels are: one of several classes, or a score.

    Examples:
        >>> LabelType(source="text", classes=("bad", "good")).described
        '2 classes from text (bad, good)'
    """

    source: str
    """What it was read from, for people: text, integers, decimal numbers."""
    classes: tuple[str, ...] | None
    """The classes by their ids, as the labels are written; None: scores."""

    @property
    def described(self) -> str:
        """The type in a few words."""
        if self.classes is None:
            return f"a score from {self.source}"
        names = ", ".join(self.classes[:_LISTED]) + (", …" if len(self.classes) > _LISTED else "")
        return f"{len(self.classes)} classes from {self.source} ({names})"


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The labels of a table, row by row."""

    type: LabelType
    values: Sequence[Any]
    """A class's name or a score, or anything where there is a problem."""
    problems: dict[int, str]
    """What is wrong with a label, by row."""
    unlabelled: frozenset[int]
    """The rows that are marked as having no label."""


def read_labels(table: Table, name: str, *, kind: str | None = None, like: LabelType | None = None) -> Labels:
    """Read the labels of a table.

    In a file that writes everything as text (CSV, TSV), labels are classes if all are written as integers, scores if
    all others are numbers, too, and else classes. JSON lines and parquet have types: floats are scores, and strings,
    integers and booleans classes. Where a parquet file names its class ids, the labels are these names, and -1 or
    nothing marks a row without a label. Classes are named as they are written; spaces around strings are removed. Where
    all strings are numbers, those written with a decimal comma, separators of thousands or a currency sign are refused,
    unless the caller says that they are classes.

    Args:
        table: The table, read with its label column.
        name: The label column.
        kind: ``class`` or ``score``, whatever the values are; None: by the values.
        like: The type of the training's labels, which these are read as; None: these are the training's.
    """
    values: list[Any] = [value.strip() if isinstance(value, str) else value for value in table.columns[name]]
    names = None if kind == "score" or (like is not None and like.classes is None) else table.class_names
    marks = (None, NO_CLASS) if names is not None else ()
    unlabelled = frozenset(row for row, value in enumerate(values) if value in marks) if marks else frozenset()
    problems = {}
    for row, value in enumerate(values):
        if row not in unlabelled and (problem := _problem(value, name, names)) is not None:
            problems[row] = problem
    good = [row for row in range(len(values)) if row not in problems and row not in unlabelled]
    if names is not None:
        for row in good:
            values[row] = names[values[row]]
    if like is None and kind is None:
        problems |= _of_other_types(values, good)
        problems |= _of_other_writing(values, good) if names is None else {}
        good = [row for row in good if row not in problems]
    kept = [values[row] for row in good]
    found = like or (_type(kept, kind, written=table.written) if names is None else _named(kept, names))
    for row in good:
        if found.classes is not None:
            values[row] = class_name(values[row])
            continue
        try:
            values[row] = _score(values[row])
        except ValueError as error:
            problems[row] = str(error)
    return Labels(type=found, values=values, problems=problems, unlabelled=unlabelled)


def class_ids(names: Sequence[str], classes: Sequence[str], where: Callable[[int], str]) -> NDArray[np.int64]:
    """Look up the class id of every label, ``(rows,)``.

    Raises:
        DataError: Labels that are none of the classes; the message lists them, with the line of the first.
    """
    index = {name: place for place, name in enumerate(classes)}
    if unseen := [row for row, name in enumerate(names) if name not in index]:
        distinct = list(dict.fromkeys(names[row] for row in unseen))
        raise DataError(
            f"{where(unseen[0])}: {listed(map(short_repr, distinct))}: not among the labels of the "
            f"training data; known: {listed(classes)}"
        )
    return np.array([index[name] for name in names], dtype=np.int64)


def lone_classes(ids: NDArray[np.int64]) -> list[int]:
    """The rows whose class occurs in no other row."""
    counts = Counter(ids.tolist())
    return [row for row, label in enumerate(ids.tolist()) if counts[label] == 1]


def class_name(value: Any) -> str:
    """The class of a label: as it is written, and of a float that is whole the integer."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _problem(value: Any, name: str, names: Sequence[str] | None) -> str | None:
    """What is wrong with a label, whatever the others are."""
    if value is None or value == "":
        return f"the label {name!r} is missing; fill it or remove the row"
    if not isinstance(value, bool | int | float | str):
        return f"a label is a string or a number; found {short_repr(value)}"
    if names is not None and isinstance(value, int) and not 0 <= value < len(names):
        return f"the class id {value} has no name; the file names {len(names)} classes, from 0"
    return _problem_of_name(value)


def _problem_of_name(value: bool | int | float | str) -> str | None:
    """What is wrong with a label as a name."""
    try:
        text = str(value)
    except ValueError:  # Python writes no integers of more than 4,300 digits
        return "the label is a number of thousands of digits; a label is a class or a score"
    # Class names are stored with the version, at the end of a training; PostgreSQL stores no NUL.
    if reason := not_unicode(text) or ("has a NUL, which is no text" if "\0" in text else None):
        return f"the label {short_repr(value)} {reason}"
    if len(text) > _LONGEST_NAME:
        return f"the label has {len(text):,} characters, and a class at most {_LONGEST_NAME:,}; name the label's column"
    return None


def _of_other_types(values: Sequence[Any], rows: Sequence[int]) -> dict[int, str]:
    """The labels that are of another type than the first one: of numbers, integers and floats are one type."""
    if not rows:
        return {}
    first = values[rows[0]]

    def type_of(value: Any) -> type:
        return float if type(value) is int else type(value)

    return {
        row: f"the label {short_repr(values[row])} is of another kind than the first, {short_repr(first)}; make them "
        "all numbers or all strings"
        for row in rows
        if type_of(values[row]) is not type_of(first)
    }


def _of_other_writing(values: Sequence[Any], rows: Sequence[int]) -> dict[int, str]:
    """The labels that are written as 3,5 or $1,200 where all are numbers: as classes they would have no order."""
    if not all(isinstance(values[row], str) and _is_number(values[row]) for row in rows):
        return {}
    return {
        row: f"the label {short_repr(values[row])} looks like a number; write it {_AS_NUMBER}; if the labels are "
        "classes, say so (kind class)"
        for row in rows
        if not _NUMBER.fullmatch(values[row])
    }


def _is_number(text: str) -> bool:
    """Whether a text is a number, in any writing."""
    if _NUMBER.fullmatch(text):
        return True
    bare = "".join(character for character in text if character != "%" and unicodedata.category(character) != "Sc")
    return _OTHERWISE.fullmatch(bare.strip()) is not None


def _type(values: Sequence[Any], kind: str | None, *, written: bool) -> LabelType:
    types = {type(value) for value in values}
    integers = types == {int} or (written and all(map(_INTEGER.fullmatch, values)))
    numbers = integers or types <= {int, float} or (written and all(map(_NUMBER.fullmatch, values)))
    source = INTEGERS if integers else "decimal numbers" if numbers else "true and false" if bool in types else "text"
    if kind == "score" or (kind is None and numbers and not integers):
        return LabelType(source=source, classes=None)
    names = {class_name(value) for value in values}
    return LabelType(source=source, classes=tuple(sorted(names, key=_size if numbers else str)))


def _named(values: Sequence[str], names: Sequence[str]) -> LabelType:
    """Of the names in a file, those that a label has, in their order there."""
    present = set(values)
    return LabelType(source="the names in the file", classes=tuple(name for name in names if name in present))


def _size(name: str) -> tuple[float, int, str]:
    """A key that sorts numbers by size, and those of one size by their length."""
    number = _number(name)
    return (0.0 if math.isnan(number) else number), len(name), name


def _score(value: Any) -> float:
    """A label as a score.

    Raises:
        ValueError: It is none; the message says why.
    """
    if isinstance(value, bool) or (isinstance(value, str) and not _NUMBER.fullmatch(value)):
        raise ValueError(f"the label {short_repr(value)} is no score; write a number {_AS_NUMBER}")
    with np.errstate(over="ignore"):
        number = _number(value)
        if not np.isfinite(np.float32(number)):
            raise ValueError(f"the score {number!r} is not a finite number; correct it or remove the row")
    return number


def _number(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return math.inf
