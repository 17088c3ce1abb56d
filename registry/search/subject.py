"""The subject of a query: a table, and the fields that select its rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

Test = Callable[[sa.ColumnElement[Any]], sa.ColumnElement[bool]]
"""A comparison with the value of a field, which is given as a column."""
Where = Callable[[Test], sa.ColumnElement[bool]]
"""The condition on a row of the subject's table that a field of it passes a test."""


@dataclass(frozen=True)
class Kind:
    """The kind of a field's values."""

    name: str
    types: tuple[type, ...]
    example: str
    choices: tuple[str, ...] = ()
    """The only possible values; empty if any value is possible."""

    @property
    def is_text(self) -> bool:
        """Whether every value is a text."""
        return self.types == (str,)


TEXT: Final = Kind("text", (str,), "'text'")
NUMBER: Final = Kind("a number", (int, float), "0.9")
TIME: Final = Kind("a time", (str, timedelta), "2026-11-01 or '7d ago'")


def choice(values: type) -> Kind:
    """The kind of a text that is one of an enumeration's values."""
    return Kind("text", (str,), "'text'", tuple(str(value) for value in values))  # type: ignore[attr-defined]


class Place(NamedTuple):
    """Where the value of a field is."""

    kind: Kind
    where: Where
    several: bool = False
    """Whether a row may have several values; then ``!=`` means that none of them is the given one."""


class Document(NamedTuple):
    """A JSON column whose fields can be compared."""

    column: sa.Column[Any]
    where: Callable[[sa.ColumnElement[bool]], sa.ColumnElement[bool]]
    """The condition on a row of the subject's table, from one on the row that has the column."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Everything that a query over one table can name."""

    fields: Mapping[str, Place]
    """Fields by their full name."""
    run: sa.ColumnElement[int]
    """The column with the id of the row's run, whose metrics functions read."""
    documents: Mapping[str, Document] = field(default_factory=dict)
    """JSON columns by what stands before the dot: ``config`` in ``config.r``."""
    sections: Mapping[str, Callable[[str], Place]] = field(default_factory=dict)
    """Other fields by what stands before the dot, from what comes after it: ``tags`` in ``tags.stage``."""
    known: tuple[str, ...]
    """How messages list the fields."""


def own(column: sa.ColumnElement[Any]) -> Where:
    """A column of the subject's own table."""
    return lambda test: test(column)


def through(link: sa.ColumnElement[Any], target: sa.Column[Any]) -> Where:
    """A column of the one row of another table that a row points to."""
    return lambda test: link.in_(sa.select(target.table.c.id).where(test(target)))
