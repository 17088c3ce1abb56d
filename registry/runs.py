"""Runs: functions over an open transaction."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from . import tables as t
from .bases import base_columns, base_id, base_record
from .errors import RunNotFoundError, unknown
from .events import now
from .records import Base, Run, RunStatus

SILENCE: Final = timedelta(seconds=60)
"""A running run that has not been heard of for so long counts as interrupted; so does one whose last word is as far in
the future, as it is after a clock was set back: a run that lives says something every ten seconds."""

_BEGINNING: Final = re.compile(r"[0-9a-f]{1,12}")

# A range, which the index of uids answers.
_OF_UID: Final = (
    sa.select(t.run.c.id, t.run.c.uid)
    .where(t.run.c.uid >= sa.bindparam("uid"), t.run.c.uid < sa.bindparam("after"))
    .order_by(t.run.c.uid)
    .limit(20)
)


def insert(
    connection: sa.Connection,
    *,
    uid: str,
    adapter: str,
    task: str,
    method: str,
    base: Base,
    settings: Mapping[str, Any],
    data: Mapping[str, Any],
    environment: Mapping[str, Any],
    seed: int,
    status: RunStatus,
    error: str | None,
    started_at: datetime,
    ended_at: datetime | None,
    heartbeat_at: datetime,
) -> int:
    """Record a run, and return its row."""
    row: int = connection.execute(
        t.run.insert()
        .values(
            uid=uid,
            adapter_name=adapter,
            task=task,
            method=method,
            base_id=base_id(connection, base),
            settings=dict(settings),
            data=dict(data),
            environment=dict(environment),
            seed=seed,
            status=status,
            error=error,
            started_at=started_at,
            ended_at=ended_at,
            heartbeat_at=heartbeat_at,
        )
        .returning(t.run.c.id)
    ).scalar_one()
    return row


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
    connection: sa.Connection,
    *,
    where: Iterable[sa.ColumnElement[bool]] = (),
    limit: int | None = None,
    offset: int = 0,
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
        .offset(offset)
    )
    present = now()
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
                if row.status == RunStatus.RUNNING and abs(present - row.heartbeat_at) > SILENCE
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
    # Nothing that could not be one is for the database.
    found = connection.execute(_OF_UID, {"uid": uid, "after": f"{uid}g"}).all() if _BEGINNING.fullmatch(uid) else []
    if len(found) == 1:
        return int(found[0].id)
    if found:
        raise RunNotFoundError(f"run {uid!a} is ambiguous: {', '.join(row.uid for row in found)}")
    uids = connection.scalars(sa.select(t.run.c.uid).order_by(t.run.c.id.desc()).limit(20))
    raise unknown(RunNotFoundError, "run", uid, uids, "see 'registry runs'")
