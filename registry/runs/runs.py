"""Runs: functions over an open transaction."""

import os
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ..database import tables as t
from ..database.bases import base_id
from ..database.events import now, record
from ..errors import (
    Action,
    Advice,
    ConflictError,
    InvalidNameError,
    ReservedError,
    RunNotFoundError,
    SettingsError,
    unknown,
)
from ..metrics import cutting
from ..records import Base, Origin, Run, RunStatus
from ..refs import Ref, check_length, check_name
from . import liveness
from .listing import SILENCE, newest_of, records

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
    origin: Origin | None = None,
) -> int:
    """Insert a run, and return the id of its row."""
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


def check_origin(origin: Origin) -> None:
    """Refuse an origin that cannot be stored.

    Raises:
        InvalidNameError: Its kind breaks the rule for names, or its name or item is empty or has characters that
            cannot be printed.
        SettingsError: One of them is too long.
    """
    check_length("the origin's kind", check_name(origin.kind, "origin kind"), 32)
    for what, text in (("name", origin.name), ("item", origin.item)):
        if not text.strip() or not text.isprintable():
            raise InvalidNameError(f"the origin's {what} {text[:80]!a} is not valid: use printable characters")
        check_length(f"the origin's {what}", text, 200)


def reserve(connection: sa.Connection, origin: Origin, if_newest: str | None) -> datetime | None:
    """Refuse to start a run of an origin unless its newest run is ``if_newest``; the caller inserts the run next.

    Compare-and-swap: the caller holds the write lock, so of several processes that saw the same newest run, one
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
        found = "it has no run" if uid is None else f"its newest run is {uid}"
        expected = "none" if if_newest is None else if_newest
        raise ReservedError(
            f"the {origin} is reserved by another process: {found}, expected was {expected}; take the next one"
        )
    return None if newest is None else newest.started_at


def process(connection: sa.Connection, run: int) -> Any:
    """Which process records the run, as ``liveness.this_process`` said there; None of a run of an older release."""
    environment = connection.scalar(sa.select(t.run.c.environment).where(t.run.c.id == run))
    return None if environment is None else environment.get(liveness.KEY)


def check_resumable(connection: sa.Connection, uid: str) -> tuple[int, Run]:
    """The run that begins so, with its row, if it can be taken up again.

    Raises:
        RunNotFoundError: There is none that begins so, or more than one.
        ConflictError: The run has finished, has made a version, or is running still.
    """
    row = run_id(connection, uid)
    (run,) = records(connection, where=[t.run.c.id == row])
    another = Advice(Action.TRAIN_LIKE, {"ref": f"run:{run.uid}"})
    if run.version is not None:
        raise ConflictError(f"run {run.uid} has made {run.version} and cannot be resumed", advice=another)
    if run.status == RunStatus.FINISHED:
        raise ConflictError(f"run {run.uid} has finished and cannot be resumed", advice=another)
    if run.status == RunStatus.PRUNED:
        raise ConflictError(f"run {run.uid} was pruned and cannot be resumed", advice=another)
    if connection.scalar(sa.select(t.run.c.status).where(t.run.c.id == row)) == RunStatus.RUNNING:
        _refuse_living(run, process(connection, row))
    return row, run


def resume(connection: sa.Connection, uid: str, last_step: int) -> str:
    """Have this process take up a run again, its history cut off after ``last_step``; returns the whole uid.

    Raises:
        RunNotFoundError, ConflictError: As ``check_resumable``.
        SettingsError: It is no step.
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
            heartbeat_at=now(),
            environment={**environment, liveness.KEY: liveness.this_process()},
        )
    )
    record(connection, "resume", Ref(run.adapter), {"run": run.uid, "step": last_step})
    return run.uid


def _refuse_living(run: Run, recorded: Any) -> None:
    """Raise ConflictError if a run that has not ended has a process that lives, or may live."""
    known = liveness.alive(recorded)
    if known:
        # However long it has been silent: it may compute, or be stopped and go on one day.
        pid = recorded["pid"]
        whose = "this process" if pid == os.getpid() else f"the process {pid} of this machine"
        raise ConflictError(f"run {run.uid} is running still, in {whose}: wait for it or stop it")
    if known is None and run.status == RunStatus.RUNNING:
        where = f" on {recorded['host']}" if isinstance(recorded, dict) else ""
        raise ConflictError(
            f"run {run.uid} is running still, in another process{where}, by what it last said: wait for it or stop it; "
            f"of one that was killed, that is known {SILENCE.seconds} seconds after its last word"
        )


def beat(connection: sa.Connection, uid: str) -> None:
    """Say that the run is alive."""
    connection.execute(t.run.update().where(t.run.c.uid == uid).values(heartbeat_at=now()))


def end(connection: sa.Connection, uid: str, status: RunStatus, error: str | None) -> None:
    """Say how the run ended."""
    ended = now()
    connection.execute(
        t.run.update().where(t.run.c.uid == uid).values(status=status, error=error, ended_at=ended, heartbeat_at=ended)
    )


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
    raise unknown(RunNotFoundError, "run", uid, uids, advice=Advice(Action.LIST_RUNS))
