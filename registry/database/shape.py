"""What the values of a row must be, and the error for a row that has others."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ..errors import Action, Advice, DamagedRowError
from .damaged import DamagedJson, DamagedText, DamagedTime
from .tables import UtcDateTime

_KINDS: Final[tuple[tuple[type[sa.types.TypeEngine[Any]], tuple[type, ...], str], ...]] = (
    (sa.JSON, (dict,), "a JSON object"),
    (UtcDateTime, (datetime,), "a time"),
    (sa.Float, (float, int), "a number"),
    (sa.Boolean, (bool,), "true or false"),
    (sa.Integer, (int,), "a whole number"),
    (sa.String, (str,), "text"),
)
_SHOWN: Final = 40
"""Characters of a value in a message."""

_MOST_SOUND: Final = 10_000


class Shape:
    """The columns of a statement, and what their values must be.

    Args:
        columns: The columns by the names that messages have for them, in the order of the statement; columns that
            follow are not looked at.
        nullable: The names of columns that may be NULL although their table does not say so, as behind an outer join.

    Examples:
        >>> Shape(t.tag.c).damage((1, "owner", "ann"))
        >>> Shape(t.tag.c).damage((1, "owner", None))
        'value is missing'
    """

    def __init__(self, columns: Mapping[str, sa.Column[Any]], *, nullable: Collection[str] = ()) -> None:
        self._columns = [
            (name, *_expected(column.type), column.nullable or name in nullable) for name, column in columns.items()
        ]
        # Few combinations of types occur in sound rows, so that one look-up tells that a row is sound.
        self._sound: set[tuple[type, ...]] = set()

    def damage(self, row: Sequence[Any]) -> str | None:
        """What is wrong with a row; None if nothing is."""
        types = tuple(map(type, row))
        if types in self._sound:
            return None
        wrong = [
            f"{name} {_described(value, what)}"
            for (name, kinds, what, nullable), value in zip(self._columns, row, strict=False)
            if type(value) not in kinds and not (value is None and nullable)
        ]
        if wrong:
            return ", ".join(wrong)
        if len(self._sound) < _MOST_SOUND:
            self._sound.add(types)
        return None

    def check(self, row: Any, subject: Callable[[Any], str]) -> None:
        """Refuse a row that is damaged.

        Args:
            row: The row.
            subject: Names what a row is about, for the message.

        Raises:
            DamagedRowError: It is.
        """
        damage = self.damage(row)
        if damage is not None:
            raise damaged(subject(row), damage)


def damaged(subject: str, what: str) -> DamagedRowError:
    """The error for a row that cannot be read.

    Args:
        subject: What the row is about, such as a version's ref.
        what: What is wrong with it.
    """
    return DamagedRowError(f"a row of {subject} is damaged: {what}; restore a backup", advice=Advice(Action.VERIFY))


def _expected(kind: sa.types.TypeEngine[Any]) -> tuple[tuple[type, ...], str]:
    return next((types, what) for of, types, what in _KINDS if isinstance(kind, of))


def _described(value: object, what: str) -> str:
    """What is wrong with a value."""
    if value is None:
        return "is missing"
    if isinstance(value, DamagedText):
        return f"is not valid UTF-8: {_short(str(value))}"
    if isinstance(value, DamagedJson | DamagedTime):
        value = value.text
    return f"is not {what}: {_short(value)}"


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
