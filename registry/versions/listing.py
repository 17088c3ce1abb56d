"""Versions as records, a page at a time: three statements at most, whatever their number."""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from ..database import tables as t
from ..database.backends import select_bound_numbers
from ..database.bases import base_columns, base_record
from ..errors import MetricNotFoundError, unknown
from ..metrics.points import key_id
from ..records import Base, File, Page, Version, VersionKind
from ..refs import check_metric

SORTS: Final = ("name", "created", "score", "parameters", "size")
"""What versions can be sorted by, besides a metric."""

_FEW: Final = 2_000
"""So many versions are sorted sooner than the adapters are walked in order to find them."""

_v, _a, _m = t.version.c, t.adapter.c, t.version_metric.c
_COLUMNS: Final = [column for column in t.version.c if column.name not in ("manifest", "task_name")]


def page(
    connection: sa.Connection,
    *,
    where: Sequence[sa.ColumnElement[bool]] = (),
    sort: str = "name",
    reverse: bool = False,
    newest_only: bool = False,
    limit: int | None = None,
    offset: int = 0,
) -> Page[Version]:
    """Some versions in order, and how many there are in all.

    Args:
        connection: A transaction.
        where: Conditions over ``version`` alone.
        sort: One of ``SORTS``, or a metric. Names go from a to z, everything else from the greatest down; versions
            that do not have it come last.
        reverse: The other way round; versions that do not have it come last all the same.
        newest_only: Of each adapter, only the version with the highest number.
        limit: At most so many.
        offset: Leave out so many first.

    Raises:
        MetricNotFoundError: There are versions, but none has the metric ``sort``.
    """
    metric = None if sort in SORTS else check_metric(sort)
    pages = _Pages(where, newest_only=newest_only)
    if metric is not None and not pages.free:
        # All that match are found, and counted along with the first row.
        ids, keys, found = pages.scored(metric, reverse)
        rows = connection.execute(_selected(ids, keys, limit, offset, found)).all()
        total = rows[0].total if rows else connection.execute(pages.counts()).one().total if offset else 0
    else:
        total, scored = connection.execute(pages.counts(metric)).one()
        if metric is None:
            ids, keys = pages.ordered(sort, reverse, total)
        elif limit is not None and offset + limit <= scored:
            ids, keys = pages.walked(metric, reverse)
        else:
            ids, keys, _ = pages.scored(metric, reverse)
        rows = connection.execute(_selected(ids, keys, limit, offset)).all() if offset < total else []
    if not rows:
        return Page((), total, offset)
    details = _details(connection, [row.id for row in rows])
    if metric is not None and not offset and rows[0].key_0 is None:
        known = pages.metrics(connection)
        if metric not in known:
            raise unknown(MetricNotFoundError, "metric", metric, known)
    return Page(tuple(_records(rows, details)), total, offset)


def by_ids(connection: sa.Connection, ids: Iterable[int]) -> list[Version]:
    """Versions by their rows, in the order of these."""
    order = list(ids)
    found: list[Version] = []
    # Some at a time: databases take only so many bound values.
    for start in range(0, len(order), 1_000):
        some = order[start : start + 1_000]
        rows = {row.id: row for row in connection.execute(_of_ids(connection.dialect.name), {"ids": some})}
        found += _records([rows[one] for one in some if one in rows], _details(connection, some))
    return found


