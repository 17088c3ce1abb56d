"""Runs as records, newest first, with their present status: functions over an open transaction."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from ..database import tables as t
from ..database.bases import COLUMNS as BASE_COLUMNS
from ..database.bases import base_columns, base_record
from ..database.clock import clock
from ..database.lists import select_numbers
from ..database.refs import ref_column
from ..database.shape import Shape
from ..database.shape import damaged as damaged_row
from ..errors import DamagedRowError
from ..records import SERVING, Origin, Page, Run, RunStatus
from . import liveness

SILENCE: Final = timedelta(seconds=180)
"""A running run counts as interrupted after this long without a heartbeat, of which a living run writes one every ten
seconds, but may have to wait for the database for a minute (``BUSY_SECONDS``). The same holds for a heartbeat that is
this far in the future, after a clock was set back."""

_r = t.run.c
SERVINGS: Final = _r.origin_kind == SERVING
"""The condition on a run that it is a serving run."""
TRAININGS: Final = _r.origin_kind.is_distinct_from(SERVING)
"""The condition that it is none."""
_NEWEST_FIRST: Final = (_r.started_at.desc(), _r.id.desc())


def page(
    connection: sa.Connection,
    *,
    where: Sequence[sa.ColumnElement[bool]] = (),
    limit: int | None = None,
    offset: int = 0,
) -> Page[Run]:
    """Return a page of runs, newest first, and the number of all that match.

    Args:
        connection: A transaction.
        where: Conditions over the table ``run`` only.
        limit: At most this many.
        offset: The number of runs to leave out first.
    """
    total = connection.scalar(sa.select(sa.func.count()).select_from(t.run).where(*where)) or 0
    damaged: list[str] = []
    runs = records(connection, where=where, limit=limit, offset=offset, damaged=damaged) if offset < total else []
    return Page(tuple(runs), total, offset, tuple(damaged))


def records(
    connection: sa.Connection,
    *,
    where: Iterable[sa.ColumnElement[bool]] = (),
    limit: int | None = None,
    offset: int = 0,
    damaged: list[str] | None = None,
) -> list[Run]:
    """Return runs as records, newest first.

    Args:
        connection: A transaction.
        where: Conditions over the table ``run`` only.
        limit: At most this many.
        offset: The number of runs to leave out first.
        damaged: Where the messages about rows that cannot be read go; if None, such a row is an error.

    Raises:
        DamagedRowError: A row cannot be read, and ``damaged`` is None.
    """
    # The ids first, so that nothing is joined to the runs before the page.
    page = sa.select(_r.id).where(*where).order_by(*_NEWEST_FIRST).limit(limit).offset(offset).subquery("page")
    query = (
        sa.select(t.run, *base_columns(), ref_column().label("version"))
        .join(page, _r.id == page.c.id)
        # An outer join, so that a run whose base is lost is told of, and not left out.
        .outerjoin(t.base, _r.base_id == t.base.c.id)
        .outerjoin(t.version, t.version.c.run_id == _r.id)
        .outerjoin(t.adapter, t.version.c.adapter_id == t.adapter.c.id)
        .order_by(*_NEWEST_FIRST)
    )
    present = clock(connection)
    found = []
    for row in connection.execute(query):
        try:
            _check(row)
        except DamagedRowError as error:
            if damaged is None:
                raise
            damaged.append(str(error))
        else:
            found.append(_record(row, present))
    return found


def newest_of(connection: sa.Connection, origin: Origin) -> Any:
    """Return the row (``uid``, ``started_at``) of the newest run of an origin; None if it has no run."""
    query = (
        sa.select(_r.uid, _r.started_at)
        .where(_r.origin_kind == origin.kind, _r.origin_name == origin.name, _r.origin_item == origin.item)
        .order_by(*_NEWEST_FIRST)
        .limit(1)
    )
    return connection.execute(query).first()


def status_column(connection: sa.Connection) -> sa.ColumnElement[str]:
    """Return the present status of a run, as an expression over the table ``run``.

    SQL cannot tell whether a process is alive, so this function checks the runs that are recorded as running, and the
    expression lists the ids of the dead ones.
    """
    present = clock(connection)
    running = connection.execute(
        sa.select(_r.id, _r.status, _r.heartbeat_at, _r.environment, t.version.c.id.label("version"))
        .outerjoin(t.version, t.version.c.run_id == _r.id)
        .where(_r.status == RunStatus.RUNNING)
    )
    by_status: dict[RunStatus, list[int]] = {}
    for row in running:
        by_status.setdefault(_status(row, present), []).append(row.id)
    dead = [
        (_r.id.in_(select_numbers(connection, ids)), sa.literal(status.value, sa.String))
        for status, ids in by_status.items()
        if status is not RunStatus.RUNNING
    ]
    return sa.case(*dead, else_=_r.status) if dead else _r.status


_SHAPE: Final = Shape(
    {**{column.name: column for column in _r}, **{f"base.{column.name}": column for column in BASE_COLUMNS}}
)
_STATUSES: Final = frozenset(RunStatus)


def _check(row: Any) -> None:
    """Refuse a row that is damaged."""
    _SHAPE.check(row, lambda row: f"run:{row.uid}")
    if row.status not in _STATUSES:
        raise damaged_row(f"run:{row.uid}", f"status {row.status!a} is unknown")


def _record(row: Any, present: datetime) -> Run:
    return Run(
        uid=row.uid,
        adapter=row.adapter_name,
        task=row.task,
        method=row.method,
        base=base_record(row),
        settings=row.settings,
        data=row.data,
        environment={name: value for name, value in row.environment.items() if name != liveness.KEY},
        seed=row.seed,
        status=_status(row, present),
        error=row.error,
        version=row.version,
        started_at=row.started_at,
        ended_at=row.ended_at,
        heartbeat_at=row.heartbeat_at,
        origin=_origin(row),
    )


def _origin(row: Any) -> Origin | None:
    if row.origin_kind is None:
        return None
    return Origin(
        kind=row.origin_kind,
        name=row.origin_name or "",
        item=row.origin_item or "",
        details=row.origin_details or {},
    )


def _status(row: Any, present: datetime) -> RunStatus:
    """The present status of a run: its row still says running if its process was killed."""
    if row.status == RunStatus.RUNNING and (
        row.heartbeat_at is None
        or abs(present - row.heartbeat_at) > SILENCE
        or liveness.alive(row.environment.get(liveness.KEY)) is False
    ):
        # A run with a version had finished: the version is its last step.
        return RunStatus.INTERRUPTED if row.version is None else RunStatus.FINISHED
    return RunStatus(row.status)
