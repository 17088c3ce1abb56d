"""Runs: functions over an open transaction."""

import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ..database import tables as t
from ..database.bases import base_id
from ..database.clock import clock
from ..database.events import record
from ..errors import (
    Action,
    Advice,
    ConflictError,
    ReservedError,
    RunNotFoundError,
    SettingsError,
    unknown,
)
from ..metrics import cutting
from ..records import Base, Origin, Run, RunStatus
from ..refs import Ref
from . import liveness
from .checks import check_fields
from .listing import SILENCE, newest_of, records

_UID_PREFIX: Final = re.compile(r"[0-9a-f]{1,12}")

# A range instead of LIKE, so that the index of uids answers it.
_BY_UID_PREFIX: Final = (
    sa.select(t.run.c.id, t.run.c.uid)
    .where(t.run.c.uid >= sa.bindparam("uid"), t.run.c.uid < sa.bindparam("after"))
    .order_by(t.run.c.uid)
    .limit(20)
)

# Built once: every flush of a recorder executes it.
_FENCE: Final = sa.select(t.run.c.fence).where(t.run.c.id == sa.bindparam("run"))


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
    origin: Origin | None = None,
) -> int:
    """Insert a run, and return the id of its row.

    Raises:
        InvalidNameError, SettingsError: As ``check_fields``.
    """
    check_fields(
        adapter=adapter,
        task=task,
        method=method,
        settings=settings,
        data=data,
        environment=environment,
        seed=seed,
        error=error,
        times=(started_at, heartbeat_at) if ended_at is None else (started_at, ended_at, heartbeat_at),
        origin=origin,
    )
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
            origin_kind=None if origin is None else origin.kind,
            origin_name=None if origin is None else origin.name,
            origin_item=None if origin is None else origin.item,
            origin_details=None if origin is None else dict(origin.details),
        )
        .returning(t.run.c.id)
    ).scalar_one()
    return row


def reserve(connection: sa.Connection, origin: Origin, if_newest: str | None) -> datetime | None:
    """Check that the newest run of an origin is ``if_newest``, before the caller inserts the next one.

    A compare-and-swap: the caller holds the write lock, so of several processes that read the same newest run, one
    succeeds.

    Args:
        connection: A transaction that writes.
        origin: The run's origin.
        if_newest: The uid of the run that must be the newest one; None if the origin must have no run.

    Returns:
        When the newest run was started, which the next one must not precede; None if there is none.

    Raises:
        ReservedError: Another run is the newest one.
    """
    newest = newest_of(connection, origin)
    uid = None if newest is None else newest.uid
    if uid != if_newest:
        newest_text = "it has no run" if uid is None else f"its newest run is {uid}"
        expected = "none" if if_newest is None else if_newest
        raise ReservedError(
            f"the {origin} is reserved by another process: {newest_text}, expected was {expected}; take the next one"
        )
    return None if newest is None else newest.started_at


def process(connection: sa.Connection, run: int) -> Any:
    """Return the description of the process that records a run (``liveness.this_process``); None in older runs."""
    environment = connection.scalar(sa.select(t.run.c.environment).where(t.run.c.id == run))
    return None if environment is None else environment.get(liveness.KEY)


def check_resumable(connection: sa.Connection, uid: str) -> tuple[int, Run]:
    """Return the id and the record of a run that can be resumed.

    Args:
        connection: A transaction.
        uid: The run's uid, or its first digits.

    Raises:
        RunNotFoundError: No run has that uid, or several begin so.
        ConflictError: The run has finished, was pruned, has made a version, is still running, or is a server's.
    """
    row = run_id(connection, uid)
    (run,) = records(connection, where=[t.run.c.id == row])
    if run.served is not None:
        raise ConflictError(f"run {run.uid} is what a server recorded of {run.served}, and no training")
    another = Advice(Action.TRAIN_LIKE, {"ref": f"run:{run.uid}"})
    if run.version is not None:
        raise ConflictError(f"run {run.uid} has made {run.version} and cannot be resumed", advice=another)
    if run.status == RunStatus.FINISHED:
        raise ConflictError(f"run {run.uid} has finished and cannot be resumed", advice=another)
    if run.status == RunStatus.PRUNED:
        raise ConflictError(f"run {run.uid} was pruned and cannot be resumed", advice=another)
    if stored_status(connection, row) == RunStatus.RUNNING:
        _refuse_living(run, process(connection, row))
    return row, run