class _Key(NamedTuple):
    """What rows are sorted by; what is missing comes last, whichever way."""

    column: sa.ColumnElement[Any]
    descending: bool

    def order(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        direction = column.desc() if self.descending else column.asc()
        return direction if getattr(self.column, "nullable", False) is False else direction.nulls_last()


class _Pages:
    """Finds ids in order, from indexes alone: whole rows are read of those on the page only."""

    def __init__(self, where: Sequence[sa.ColumnElement[bool]], *, newest_only: bool) -> None:
        self.where = list(where)
        self.newest_only = newest_only

    def conditions(self, adapter: sa.ColumnElement[int] = _v.adapter_id) -> list[sa.ColumnElement[bool]]:
        """The conditions on a version; ``adapter`` is the column that holds the row of its adapter."""
        if not self.newest_only:
            return self.where
        other = t.version.alias().c
        newest = sa.select(sa.func.max(other.number)).where(other.adapter_id == adapter)
        return [*self.where, _v.number == newest.scalar_subquery()]

    def metrics(self, connection: sa.Connection) -> list[str]:
        """Every metric that any of the versions has, be it NaN."""
        found = sa.select(_v.id).where(*self.conditions())
        keys = sa.select(_m.key_id).where(_m.version_id.in_(found))
        key = t.metric_key.c
        return list(connection.scalars(sa.select(key.name).where(key.id.in_(keys)).order_by(key.name)))

    @property
    def free(self) -> bool:
        """Whether every version is asked for."""
        return not self.where and not self.newest_only

    def counts(self, metric: str | None = None) -> sa.Select[Any]:
        """How many versions there are in all; and how many versions, of all there are, have a value of a metric."""
        count = sa.select(sa.func.count())
        if self.newest_only and not self.where:
            # As many as there are adapters with versions.
            live = sa.exists().where(_v.adapter_id == _a.id).correlate(t.adapter)
            total = count.select_from(t.adapter).where(live)
        else:
            total = count.select_from(t.version).where(*self.conditions())
        scored: sa.ColumnElement[int] = sa.literal(0)
        if metric is not None:
            scored = count.where(_m.key_id == key_id(metric), _m.value.is_not(None)).scalar_subquery()
        return sa.select(total.scalar_subquery().label("total"), scored.label("scored"))

    def ordered(self, sort: str, reverse: bool, total: int) -> tuple[sa.Select[Any], tuple[_Key, ...]]:
        """The ids, and what they are sorted by, which is no metric."""
        if sort != "name":
            column = {"created": _v.created_at, "score": _v.score, "parameters": _v.parameters, "size": _v.size}[sort]
            return sa.select(_v.id).where(*self.conditions()), (_Key(column, not reverse), _Key(_v.id, not reverse))
        keys = (_Key(_a.name, reverse), _Key(_v.number, reverse))
        if self.free or total > _FEW:
            # Walked in the order of the names, and left when the page is full. SQLite would begin with the versions
            # and sort them all: with a sum of the adapter's id, it cannot.
            walked = sa.select(_v.id).select_from(t.adapter).join(t.version, _v.adapter_id == _a.id + 0)
            return walked.where(*self.conditions(_a.id)), keys
        found = self.found()
        ids = sa.select(_v.id).select_from(found).join(t.version, _v.id == found.c.id)
        return ids.join(t.adapter, _v.adapter_id == _a.id), keys

    def walked(self, metric: str, reverse: bool) -> tuple[sa.Select[Any], tuple[_Key, ...]]:
        """The ids of all versions with a metric, in the order of its index, to be left when the page is full."""
        ids = sa.select(_m.version_id.label("id")).where(_m.key_id == key_id(metric), _m.value.is_not(None))
        return ids, (_Key(_m.value, not reverse), _Key(_m.version_id, not reverse))

    def scored(self, metric: str, reverse: bool) -> tuple[sa.Select[Any], tuple[_Key, ...], sa.CTE]:
        """The ids with a metric or without, what they are sorted by, and all of them, found before they are sorted."""
        found = self.found()
        of_metric = (_m.version_id == found.c.id) & (_m.key_id == key_id(metric))
        ids = sa.select(found.c.id).select_from(found).outerjoin(t.version_metric, of_metric)
        return ids, (_Key(_m.value, not reverse), _Key(found.c.id, not reverse)), found

    def found(self) -> sa.CTE:
        """The ids of all versions that match, found before anything else is done with them."""
        return sa.select(_v.id).where(*self.conditions()).cte("found").prefix_with("MATERIALIZED")


def _selected(
    ids: sa.Select[Any],
    keys: Sequence[_Key],
    limit: int | None = None,
    offset: int = 0,
    counted: sa.CTE | None = None,
) -> sa.Select[Any]:
    """The whole rows of some of these ids, in order.

    What they are sorted by comes along as key_0 and so on; and, as total, the number of rows of ``counted``.
    """
    ids = ids.add_columns(*(key.column.label(f"key_{place}") for place, key in enumerate(keys)))
    page = ids.order_by(*(key.order(key.column) for key in keys)).limit(limit).offset(offset or None).subquery("page")
    sorted_by: list[sa.ColumnElement[Any]] = [page.c[f"key_{place}"] for place in range(len(keys))]
    if counted is not None:
        sorted_by.append(sa.select(sa.func.count()).select_from(counted).scalar_subquery().label("total"))
    return (
        sa.select(*_COLUMNS, _a.name.label("name"), t.run.c.uid.label("run_uid"), *base_columns(), *sorted_by)
        .select_from(page)
        .join(t.version, _v.id == page.c.id)
        .join(t.adapter, _v.adapter_id == _a.id)
        .join(t.base, _v.base_id == t.base.c.id)
        .outerjoin(t.run, _v.run_id == t.run.c.id)
        .order_by(*(key.order(column) for key, column in zip(keys, sorted_by, strict=False)))
    )


def _details(connection: sa.Connection, ids: Sequence[int]) -> dict[int, list[Any]]:
    """What versions have several of, in one statement: ``(kind, name, text, number, value)`` by version."""
    if not ids:
        return {}
    details: dict[int, list[Any]] = {}
    for version_id, *detail in connection.execute(_of_versions(connection.dialect.name), {"ids": list(ids)}):
        details.setdefault(version_id, []).append(detail)
    return details


@cache
def _of_ids(dialect: str) -> sa.Select[Any]:
    """What ``by_ids`` asks; to build a statement takes as long as to execute it."""
    return _selected(sa.select(_v.id).where(_v.id.in_(select_bound_numbers(dialect, "ids"))), ())


@cache
def _of_versions(dialect: str) -> sa.CompoundSelect[Any]:
    """What ``_details`` asks."""
    wanted = select_bound_numbers(dialect, "ids")
    none, zero, no_value = sa.literal(""), sa.literal(0), sa.cast(sa.null(), sa.Double)
    f, tag, m = t.version_file.c, t.tag.c, t.version_metric.c
    return sa.union_all(
        sa.select(
            f.version_id.label("id"),
            sa.literal("file").label("kind"),
            f.name.label("name"),
            f.sha256.label("text"),
            f.size.label("number"),
            no_value.label("value"),
        ).where(f.version_id.in_(wanted)),
        sa.select(t.alias.c.version_id, sa.literal("alias"), t.alias.c.name, none, zero, no_value).where(
            t.alias.c.version_id.in_(wanted)
        ),
        sa.select(tag.version_id, sa.literal("tag"), tag.key, tag.value, zero, no_value).where(
            tag.version_id.in_(wanted)
        ),
        sa.select(
            t.lineage.c.child_id, sa.literal("parent"), none, t.lineage.c.parent_ref, t.lineage.c.position, no_value
        ).where(t.lineage.c.child_id.in_(wanted)),
        sa.select(m.version_id, sa.literal("metric"), t.metric_key.c.name, none, zero, m.value)
        .join(t.metric_key, m.key_id == t.metric_key.c.id)
        .where(m.version_id.in_(wanted)),
    ).order_by("number", "name")


def _records(rows: Iterable[Any], details: dict[int, list[Any]]) -> list[Version]:
    bases: dict[int, Base] = {}
    found = []
    for row in rows:
        parts: dict[str, list[Any]] = {"file": [], "alias": [], "tag": [], "parent": [], "metric": []}
        for kind, *detail in details.get(row.id, ()):
            parts[kind].append(detail)
        base = bases.get(row.base_id)
        if base is None:
            base = bases[row.base_id] = base_record(row)
        found.append(
            Version(
                name=row.name,
                number=row.number,
                digest=row.digest,
                task=row.task,
                kind=VersionKind(row.kind),
                method=row.method,
                config=row.config,
                base=base,
                max_length=row.max_length,
                parameters=row.parameters,
                size=row.size,
                metrics={name: math.nan if value is None else value for name, _, _, value in parts["metric"]},
                primary_metric=row.primary_metric,
                score=row.score,
                files=tuple(
                    File(name=name, sha256=sha256, size=size) for name, sha256, size, _ in sorted(parts["file"])
                ),
                aliases=tuple(name for name, *_ in parts["alias"]),
                tags={name: text for name, text, *_ in parts["tag"]},
                note=row.note,
                parents=tuple(text for _, text, *_ in parts["parent"]),
                run=row.run_uid,
                created_at=row.created_at,
            )
        )
    return found
