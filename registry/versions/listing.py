"""Versions as records, a page at a time: at most three statements a page."""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from ..database import tables as t
from ..database.bases import COLUMNS as BASE_COLUMNS
from ..database.bases import base_columns, base_record, same_bases
from ..database.lists import select_bound_numbers, select_numbers
from ..database.shape import Shape, damaged
from ..errors import DamagedRowError, MetricNotFoundError, unknown
from ..metrics.points import key_id
from ..records import Adapter, Base, Evaluation, File, Page, Version, VersionKind
from ..refs import check_metric
from . import best

SORTS: Final = ("name", "created", "score", "parameters", "size")
"""The sort orders besides metrics."""

_FEW: Final = 2_000
"""Up to this many matching versions are sorted, which is faster than to read adapters in order until a page is full."""

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
    """Return a page of versions, and the number of all that match.

    Args:
        connection: A transaction.
        where: Conditions over the table ``version`` only.
        sort: One of ``SORTS``, or a metric. Names ascend, all else descends, versions without a value come last.
            Scores that can be compared, of one metric on the same rows, stand together: the newest version's first.
        reverse: The opposite order; versions without a value still come last.
        newest_only: Only the version with the highest number of each adapter.
        limit: At most this many.
        offset: The number of versions to leave out first.

    Raises:
        MetricNotFoundError: Versions match, but none has the metric ``sort``.
    """
    metric = None if sort in SORTS else check_metric(sort)
    pages = _Pages(where, newest_only=newest_only)
    if metric is not None and not pages.unrestricted:
        # Sorting reads all matching ids anyway, so the same statement counts them.
        ids, keys, matching = pages.scored(metric, reverse)
        rows = connection.execute(_selected(ids, keys, limit, offset, matching)).all()
        total = rows[0].total if rows else connection.execute(pages.counts()).one().total if offset else 0
    else:
        total, scored = connection.execute(pages.counts(metric)).one()
        if metric is None:
            ids, keys = pages.ordered(sort, reverse, total)
        elif limit is not None and offset + limit <= scored:
            ids, keys = pages.by_metric_index(metric, reverse)
        else:
            ids, keys, _ = pages.scored(metric, reverse)
        rows = connection.execute(_selected(ids, keys, limit, offset)).all() if offset < total else []
    if not rows:
        return Page((), total, offset)
    found = _records(rows, _details(connection, [row.id for row in rows]))
    if metric is not None and not offset and rows[0].key_0 is None:
        known = pages.metrics(connection)
        if metric not in known:
            raise unknown(MetricNotFoundError, "metric", metric, known)
    versions = tuple(version for version in found if isinstance(version, Version))
    return Page(versions, total, offset, tuple(str(error) for error in found if isinstance(error, DamagedRowError)))


def by_ids(connection: sa.Connection, ids: Iterable[int]) -> list[Version]:
    """Return versions by the ids of their rows, in this order.

    Raises:
        DamagedRowError: A row of one of them cannot be read.
    """
    order = list(ids)
    versions: list[Version] = []
    # In batches, to bound the size of a statement's parameter and result.
    for start in range(0, len(order), 1_000):
        batch = order[start : start + 1_000]
        rows = {row.id: row for row in connection.execute(_select_by_ids(connection.dialect.name), {"ids": batch})}
        for found in _records([rows[row_id] for row_id in batch if row_id in rows], _details(connection, batch)):
            if isinstance(found, DamagedRowError):
                raise found
            versions.append(found)
    return versions


def newest(connection: sa.Connection, base: Base, *, after: str | None, limit: int) -> list[Version]:
    """Return the newest version of each adapter whose name comes after another, by name, where it is of a base.

    Raises:
        DamagedRowError: A row of one of them cannot be read.
    """
    number = sa.select(sa.func.max(_v.number)).where(_v.adapter_id == _a.id).correlate(t.adapter).scalar_subquery()
    few = connection.scalars(sa.select(_v.id).where(_v.base_id.in_(same_bases(base))).limit(_FEW + 1)).all()
    # Few versions are sorted; of many, adapters are read by name until the page is full. ``+ 0`` keeps SQLite from
    # doing it the other way round.
    if len(few) <= _FEW:
        found = sa.select(_v.id).join(t.adapter, _v.adapter_id + 0 == _a.id)
        found = found.where(_v.id.in_(select_numbers(connection, few)))
    else:
        found = sa.select(_v.id).select_from(t.adapter).join(t.version, _v.adapter_id == _a.id)
        found = found.where((_v.base_id + 0).in_(same_bases(base)))
    query = found.where(_v.number == number).order_by(_a.name).limit(limit)
    return by_ids(connection, connection.scalars(query if after is None else query.where(_a.name > after)))


