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
    pages = _Pages(where, newest_only=newest_only, reverse=reverse)
    having = None if sort in SORTS else pages.having(check_metric(sort))
    total, with_metric = connection.execute(pages.counts(having)).one()
    if offset >= total:
        return Page((), total, offset)
    if having is None:
        chosen = pages.ordered(sort, few=total <= _FEW, limit=limit, offset=offset)
    else:
        if not with_metric:
            known = pages.metrics(connection)
            if sort not in known:
                raise unknown(MetricNotFoundError, "version has the metric", sort, known)
        chosen = pages.by_metric(sort, having, with_metric, limit=limit, offset=offset)
    rows = connection.execute(_selected(chosen)).all()
    details = _details(connection, [row.id for row in rows])
    return Page(tuple(_records(rows, details)), total, offset)


def by_ids(connection: sa.Connection, ids: Iterable[int]) -> list[Version]:
    """Versions by their rows, in the order of these."""
    order = list(ids)
    chosen = sa.select(_v.id, sa.literal(0).label("place")).where(_v.id.in_(order))
    rows = {row.id: row for row in connection.execute(_selected(chosen))}
    details = _details(connection, order)
    return _records([rows[found] for found in order if found in rows], details)


class _Pages:
    """Finds the ids on a page: from indexes alone, before the first whole row is read."""

    def __init__(self, where: Sequence[sa.ColumnElement[bool]], *, newest_only: bool, reverse: bool) -> None:
        self.where = list(where)
        self.newest_only = newest_only
        self.reverse = reverse

    def conditions(self, adapter: sa.ColumnElement[int] = _v.adapter_id) -> list[sa.ColumnElement[bool]]:
        """The conditions on a version; ``adapter`` is the column that holds the row of its adapter."""
        if not self.newest_only:
            return self.where
        other = t.version.alias().c
        return [
            *self.where,
            _v.number == sa.select(sa.func.max(other.number)).where(other.adapter_id == adapter).scalar_subquery(),
        ]

    def having(self, metric: str) -> sa.Select[Any]:
        """The ids of versions with a metric, NaN left out."""
        return sa.select(_m.version_id).where(_m.key_id == key_id(metric), _m.value.is_not(None))

    def metrics(self, connection: sa.Connection) -> list[str]:
        """Every metric that any of the versions has, be it NaN."""
        found = sa.select(_v.id).where(*self.conditions())
        keys = sa.select(_m.key_id).where(_m.version_id.in_(found))
        key = t.metric_key.c
        return list(connection.scalars(sa.select(key.name).where(key.id.in_(keys)).order_by(key.name)))

    def counts(self, having: sa.Select[Any] | None) -> sa.Select[Any]:
        """How many versions there are in all, and how many of them have a metric."""
        if self.newest_only and not self.where:
            # As many as there are adapters with versions.
            live = sa.exists().where(_v.adapter_id == _a.id).correlate(t.adapter)
            total = sa.select(sa.func.count()).select_from(t.adapter).where(live)
        else:
            total = sa.select(sa.func.count()).select_from(t.version).where(*self.conditions())
        if having is None:
            return sa.select(total.scalar_subquery(), sa.literal(0))
        conditions = self.conditions()
        with_metric = sa.select(sa.func.count()).select_from(having.subquery())
        if conditions:
            with_metric = sa.select(sa.func.count()).select_from(t.version).where(*conditions, _v.id.in_(having))
        return sa.select(total.scalar_subquery(), with_metric.scalar_subquery())

    def ordered(self, sort: str, *, few: bool, limit: int | None, offset: int) -> sa.Select[Any]:
        """The ids on a page in an order that does not depend on metrics, each with its place."""
        if sort == "name":
            keys: list[sa.ColumnElement[Any]] = (
                [_a.name.desc(), _v.number.desc()] if self.reverse else [_a.name, _v.number]
            )
        else:
            column = {"created": _v.created_at, "score": _v.score, "parameters": _v.parameters, "size": _v.size}[sort]
            first = column.asc() if self.reverse else column.desc()
            keys = [first.nulls_last() if column.nullable else first, _v.id.asc() if self.reverse else _v.id.desc()]
        if sort != "name":
            query = sa.select(_v.id).where(*self.conditions())
        elif few and (self.where or self.newest_only):
            # Found first, and then sorted.
            found = sa.select(_v.id).where(*self.conditions()).cte("found").prefix_with("MATERIALIZED")
            query = sa.select(_v.id).where(_v.id.in_(sa.select(found.c.id))).join(t.adapter, _v.adapter_id == _a.id)
        else:
            # Walked in order, and left when the page is full. SQLite would begin with the version and sort them all:
            # with a sum of the adapter's id, it cannot.
            same = _v.adapter_id == _a.id + 0
            query = sa.select(_v.id).select_from(t.adapter).join(t.version, same).where(*self.conditions(_a.id))
        place = sa.func.row_number().over(order_by=keys)
        return _placed(query.order_by(*keys).limit(limit).offset(offset), place)

    def by_metric(
        self, metric: str, having: sa.Select[Any], with_metric: int, *, limit: int | None, offset: int
    ) -> sa.Select[Any]:
        """The ids on a page: those with a metric in the order of its index; then, where there is room, the others."""
        keys = (_m.value.asc(), _m.version_id.asc()) if self.reverse else (_m.value.desc(), _m.version_id.desc())
        conditions = self.conditions()
        if conditions:
            having = having.where(sa.exists().where(_v.id == _m.version_id, *conditions))
        first = having.order_by(*keys).limit(limit).offset(offset)
        room = None if limit is None else limit - max(0, with_metric - offset)
        if room is not None and room <= 0:
            return _placed(first, sa.func.row_number().over(order_by=keys))
        others = _Pages([*self.where, _v.id.not_in(self.having(metric))], newest_only=self.newest_only, reverse=False)
        rest = others.ordered("name", few=True, limit=room, offset=max(0, offset - with_metric)).subquery()
        if offset >= with_metric:
            return sa.select(rest.c.id, rest.c.place)
        there = _placed(first, sa.func.row_number().over(order_by=keys)).subquery()
        both = sa.union_all(
            sa.select(there.c.id, there.c.place), sa.select(rest.c.id, rest.c.place + with_metric)
        ).subquery()
        return sa.select(both.c.id, both.c.place)


def _placed(query: sa.Select[Any], place: sa.ColumnElement[int]) -> sa.Select[Any]:
    """A page's ids with the place that each has among them."""
    found = query.add_columns(place.label("place")).subquery("page")
    return sa.select(found.c[0].label("id"), found.c.place)


def _selected(chosen: sa.Select[Any]) -> sa.Select[Any]:
    """The whole rows of some ids, in the order of their places."""
    page = chosen.subquery("chosen")
    return (
        sa.select(*_COLUMNS, _a.name.label("name"), t.run.c.uid.label("run_uid"), *base_columns())
        .select_from(page)
        .join(t.version, _v.id == page.c.id)
        .join(t.adapter, _v.adapter_id == _a.id)
        .join(t.base, _v.base_id == t.base.c.id)
        .outerjoin(t.run, _v.run_id == t.run.c.id)
        .order_by(page.c.place)
    )


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
    if max(limit or 0, offset) >= 2**63:
        raise SettingsError(f"limit {limit} and offset {offset} have to fit 64 bits")
    if offset < 0:
        raise SettingsError(f"offset {offset} is not valid: it has to be 0 or more")
