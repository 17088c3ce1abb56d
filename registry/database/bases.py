"""Rows of bases: functions over an open transaction."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..records import Base
from ..storage.objects import DIGEST
from ..values import check_text, check_whole, refused
from . import tables as t

COLUMNS = tuple(column for column in t.base.c if column.name != "id")
"""The columns that a ``Base`` is made of."""


def base_id(connection: sa.Connection, base: Base) -> int:
    """Return the id of a base's row; insert the row if it does not exist.

    A row without a former fingerprint gets that of ``base``. A base whose tokenizer is unknown has a row of its own.

    Raises:
        SettingsError: As ``check_base``.
    """
    check_base(base)
    b = t.base.c
    row = connection.execute(
        sa.select(b.id, b.former_fingerprint).where(
            b.fingerprint == base.fingerprint, b.tokenizer.is_not_distinct_from(base.tokenizer)
        )
    ).first()
    if row is not None:
        if row.former_fingerprint is None and base.former_fingerprint is not None:
            connection.execute(t.base.update().where(b.id == row.id).values(former_fingerprint=base.former_fingerprint))
        return int(row.id)
    values = {column.name: getattr(base, column.name) for column in COLUMNS}
    return int(connection.execute(t.base.insert().values(values).returning(t.base.c.id)).scalar_one())


def check_base(base: Base) -> None:
    """Refuse a base of which a field is not what it must be.

    Raises:
        SettingsError: A fingerprint is not a sha256, or a count is negative or beyond what its column takes.
    """
    digests = {
        "base.fingerprint": base.fingerprint,
        "base.former_fingerprint": base.former_fingerprint,
        "base.tokenizer": base.tokenizer,
    }
    for field, digest in digests.items():
        if field != "base.fingerprint" and digest is None:
            continue
        if not DIGEST.fullmatch(check_text(field, digest, 64)):
            raise refused(field, digest, "a sha256: 64 lower-case hexadecimal digits")
    check_text("base.name", base.name, 4_096)
    check_text("base.model_type", base.model_type, 64)
    for field, most in (("hidden_size", 2**31), ("layers", 2**31), ("parameters", 2**63), ("size", 2**63)):
        check_whole(f"base.{field}", getattr(base, field), 0, most - 1)


def same_bases(base: Base) -> sa.Select[tuple[int]]:
    """Select the ids of the rows of a base, in SQL what ``Base.is_same`` is in Python."""
    fingerprints = [digest for digest in (base.fingerprint, base.former_fingerprint) if digest is not None]
    ids = same_base_ids(lambda column: column.in_(fingerprints))
    if base.tokenizer is None:
        return ids
    return ids.where(t.base.c.tokenizer.is_(None) | (t.base.c.tokenizer == base.tokenizer))


def add_place(connection: sa.Connection, base: Base, at: datetime) -> None:
    """Record where a base was loaded from, in all rows of that base, which take its name."""
    place = t.base_place.c
    for row_id in connection.scalars(same_bases(base)).all():
        connection.execute(t.base.update().where(t.base.c.id == row_id).values(name=base.name))
        values = {"revision": base.revision, "used_at": at}
        here = (place.base_id == row_id) & (place.name == base.name)
        if not connection.execute(t.base_place.update().where(here).values(values)).rowcount:
            connection.execute(t.base_place.insert().values(base_id=row_id, name=base.name, **values))


def places(connection: sa.Connection, base: Base) -> list[str]:
    """Return where a base was loaded from, the latest first; a place on the hub as ``name@revision``."""
    place = t.base_place.c
    query = (
        sa.select(place.name, place.revision)
        .where(place.base_id.in_(same_bases(base)))
        .order_by(place.used_at.desc(), place.id.desc())
    )
    found = (name if revision is None else f"{name}@{revision}" for name, revision in connection.execute(query))
    return list(dict.fromkeys(found))


def same_base_ids(test: Callable[[sa.ColumnElement[Any]], sa.ColumnElement[bool]]) -> sa.Select[tuple[int]]:
    """Select the ids of the bases with a fingerprint that passes a test, in SQL ``Base.has_same_weights``.

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
    return [column.label(f"base_{column.name}") for column in COLUMNS]


def base_record(row: Any) -> Base:
    """Return the base of a joined row whose columns have the prefix ``base_``."""
    return Base(**{column.name: getattr(row, f"base_{column.name}") for column in COLUMNS})