def adapter(connection: sa.Connection, name: str, adapter_id: int) -> Adapter:
    """Return the numbers and aliases of an adapter, by its name and the id of its row; a damaged number is left out."""
    numbers = connection.scalars(sa.select(_v.number).where(_v.adapter_id == adapter_id).order_by(_v.number.desc()))
    aliases = connection.execute(
        sa.select(t.alias.c.name, _v.number)
        .join(t.version, t.alias.c.version_id == _v.id)
        .where(t.alias.c.adapter_id == adapter_id)
        .order_by(t.alias.c.name)
    )
    return Adapter(
        name=name,
        numbers=tuple(number for number in numbers if type(number) is int),
        aliases={row.name: row.number for row in aliases if type(row.number) is int},
    )


class _Key(NamedTuple):
    """A sort key; rows without a value come last in either direction."""

    column: sa.ColumnElement[Any]
    descending: bool

    def order(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        direction = column.desc() if self.descending else column.asc()
        return direction if getattr(self.column, "nullable", False) is False else direction.nulls_last()


class _Pages:
    """Statements that select ids in order from indexes only; whole rows are read for the ids of the page only."""

    def __init__(self, where: Sequence[sa.ColumnElement[bool]], *, newest_only: bool) -> None:
        self.where = list(where)
        self.newest_only = newest_only

    def conditions(self, adapter: sa.ColumnElement[int] = _v.adapter_id) -> list[sa.ColumnElement[bool]]:
        """The conditions on a version; ``adapter`` is the column with the id of its adapter."""
        if not self.newest_only:
            return self.where
        other = t.version.alias().c
        newest = sa.select(sa.func.max(other.number)).where(other.adapter_id == adapter)
        return [*self.where, _v.number == newest.scalar_subquery()]

    def metrics(self, connection: sa.Connection) -> list[str]:
        """The names of all metrics that the matching versions have, with NaN as their value too."""
        matching = sa.select(_v.id).where(*self.conditions())
        keys = sa.select(_m.key_id).where(_m.version_id.in_(matching))
        key = t.metric_key.c
        return list(connection.scalars(sa.select(key.name).where(key.id.in_(keys)).order_by(key.name)))

    @property
    def unrestricted(self) -> bool:
        """Whether every version matches."""
        return not self.where and not self.newest_only

    def counts(self, metric: str | None = None) -> sa.Select[Any]:
        """Count the matching versions (``total``), and all versions with a value of a metric (``scored``)."""
        count = sa.select(sa.func.count())
        if self.newest_only and not self.where:
            # One version for each adapter that has versions.
            # Selects a column of the index: for EXISTS (SELECT *), SQLite reads the row of the table too.
            live = sa.select(_v.adapter_id).where(_v.adapter_id == _a.id).correlate(t.adapter).exists()
            total = count.select_from(t.adapter).where(live)
        else:
            total = count.select_from(t.version).where(*self.conditions())
        scored: sa.ColumnElement[int] = sa.literal(0)
        if metric is not None:
            scored = count.where(_m.key_id == key_id(metric), _m.value.is_not(None)).scalar_subquery()
        return sa.select(total.scalar_subquery().label("total"), scored.label("scored"))

    def ordered(self, sort: str, reverse: bool, total: int) -> tuple[sa.Select[Any], tuple[_Key, ...]]:
        """Select the matching ids, with the keys of a sort order that is not a metric."""
        if sort != "name":
            column = {"created": _v.created_at, "score": _v.score, "parameters": _v.parameters, "size": _v.size}[sort]
            keys: tuple[_Key, ...] = (_Key(column, not reverse), _Key(_v.id, not reverse))
            if sort == "score":
                # Scores that can be compared stand together: those of the newest version first, and no score last.
                unscored = sa.case((_v.score.is_(None), 1), else_=0)
                keys = (_Key(unscored, False), _Key(self.newest_comparable(), not reverse), *keys)
            return sa.select(_v.id).where(*self.conditions()), keys
        keys = (_Key(_a.name, reverse), _Key(_v.number, reverse))
        if self.unrestricted or total > _FEW:
            # Reads the adapters in the order of their names until the page is full. ``+ 0`` keeps SQLite from starting
            # with the versions and sorting all of them.
            ordered = sa.select(_v.id).select_from(t.adapter).join(t.version, _v.adapter_id == _a.id + 0)
            return ordered.where(*self.conditions(_a.id)), keys
        matching = self.matching()
        ids = sa.select(_v.id).select_from(matching).join(t.version, _v.id == matching.c.id)
        return ids.join(t.adapter, _v.adapter_id == _a.id), keys

    def newest_comparable(self) -> sa.ColumnElement[int]:
        """The id of the newest matching version whose score can be compared with that of a version."""
        newest = sa.func.max(_v.id)
        if not self.unrestricted:
            return newest.over(partition_by=best.COLUMNS)
        # A window function sorts every version by these texts, which takes several times as long as to take the newest
        # one of each adapter first, in the order of an index.
        of_adapter = sa.select(*best.COLUMNS, newest.label("newest")).group_by(_v.adapter_id, *best.COLUMNS)
        few = of_adapter.subquery("of_adapter").c
        group = [few[column.name] for column in best.COLUMNS]
        groups = sa.select(*group, sa.func.max(few.newest).label("newest")).group_by(*group).cte("groups")
        found = groups.prefix_with("MATERIALIZED").c
        same = (column.is_not_distinct_from(found[column.name]) for column in best.COLUMNS)
        return sa.select(found.newest).where(*same).correlate(t.version).scalar_subquery()

    def by_metric_index(self, metric: str, reverse: bool) -> tuple[sa.Select[Any], tuple[_Key, ...]]:
        """Select the ids of all versions with a metric, in the order of its index; the limit ends the reading."""
        ids = sa.select(_m.version_id.label("id")).where(_m.key_id == key_id(metric), _m.value.is_not(None))
        return ids, (_Key(_m.value, not reverse), _Key(_m.version_id, not reverse))

    def scored(self, metric: str, reverse: bool) -> tuple[sa.Select[Any], tuple[_Key, ...], sa.CTE]:
        """Select the matching ids, with or without the metric; with the sort keys and the CTE of the matching ids."""
        matching = self.matching()
        of_metric = (_m.version_id == matching.c.id) & (_m.key_id == key_id(metric))
        ids = sa.select(matching.c.id).select_from(matching).outerjoin(t.version_metric, of_metric)
        return ids, (_Key(_m.value, not reverse), _Key(matching.c.id, not reverse)), matching

    def matching(self) -> sa.CTE:
        """The ids of all matching versions, materialised, so that the conditions are evaluated once."""
        return sa.select(_v.id).where(*self.conditions()).cte("matching").prefix_with("MATERIALIZED")


def _selected(
    ids: sa.Select[Any],
    keys: Sequence[_Key],
    limit: int | None = None,
    offset: int = 0,
    counted: sa.CTE | None = None,
) -> sa.Select[Any]:
    """Select whole rows by a page of ids, in order.

    The sort keys are the columns ``key_0``, ``key_1`` and so on; ``total`` is the number of rows of ``counted``.
    """
    # Ordered by their names: SQLite would compute a subquery a second time.
    named = [key.column.label(f"key_{place}") for place, key in enumerate(keys)]
    ids = ids.add_columns(*named).order_by(*(key.order(label) for key, label in zip(keys, named, strict=True)))
    page = ids.limit(limit).offset(offset or None).subquery("page")
    sorted_by: list[sa.ColumnElement[Any]] = [page.c[f"key_{place}"] for place in range(len(keys))]
    if counted is not None:
        sorted_by.append(sa.select(sa.func.count()).select_from(counted).scalar_subquery().label("total"))
    return (
        sa.select(*_COLUMNS, _a.name.label("name"), t.run.c.uid.label("run_uid"), *base_columns(), *sorted_by)
        .select_from(page)
        .join(t.version, _v.id == page.c.id)
        # Outer joins, so that a version whose adapter or base is lost is told of, and not left out.
        .outerjoin(t.adapter, _v.adapter_id == _a.id)
        .outerjoin(t.base, _v.base_id == t.base.c.id)
        .outerjoin(t.run, _v.run_id == t.run.c.id)
        .order_by(*(key.order(column) for key, column in zip(keys, sorted_by, strict=False)))
    )


def _details(connection: sa.Connection, ids: Sequence[int]) -> dict[int, list[Any]]:
    """Read files, aliases, tags, parents and metrics in one statement: ``(kind, name, text, number, value)`` by id."""
    if not ids:
        return {}
    details: dict[int, list[Any]] = {}
    for version_id, *detail in connection.execute(_select_details(connection.dialect.name), {"ids": list(ids)}):
        details.setdefault(version_id, []).append(detail)
    return details


@cache
def _select_by_ids(dialect: str) -> sa.Select[Any]:
    """The statement of ``by_ids``; cached, since building it takes as long as executing it."""
    return _selected(sa.select(_v.id).where(_v.id.in_(select_bound_numbers(dialect, "ids"))), ())


@cache
def _select_details(dialect: str) -> sa.CompoundSelect[Any]:
    """The statement of ``_details``."""
    ids = select_bound_numbers(dialect, "ids")
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
        ).where(f.version_id.in_(ids)),
        sa.select(t.alias.c.version_id, sa.literal("alias"), t.alias.c.name, none, zero, no_value).where(
            t.alias.c.version_id.in_(ids)
        ),
        sa.select(tag.version_id, sa.literal("tag"), tag.key, tag.value, zero, no_value).where(tag.version_id.in_(ids)),
        sa.select(
            t.lineage.c.child_id, sa.literal("parent"), none, t.lineage.c.parent_ref, t.lineage.c.position, no_value
        ).where(t.lineage.c.child_id.in_(ids)),
        sa.select(m.version_id, sa.literal("metric"), t.metric_key.c.name, none, zero, m.value)
        .join(t.metric_key, m.key_id == t.metric_key.c.id)
        .where(m.version_id.in_(ids)),
    ).order_by("number", "name")


