"""Which version is the best: the one place of the rule behind ``@best``.

Scores are compared where they are of one metric on the same rows. ``sst2@best`` takes those of the newest version that
has a score, ``sst2@best@3`` those of version 3, and ``sst2@best@any`` compares all scores. Of equal scores the newest
wins; where no version has a score, the newest is the best.
"""

from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa

from ..database import tables as t
from ..errors import SettingsError
from ..refs import ANY, Ref

_Select = TypeVar("_Select", bound=sa.Select[Any])
_v = t.version.c


class Group(NamedTuple):
    """What scores have in common that can be compared; None where it is unknown, which is a group of its own."""

    metric: str
    evaluation: str | None
    rows: int | None

    @property
    def inside(self) -> list[sa.ColumnElement[bool]]:
        """The conditions on a version that it belongs to the group; an index answers them."""
        return [column.is_(None) if value is None else column == value for column, value in self._columns]

    @property
    def outside(self) -> sa.ColumnElement[bool]:
        """The condition on a version that it does not."""
        return sa.or_(*(column.is_distinct_from(value) for column, value in self._columns))

    @property
    def _columns(self) -> list[tuple[sa.ColumnElement[Any], Any]]:
        return list(zip(COLUMNS, self, strict=True))


COLUMNS = (_v.primary_metric, _v.evaluation, _v.evaluation_rows)
"""The columns of a group, in the order of its fields."""


def group(connection: sa.Connection, ref: Ref, like: int | None) -> Group | None:
    """The group that a ref with ``best`` chooses from; None: all versions.

    Args:
        connection: A transaction.
        ref: The ref.
        like: The id of the version that ``ref.scored_as`` means, if it means one.

    Raises:
        SettingsError: That version has no score.
    """
    if ref.scored_as == ANY:
        return None
    query = sa.select(*COLUMNS)
    if like is not None:
        found = connection.execute(query.where(_v.id == like)).one()
        if found.primary_metric is None:
            raise SettingsError(
                f"'{ref}' takes the metric and the rows of {ref.name}@{ref.scored_as}, which has no score: name a "
                f"version that has one, or write {ref.name}@best@{ANY}"
            )
        return Group(*found)
    named = sa.select(t.adapter.c.id).where(t.adapter.c.name == ref.name).scalar_subquery()
    newest = query.where(_v.adapter_id == named, _v.score.is_not(None)).order_by(_v.number.desc()).limit(1)
    row = connection.execute(newest).first()
    return None if row is None else Group(*row)


def ranked(query: _Select, chosen: Group | None) -> _Select:
    """A query over versions of one adapter, of a group only, with the best version first."""
    of_group = query if chosen is None else query.where(*chosen.inside)
    return of_group.order_by(_v.score.desc().nulls_last(), _v.number.desc())
