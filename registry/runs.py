"""Runs and their metric history: functions over an open transaction."""

import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa

from . import tables as t
from .catalog import base_columns, base_id, base_record, now
from .errors import MetricNotFoundError, RunNotFoundError, unknown
from .records import Base, MetricPoint, MetricSummary, Run, RunStatus

SILENCE: Final = timedelta(seconds=60)
"""A running run that has not been heard of for so long counts as interrupted."""


@dataclass(frozen=True, slots=True)
class LoggedPoint:
    """A metric point on its way into the database."""

    key: str
    step: int
    seq: int
    value: float
    epoch: float | None
    wall_time: float


def insert(
    connection: sa.Connection,
    *,
    adapter: str,
    task: str,
    method: str,
    base: Base,
    settings: Mapping[str, Any],
    data: Mapping[str, Any],
    environment: Mapping[str, Any],
    seed: int,
) -> str:
    """Begin a run and return its uid: 12 hexadecimal digits."""
    uid = secrets.token_hex(6)
    started = now()
    connection.execute(
        t.run.insert().values(
            uid=uid,
            adapter_name=adapter,
            task=task,
            method=method,
            base_id=base_id(connection, base),
            settings=dict(settings),
            data=dict(data),
            environment=dict(environment),
            seed=seed,
            status=RunStatus.RUNNING,
            started_at=started,
            heartbeat_at=started,
        )
    )
    return uid


def beat(connection: sa.Connection, uid: str) -> None:
    """Say that the run is alive."""
    connection.execute(t.run.update().where(t.run.c.uid == uid).values(heartbeat_at=now()))


def end(connection: sa.Connection, uid: str, status: RunStatus, error: str | None) -> None:
    """Say how the run ended."""
    ended = now()
    connection.execute(
        t.run.update().where(t.run.c.uid == uid).values(status=status, error=error, ended_at=ended, heartbeat_at=ended)
    )


def runs(
    connection: sa.Connection, *, where: Iterable[sa.ColumnElement[bool]] = (), limit: int | None = None
) -> list[Run]:
    """Runs as records, newest first."""
    version, adapter = t.version, t.adapter
    query = (
        sa.select(
            t.run,
            *base_columns(),
            (adapter.c.name + "@" + sa.cast(version.c.number, sa.String)).label("version"),
        )
        .join(t.base, t.run.c.base_id == t.base.c.id)
        .outerjoin(version, version.c.run_id == t.run.c.id)
        .outerjoin(adapter, version.c.adapter_id == adapter.c.id)
        .where(*where)
        .order_by(t.run.c.started_at.desc(), t.run.c.id.desc())
        .limit(limit)
    )
    silent_since = now() - SILENCE
    return [
        Run(
            uid=row.uid,
            adapter=row.adapter_name,
            task=row.task,
            method=row.method,
            base=base_record(row),
            settings=row.settings,
            data=row.data,
            environment=row.environment,
            seed=row.seed,
            status=(
                RunStatus.INTERRUPTED
                if row.status == RunStatus.RUNNING and row.heartbeat_at < silent_since
                else RunStatus(row.status)
            ),
            error=row.error,
            version=row.version,
            started_at=row.started_at,
            ended_at=row.ended_at,
            heartbeat_at=row.heartbeat_at,
        )
        for row in connection.execute(query)
    ]


def run_id(connection: sa.Connection, uid: str) -> int:
    """The row of the run whose uid is ``uid`` or, unambiguously, begins with it.

    Raises:
        RunNotFoundError: There is none, or more than one.
    """
    query = sa.select(t.run.c.id, t.run.c.uid).where(t.run.c.uid.startswith(uid, autoescape=True))
    found = connection.execute(query.order_by(t.run.c.id.desc()).limit(20)).all() if uid else []
    if len(found) == 1:
        return int(found[0].id)
    if found:
        raise RunNotFoundError(f"run {uid!a} is ambiguous: {', '.join(row.uid for row in found)}")
    uids = connection.scalars(sa.select(t.run.c.uid).order_by(t.run.c.id.desc()).limit(20))
    raise unknown(RunNotFoundError, "run", uid, uids, "see 'registry runs'")


def next_seq(connection: sa.Connection, run: int) -> int:
    """The first sequence number that no point of the run has yet."""
    last = connection.scalar(sa.select(sa.func.max(t.metric_point.c.seq)).where(t.metric_point.c.run_id == run))
    return 0 if last is None else int(last) + 1