def resume(connection: sa.Connection, uid: str, last_step: int) -> str:
    """Make this process the one that records a run, cut its history after ``last_step``, and return the whole uid.

    Raises:
        RunNotFoundError, ConflictError: As ``check_resumable``.
        SettingsError: ``last_step`` is below -1, or does not fit 64 bits.
    """
    if not -1 <= last_step < 2**63:
        raise SettingsError(f"last_step {last_step} is not valid: it must be a step, or -1 to start over")
    row, run = check_resumable(connection, uid)
    environment = connection.scalar(sa.select(t.run.c.environment).where(t.run.c.id == row)) or {}
    cutting.cut(connection, row, last_step)
    connection.execute(
        t.run.update()
        .where(t.run.c.id == row)
        .values(
            status=RunStatus.RUNNING,
            error=None,
            ended_at=None,
            heartbeat_at=clock(connection),
            fence=t.run.c.fence + 1,
            environment={**environment, liveness.KEY: liveness.this_process()},
        )
    )
    record(connection, "resume", Ref(run.adapter), {"run": run.uid, "step": last_step})
    return run.uid


def _refuse_living(run: Run, recorded: Any) -> None:
    """Raise ConflictError if the process of a run that has not ended is alive, or may be."""
    alive = liveness.alive(recorded)
    if alive:
        # Also after a long silence: the process may be computing, or be stopped and continue later.
        pid = recorded["pid"]
        whose = "this process" if pid == os.getpid() else f"the process {pid} of this machine"
        raise ConflictError(f"run {run.uid} is still running, in {whose}: wait for it or stop it")
    if alive is None and run.status == RunStatus.RUNNING:
        where = f" on {recorded['host']}" if isinstance(recorded, dict) else ""
        raise ConflictError(
            f"run {run.uid} is still running in another process{where}, according to its last heartbeat: wait for it "
            f"or stop it; a killed process is detected {SILENCE.seconds} seconds after its last heartbeat"
        )


def fence(connection: sa.Connection, run: int) -> int | None:
    """Return how often a run was taken up; None if it is gone."""
    return connection.scalar(_FENCE, {"run": run})


def beat(connection: sa.Connection, run: int, fence: int) -> bool:
    """Record a heartbeat of a run; return False if another process has taken it up."""
    mine = t.run.update().where(t.run.c.id == run, t.run.c.fence == fence)
    return connection.execute(mine.values(heartbeat_at=clock(connection))).rowcount == 1


def end(connection: sa.Connection, uid: str, status: RunStatus, error: str | None) -> None:
    """Record the end of a run."""
    ended = clock(connection)
    connection.execute(
        t.run.update().where(t.run.c.uid == uid).values(status=status, error=error, ended_at=ended, heartbeat_at=ended)
    )


def has_uid(connection: sa.Connection, uid: str) -> bool:
    """Whether there is a run with this whole uid."""
    return connection.scalar(sa.select(sa.true()).where(t.run.c.uid == uid)) is not None


def stored_status(connection: sa.Connection, run: int) -> RunStatus | None:
    """The status in a run's row, by its id: one that died without a word is running there; None if there is no run."""
    status = connection.scalar(sa.select(t.run.c.status).where(t.run.c.id == run))
    return None if status is None else RunStatus(status)


def run_id(connection: sa.Connection, uid: str) -> int:
    """Return the id of the run that has a uid, or whose uid alone begins so.

    Raises:
        RunNotFoundError: No run has that uid, or several begin so.
    """
    rows: Sequence[Any] = ()
    if _UID_PREFIX.fullmatch(uid):  # other text, such as a NUL, may be invalid in a statement
        rows = connection.execute(_BY_UID_PREFIX, {"uid": uid, "after": f"{uid}g"}).all()
    if len(rows) == 1:
        return int(rows[0].id)
    if rows:
        raise RunNotFoundError(f"run {uid!a} is ambiguous: {', '.join(row.uid for row in rows)}")
    uids = connection.scalars(sa.select(t.run.c.uid).order_by(t.run.c.id.desc()).limit(20))
    raise unknown(RunNotFoundError, "run", uid, uids, advice=Advice(Action.LIST_RUNS))
