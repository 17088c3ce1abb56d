"""Versions as records, a page at a time: three statements at most, whatever their number."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa

from . import tables as t
from .bases import base_columns, base_record
from .errors import MetricNotFoundError, SettingsError, unknown
from .points import key_id
from .records import Base, File, Page, Version
from .refs import check_metric

SORTS: Final = ("name", "created", "score", "parameters", "size")
"""What versions can be sorted by, besides a metric."""

_v = t.version.c
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
    conditions = list(where)
    if newest_only:
        later = t.version.alias()
        conditions.append(~sa.exists().where(later.c.adapter_id == _v.adapter_id, later.c.number > _v.number))
    # Counted along with the first row: the statement that reads a page says how many there are in all.
    total = _total(conditions, newest_only=newest_only and not where)
    if sort in SORTS:
        query = _ordered(_selected(conditions, total), sort, reverse).limit(limit).offset(offset)
        rows = list(connection.execute(query))
    else:
        rows = _by_metric(
            connection, conditions, total, metric=check_metric(sort), reverse=reverse, limit=limit, offset=offset
        )
    count = rows[0].total if rows else connection.scalar(sa.select(total)) if offset else 0
    details = _details(connection, [row.id for row in rows])
    if sort not in SORTS and rows and not offset:
        shown = {name for parts in details.values() for kind, name, *_ in parts if kind == "metric"}
        # What is not on the first page may be NaN wherever there is one.
        if sort not in shown and sort not in (names := _metrics(connection, conditions)):
            raise unknown(MetricNotFoundError, "version has the metric", sort, names)
    return Page(tuple(_records(rows, details)), count or 0, offset)


def by_ids(connection: sa.Connection, ids: Iterable[int]) -> list[Version]:
    """Versions by their rows, in the order of these."""
    order = list(ids)
    rows = {row.id: row for row in connection.execute(_selected([_v.id.in_(order)]))}
    details = _details(connection, order)
    return _records([rows[found] for found in order if found in rows], details)


def _selected(conditions: Iterable[sa.ColumnElement[bool]], *more: sa.ColumnElement[Any]) -> sa.Select[Any]:
    return (
        sa.select(*_COLUMNS, *more, t.adapter.c.name.label("name"), t.run.c.uid.label("run_uid"), *base_columns())
        .select_from(t.version)
        .join(t.adapter, _v.adapter_id == t.adapter.c.id)
        .join(t.base, _v.base_id == t.base.c.id)
        .outerjoin(t.run, _v.run_id == t.run.c.id)
        .where(*conditions)
    )


def _ordered(query: sa.Select[Any], sort: str, reverse: bool) -> sa.Select[Any]:
    if sort == "name":
        ascending = (t.adapter.c.name, _v.number)
        return query.order_by(*(column.desc() if reverse else column for column in ascending))
    column = {"created": _v.created_at, "score": _v.score, "parameters": _v.parameters, "size": _v.size}[sort]
    direction = column.asc() if reverse else column.desc()
    newest = _v.id.asc() if reverse else _v.id.desc()
    return query.order_by(direction.nulls_last() if column.nullable else direction, newest)


def _by_metric(
    connection: sa.Connection,
    conditions: list[sa.ColumnElement[bool]],
    total: sa.ColumnElement[int],
    *,
    metric: str,
    reverse: bool,
    limit: int | None,
    offset: int,
) -> list[Any]:
    """By a metric: those that have it, in the order of its index; then, where there is room, the others."""
    m = t.version_metric.c
    having = sa.select(m.version_id).where(m.key_id == key_id(metric), m.value.is_not(None))
    direction = (m.value.asc(), m.version_id.asc()) if reverse else (m.value.desc(), m.version_id.desc())
    rows = list(
        connection.execute(
            _selected(conditions, total)
            .join(t.version_metric, (m.version_id == _v.id) & (m.key_id == key_id(metric)))
            .where(m.value.is_not(None))
            .order_by(*direction)
            .limit(limit)
            .offset(offset)
        )
    )
    if limit is not None and len(rows) == limit:
        return rows
    before = sa.select(sa.func.count()).select_from(t.version).where(*conditions, _v.id.in_(having)).scalar_subquery()
    skipped = sa.case((before < offset, offset - before), else_=0)
    rest = _ordered(_selected([*conditions, _v.id.not_in(having)], total), "name", False)
    return rows + list(connection.execute(rest.limit(None if limit is None else limit - len(rows)).offset(skipped)))


def _metrics(connection: sa.Connection, conditions: Sequence[sa.ColumnElement[bool]]) -> list[str]:
    """The metrics that any of the versions has."""
    m, key = t.version_metric.c, t.metric_key.c
    having = sa.select(m.key_id).join(t.version, m.version_id == _v.id).where(*conditions)
    return list(connection.scalars(sa.select(key.name).where(key.id.in_(having)).order_by(key.name)))


def _total(conditions: Sequence[sa.ColumnElement[bool]], *, newest_only: bool) -> sa.Label[int]:
    if newest_only:
        # Nothing else is asked: as many as there are adapters with versions.
        live = sa.exists().where(_v.adapter_id == t.adapter.c.id).correlate(t.adapter)
        query = sa.select(sa.func.count()).select_from(t.adapter).where(live)
    else:
        query = sa.select(sa.func.count()).select_from(t.version).where(*conditions)
    return query.correlate(None).scalar_subquery().label("total")


def _details(connection: sa.Connection, ids: Sequence[int]) -> dict[int, list[Any]]:
    """What versions have several of, in one statement: ``(kind, name, text, number, value)`` by version."""
    if not ids:
        return {}
    # One bound value, however many ids: databases take only so many.
    listed: Any = (
        sa.select(
            sa.cast(sa.func.json_array_elements_text(sa.cast(sa.literal(list(ids), sa.JSON), sa.JSON)), sa.Integer)
        )
        if connection.dialect.name == "postgresql"
        else sa.select(sa.func.json_each(sa.literal(list(ids), sa.JSON)).table_valued("value").c.value)
    )
    wanted = sa.select(listed.subquery("wanted"))
    none, zero, no_value = sa.literal(""), sa.literal(0), sa.cast(sa.null(), sa.Double)
    f, tag, m = t.version_file.c, t.tag.c, t.version_metric.c
    rows = connection.execute(
        sa.union_all(
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
    )
    details: dict[int, list[Any]] = {}
    for version_id, *detail in rows:
        details.setdefault(version_id, []).append(detail)
    return details


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


def check_page(limit: int | None, offset: int) -> None:
    """Refuse a page that cannot be.

    Raises:
        SettingsError: ``limit`` is below 1, or ``offset`` below 0.
    """
    if limit is not None and limit < 1:
        raise SettingsError(f"limit {limit} is not valid: it has to be 1 or more")
    if offset < 0:
        raise SettingsError(f"offset {offset} is not valid: it has to be 0 or more")