def insert_points(connection: sa.Connection, run: int, points: Sequence[LoggedPoint]) -> None:
    """Add points to a run's history and bring the summaries up to date in the same transaction."""
    keys = _key_ids(connection, {point.key for point in points})
    connection.execute(
        t.metric_point.insert(),
        [
            {
                "run_id": run,
                "key_id": keys[point.key],
                "step": point.step,
                "seq": point.seq,
                "epoch": point.epoch,
                "wall_time": point.wall_time,
                "value": _null(point.value),
            }
            for point in points
        ],
    )
    known = {summary.key: summary for summary in summaries(connection, run)}
    for key, key_id in keys.items():
        summary = _summed(known.get(key), [point for point in points if point.key == key])
        values = {name: _null(value) for name, value in vars(summary).items() if name != "key"}
        if key in known:
            row = (t.metric_summary.c.run_id == run) & (t.metric_summary.c.key_id == key_id)
            connection.execute(t.metric_summary.update().where(row).values(values))
        else:
            connection.execute(t.metric_summary.insert().values(run_id=run, key_id=key_id, **values))


def summaries(connection: sa.Connection, run: int) -> list[MetricSummary]:
    """The summaries of all metrics of a run, by name."""
    s = t.metric_summary
    rows = connection.execute(
        sa.select(s, t.metric_key.c.name.label("key"))
        .join(t.metric_key, s.c.key_id == t.metric_key.c.id)
        .where(s.c.run_id == run)
        .order_by(t.metric_key.c.name)
    )
    floats = ("first", "last", "min", "max", "mean")
    found = []
    for row in rows.mappings():
        values: dict[str, Any] = {name: value for name, value in row.items() if name not in ("run_id", "key_id")}
        values.update({name: _nan(values[name]) for name in floats})
        found.append(MetricSummary(**values))
    return found


def history(connection: sa.Connection, run: int, metric: str) -> list[MetricPoint]:
    """All points of one metric of a run, in the order of their steps.

    Raises:
        MetricNotFoundError: The run has no such metric; the message lists those it has.
    """
    p = t.metric_point
    key_id = connection.scalar(sa.select(t.metric_key.c.id).where(t.metric_key.c.name == metric))
    rows = connection.execute(
        sa.select(p.c.step, p.c.value, p.c.epoch, p.c.wall_time)
        .where(p.c.run_id == run, p.c.key_id == key_id)
        .order_by(p.c.step, p.c.seq)
    ).all()
    if not rows:
        raise unknown(MetricNotFoundError, "metric", metric, [summary.key for summary in summaries(connection, run)])
    return [MetricPoint(step, _nan(value), epoch, wall_time) for step, value, epoch, wall_time in rows]


def _key_ids(connection: sa.Connection, names: set[str]) -> dict[str, int]:
    key = t.metric_key.c
    query = sa.select(key.name, key.id).where(key.name.in_(names))
    found = {row.name: row.id for row in connection.execute(query)}
    if missing := sorted(names - found.keys()):
        connection.execute(t.metric_key.insert(), [{"name": name} for name in missing])
        found = {row.name: row.id for row in connection.execute(query)}
    return found


def _summed(before: MetricSummary | None, points: Sequence[LoggedPoint]) -> MetricSummary:
    """The summary of a metric with ``points`` added, which are in the order they were logged in."""
    numbers = [point for point in points if not math.isnan(point.value)]
    count, nan_count = len(points), len(points) - len(numbers)
    low = min(numbers, key=lambda point: point.value, default=None)
    high = max(numbers, key=lambda point: point.value, default=None)
    total = sum(point.value for point in numbers)
    summary = MetricSummary(
        key=points[0].key,
        count=count,
        nan_count=nan_count,
        first=points[0].value,
        last=points[-1].value,
        min=low.value if low else math.nan,
        max=high.value if high else math.nan,
        mean=total / len(numbers) if numbers else math.nan,
        first_step=points[0].step,
        last_step=points[-1].step,
        min_step=low.step if low else None,
        max_step=high.step if high else None,
    )
    if before is None:
        return summary
    # A comparison with NaN is false, so a side without numbers never wins; ties stay with the earlier point.
    lower = summary if summary.min < before.min or math.isnan(before.min) else before
    higher = summary if summary.max > before.max or math.isnan(before.max) else before
    were, are = before.count - before.nan_count, len(numbers)
    means = [(were, before.mean), (are, summary.mean)]
    return replace(
        summary,
        count=before.count + count,
        nan_count=before.nan_count + nan_count,
        first=before.first,
        first_step=before.first_step,
        min=lower.min,
        min_step=lower.min_step,
        max=higher.max,
        max_step=higher.max_step,
        mean=sum(n * mean for n, mean in means if n) / (were + are) if were + are else math.nan,
    )


def _null(value: float | None) -> float | None:
    return None if value is not None and math.isnan(value) else value


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
