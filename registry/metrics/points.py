"""Write metric points, with their summaries and buckets: functions over an open transaction."""

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, Final

import sqlalchemy as sa

from ..database import tables as t
from ..records import LoggedPoint
from .buckets import merged_columns, to_bucket_rows
from .columns import columns_by_series
from .summaries import extended, replaced_columns, summaries_by_name, summary_columns
from .upsert import upsert

_KEYS: Final = sa.select(t.metric_key.c.name, t.metric_key.c.id).where(
    t.metric_key.c.name.in_(sa.bindparam("names", expanding=True))
)


def key_ids(connection: sa.Connection, names: Iterable[str]) -> dict[str, int]:
    """The row ids of metrics by name; an unknown metric gets a new row."""
    names = set(names)
    ids: dict[str, int] = dict(connection.execute(_KEYS, {"names": list(names)}).all())
    if missing := sorted(names - ids.keys()):
        connection.execute(t.metric_key.insert(), [{"name": name} for name in missing])
        ids = dict(connection.execute(_KEYS, {"names": list(names)}).all())
    return ids


def key_id(name: str) -> sa.ScalarSelect[Any]:
    """A subquery for the row id of a metric; NULL for an unknown one."""
    return sa.select(t.metric_key.c.id).where(t.metric_key.c.name == name).scalar_subquery()


def metric_names(connection: sa.Connection) -> list[str]:
    """The names of all metrics that were ever logged or scored, sorted."""
    return list(connection.scalars(sa.select(t.metric_key.c.name).order_by(t.metric_key.c.name)))


def insert_points(
    connection: sa.Connection, run: int, points: Sequence[LoggedPoint], *, stored: bool = False
) -> dict[str, int]:
    """Append points to a run's series, and update the summaries and buckets of these.

    Args:
        connection: A transaction.
        run: The run's row id.
        points: The points, in the order they were logged.
        stored: The points are in ``metric_point`` already, under the ``seq`` that they would get: update only
            summaries and buckets.

    Returns:
        How many points each of these series has now, by the metric's name.
    """
    series = columns_by_series(points)
    earlier = summaries_by_name(connection, run, series)
    if len(earlier) < len(series):
        key_ids(connection, series)
        earlier = summaries_by_name(connection, run, series)
    point_rows: list[tuple[Any, ...]] = []
    summary_rows: list[tuple[Any, ...]] = []
    bucket_rows: list[tuple[Any, ...]] = []
    counts: dict[str, int] = {}
    for name, new in series.items():
        key, before = earlier[name]
        start = 0 if before is None else before.count
        counts[name] = end = start + len(new.steps)
        columns = (new.steps, range(start, end), new.epochs, new.times, new.stored_values())
        point_rows += zip(repeat(run), repeat(key), *columns, strict=False)  # a repeat has no end
        summary_rows.append((run, key, *summary_columns(extended(name, before, new))))
        bucket_rows += [(run, key, *bucket) for bucket in to_bucket_rows(new, start)]
    if not stored:
        upsert(connection, t.metric_point, point_rows)
    upsert(connection, t.metric_summary, summary_rows, replaced_columns)
    upsert(connection, t.metric_bucket, bucket_rows, merged_columns)
    return counts