def _records(rows: Iterable[Any], details: dict[int, list[Any]]) -> list[Version | DamagedRowError]:
    """The version of each row, or the error for a row that is damaged."""
    bases: dict[int, Base] = {}
    found: list[Version | DamagedRowError] = []
    for row in rows:
        own = details.get(row.id, ())
        damage = _damage(row, own)
        if damage is not None:
            found.append(damaged(_subject(row), damage))
            continue
        parts: dict[str, list[Any]] = {"file": [], "alias": [], "tag": [], "parent": [], "metric": []}
        for kind, *detail in own:
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
                evaluation=None
                if row.evaluation is None
                else Evaluation(fingerprint=row.evaluation, rows=row.evaluation_rows),
            )
        )
    return found


_SHAPE: Final = Shape(
    {
        **{column.name: column for column in _COLUMNS},
        "adapter": _a.name,
        "run": t.run.c.uid,
        **{f"base.{column.name}": column for column in BASE_COLUMNS},
    },
    nullable=["run"],
)
_DETAIL_SHAPE: Final = Shape(
    {"kind": _v.kind, "name": t.tag.c.key, "value": t.tag.c.value, "size": _v.size, "score": _m.value}
)
_KINDS: Final = frozenset(VersionKind)


def _damage(row: Any, details: Sequence[Any]) -> str | None:
    """What is wrong with the rows of a version; None if nothing is."""
    damage = _SHAPE.damage(row)
    if damage is not None:
        return damage
    if row.kind not in _KINDS:
        return f"kind {row.kind!a} is unknown"
    if type(row.task.get("name")) is not str:
        return "task has no name"
    for detail in details:
        if damage := _DETAIL_SHAPE.damage(detail):
            return f"{detail[0]}: {damage}"
    return None


def _subject(row: Any) -> str:
    """How messages name a version whose rows are damaged."""
    return f"{row.name}@{row.number}" if type(row.name) is str and type(row.number) is int else f"version row {row.id}"
