"""Verify rows: each value against what its column holds, and names against their rules.

Points and buckets of metrics are checked by their types only, in SQL: there may be millions of them, and on PostgreSQL
they cannot have others.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from ..database import tables as t
from ..database.shape import Shape
from ..errors import PointsmanError
from ..records import RunStatus, VersionKind
from ..refs import check_alias, check_metric, check_name, check_note, check_run, check_tag
from ..storage.objects import check_digest


class DamagedRow(NamedTuple):
    """A row that cannot be read, or breaks a rule."""

    subject: str
    """What the row is about: a version's ref, ``run:UID``, an adapter's name."""
    text: str
    version: int | None
    """The id of the version whose row, or a part of which, it is."""


def damaged_rows(connection: sa.Connection) -> Iterator[DamagedRow]:
    """Every damaged row of every table but those of points and buckets; a table that is missing is passed over."""
    names = _Names(connection)
    present = set(sa.inspect(connection).get_table_names())
    for table, subject in names.tables.items():
        if table.name not in present:
            continue
        shape = Shape({column.name: column for column in table.c})
        owner = next((name for name in ("version_id", "child_id") if name in table.c), None)
        for row in connection.execute(sa.select(table)):
            text = shape.damage(row) or _broken_rule(table, row)
            if text is not None:
                version = row.id if table is t.version else None if owner is None else getattr(row, owner)
                where = "" if table.name in ("run", "version", "adapter", "base") else f" {table.name}"
                yield DamagedRow(subject(row), f"its row{where} is damaged: {text}", version)


def damaged_series(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """Points and buckets with a value of another type than their column: pairs of ``run:UID`` and what is wrong."""
    if connection.dialect.name != "sqlite":
        return
    names = _Names(connection)
    for table, noun in ((t.metric_point, "points"), (t.metric_bucket, "buckets")):
        wrong = sa.or_(
            *(
                sa.func.typeof(column).not_in(
                    [*_STORED[sa.Float if isinstance(column.type, sa.Float) else sa.Integer]]
                    + ["null"] * bool(column.nullable)
                )
                for column in table.c
            )
        )
        query = sa.select(table.c.run_id, table.c.key_id, sa.func.count()).where(wrong)
        for run, key, number in connection.execute(query.group_by(table.c.run_id, table.c.key_id)):
            yield names.run(run), f"{number} damaged {noun} of {names.metric(key)}: a value is not a number"


_STORED: Final = {sa.Float: ("real", "integer"), sa.Integer: ("integer",)}


class _Names:
    """What each row is about, as far as the rows that say so can be read."""

    def __init__(self, connection: sa.Connection) -> None:
        v, a, r, k = t.version.c, t.adapter.c, t.run.c, t.metric_key.c
        adapters: dict[Any, Any] = dict(connection.execute(sa.select(a.id, a.name)).all())
        self._versions = {
            row.id: f"{adapters.get(row.adapter_id, f'adapter {row.adapter_id}')}@{row.number}"
            for row in connection.execute(sa.select(v.id, v.adapter_id, v.number))
        }
        self._adapters = adapters
        self._runs: dict[Any, Any] = dict(connection.execute(sa.select(r.id, r.uid)).all())
        self._bases: dict[Any, Any] = dict(connection.execute(sa.select(t.base.c.id, t.base.c.name)).all())
        self._metrics: dict[Any, Any] = dict(connection.execute(sa.select(k.id, k.name)).all())
        self.tables: dict[sa.Table, Callable[[Any], str]] = {
            t.identity: lambda row: "the registry",
            t.generation: lambda row: "the registry",
            t.base: lambda row: f"base {row.name}",
            t.base_place: lambda row: f"base {self._bases.get(row.base_id, f'row {row.base_id}')}",
            t.removal: lambda row: f"object {row.sha256}",
            t.adapter: lambda row: str(row.name),
            t.run: lambda row: f"run:{row.uid}",
            t.version: lambda row: self.version(row.id),
            t.version_file: lambda row: self.version(row.version_id),
            t.version_metric: lambda row: self.version(row.version_id),
            t.lineage: lambda row: self.version(row.child_id),
            t.alias: lambda row: f"{self._adapters.get(row.adapter_id, f'adapter {row.adapter_id}')}@{row.name}",
            t.tag: lambda row: self.version(row.version_id),
            t.metric_key: lambda row: f"metric {row.name}",
            t.metric_summary: lambda row: self.run(row.run_id),
            t.event: lambda row: f"event {row.id}",
        }

    def version(self, row_id: Any) -> str:
        """The ref of a version."""
        return self._versions.get(row_id, f"version row {row_id}")

    def run(self, row_id: Any) -> str:
        """``run:UID`` of a run."""
        return f"run:{self._runs.get(row_id, f'row {row_id}')}"

    def metric(self, row_id: Any) -> str:
        """The name of a metric."""
        return str(self._metrics.get(row_id, f"metric row {row_id}"))


def _broken_rule(table: sa.Table, row: Any) -> str | None:
    """What rule a row breaks, all of whose values are of the right types."""
    try:
        for rule in _RULES.get(table, ()):
            rule(row)
    except (PointsmanError, ValueError) as error:
        return str(error)
    return None


def _numbers(*names: str) -> Callable[[Any], None]:
    """Refuse numbers below 0."""

    def check(row: Any) -> None:
        for name in names:
            value = getattr(row, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} is {value}")

    return check


def _digests(*names: str) -> Callable[[Any], None]:
    """Refuse what is no sha256."""

    def check(row: Any) -> None:
        for name in names:
            if getattr(row, name) is not None:
                check_digest(getattr(row, name))

    return check


def _one_of(name: str, values: type[RunStatus] | type[VersionKind]) -> Callable[[Any], None]:
    def check(row: Any) -> None:
        if getattr(row, name) not in list(values):
            raise ValueError(f"{name} {getattr(row, name)!a} is unknown")

    return check


_REF: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}@[0-9]+")


def _check_parent(row: Any) -> None:
    if not _REF.fullmatch(row.parent_ref):
        raise ValueError(f"parent_ref {row.parent_ref[:80]!a} is no ref")


def _check_task(row: Any) -> None:
    if type(row.task.get("name")) is not str:
        raise ValueError("task has no name")


def _check_primary(row: Any) -> None:
    if row.primary_metric is not None:
        check_metric(row.primary_metric)
    if row.note is not None:
        check_note(row.note)


_RULES: Final[dict[sa.Table, tuple[Callable[[Any], object], ...]]] = {
    t.base: (
        _digests("fingerprint", "former_fingerprint", "tokenizer"),
        _numbers("hidden_size", "layers", "parameters", "size"),
    ),
    t.removal: (_digests("sha256"),),
    t.adapter: (lambda row: check_name(row.name), _numbers("last_number")),
    t.run: (
        lambda row: check_run(row.uid),
        lambda row: check_name(row.adapter_name),
        _one_of("status", RunStatus),
    ),
    t.version: (
        _one_of("kind", VersionKind),
        _check_task,
        _check_primary,
        _numbers("number", "max_length", "parameters", "size"),
    ),
    t.version_file: (_digests("sha256"), _numbers("size")),
    t.lineage: (_check_parent, _digests("parent_digest"), _numbers("position")),
    t.alias: (lambda row: check_alias(row.name),),
    t.tag: (lambda row: check_tag(row.key, row.value),),
    t.metric_key: (lambda row: check_metric(row.name),),
    t.metric_summary: (_numbers("count", "nan_count"),),
}
