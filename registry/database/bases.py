"""Rows of bases: functions over an open transaction."""

import re
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from ..records import Base
from ..values import check_text, check_whole, refused
from . import tables as t

_COLUMNS = tuple(column for column in t.base.c if column.name != "id")


def base_id(connection: sa.Connection, base: Base) -> int:
    """Return the id of a base's row; insert the row if it does not exist.

    A row without a former fingerprint gets that of ``base``; nothing else of a row ever changes.

    Raises:
        SettingsError: As ``check_base``.
    """
    check_base(base)
    b = t.base.c
    row = connection.execute(sa.select(b.id, b.former_fingerprint).where(b.fingerprint == base.fingerprint)).first()
    if row is not None:
        if row.former_fingerprint is None and base.former_fingerprint is not None:
            connection.execute(t.base.update().where(b.id == row.id).values(former_fingerprint=base.former_fingerprint))
        return int(row.id)
    values = {column.name: getattr(base, column.name) for column in _COLUMNS}
    return int(connection.execute(t.base.insert().values(values).returning(t.base.c.id)).scalar_one())


def check_base(base: Base) -> None:
    """Refuse a base of which a field is not what it must be.

    Raises:
        SettingsError: A fingerprint is not a sha256, or a count is negative or beyond what its column takes.
    """
    former = base.former_fingerprint
    for fingerprint in (base.fingerprint, *([] if former is None else [former])):
        if not re.fullmatch(r"[0-9a-f]{64}", check_text("base.fingerprint", fingerprint, 64)):
            raise refused("base.fingerprint", fingerprint, "a sha256: 64 lower-case hexadecimal digits")
    check_text("base.name", base.name, 4_096)
    check_text("base.model_type", base.model_type, 64)
    for field, most in (("hidden_size", 2**31), ("layers", 2**31), ("parameters", 2**63), ("size", 2**63)):
        check_whole(f"base.{field}", getattr(base, field), 0, most - 1)


def same_base_ids(test: Callable[[sa.ColumnElement[Any]], sa.ColumnElement[bool]]) -> sa.Select[tuple[int]]:
    """Select the ids of the bases with a fingerprint that passes a test, in SQL what ``Base.is_same`` is in Python.

    One base has two rows if an older release stored the first: under the fingerprint that it computed, which the
    second row has as its former one. Both fingerprints select both rows.

    Args:
        test: The condition on a column with fingerprints.
    """
    matched, b = t.base.alias("matched").c, t.base.c
    passes = sa.or_(test(matched.fingerprint), test(matched.former_fingerprint))
    fingerprints = sa.union(
        sa.select(matched.fingerprint).where(passes),
        sa.select(matched.former_fingerprint).where(passes, matched.former_fingerprint.is_not(None)),
    )
    return sa.select(b.id).where(b.fingerprint.in_(fingerprints) | b.former_fingerprint.in_(fingerprints))


def base_columns() -> list[sa.Label[Any]]:
    """Return the columns that ``base_record`` reads."""
    return [column.label(f"base_{column.name}") for column in _COLUMNS]


def base_record(row: Any) -> Base:
    """Return the base of a joined row whose columns have the prefix ``base_``."""
    return Base(**{column.name: getattr(row, f"base_{column.name}") for column in _COLUMNS})
