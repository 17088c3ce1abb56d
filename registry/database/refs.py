"""``name@number`` as SQL: the one place where a version's ref is put together in a statement."""

from typing import Any

import sqlalchemy as sa

from . import tables as t


def ref_column(number: sa.ColumnElement[Any] = t.version.c.number) -> sa.Label[str]:
    """The column ``ref``: ``name@number`` of a version; NULL where an outer join has no version.

    Args:
        number: The column of the version's number, for a statement in which the table has another name.
    """
    return (t.adapter.c.name + "@" + sa.cast(number, sa.String)).label("ref")
