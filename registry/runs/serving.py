"""Serving runs: what a server records of each version that it answers with, a minute at a time.

A serving run is a run of the origin ``serving``, whose name is the version's ref and whose item is the server. So an
index answers which servers a version was called on. The steps of its points are minutes since 1970: those of several
servers, and of one that was started again, are in order of time.
"""

import os
import secrets
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from ..database import tables as t
from ..database.clock import clock
from ..database.database import Database
from ..database.lists import select_numbers
from ..errors import SettingsError
from ..metrics.points import insert_points
from ..metrics.summaries import summaries
from ..records import SERVING, LoggedPoint, RunStatus
from ..refs import Ref, check_metric
from ..values import check_object
from . import liveness, runs
from .listing import SERVINGS

PREFIX: Final = "serving/"
"""What the names of a serving run's metrics begin with."""

MOST_WAITING: Final = 200_000
"""Points that wait for a database that cannot be written; the oldest are dropped to make room."""

_BATCH: Final = 100
"""Versions that are written in one transaction, so that nobody else waits long."""

_MINUTE: Final = 60

_r = t.run.c


class _Interval(NamedTuple):
    since: float
    until: float
    figures: dict[str, Mapping[str, float]]
    """By the version's ref."""

    @property
    def points(self) -> int:
        return sum(map(len, self.figures.values()))


class ServingRecorder:
    """Records what one server answers with: a serving run for each version, from its first figures on.

    Made by ``Registry.start_serving``. One thread uses it. What cannot be written stays, up to ``MOST_WAITING`` points,
    and goes with the next ``flush``.

    Examples:
        >>> recorder = registry.start_serving(settings={"precision": "fp32"})
        >>> recorder.log({"sst2@3": {"serving/requests": 120}}, since=now - 60, until=now)
        >>> recorder.flush()
        >>> recorder.finish()
    """

    def __init__(self, database: Database, *, settings: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
        self.server = secrets.token_hex(6)
        """The server's id: ``origin.item`` of its runs."""
        self._database = database
        self._settings = dict(check_object("settings", settings))
        self._environment = dict(check_object("environment", environment))
        self._waiting: deque[_Interval] = deque()
        self._runs: dict[str, int] = {}
        self.dropped = 0
        """Points that were dropped, since the database could not be written for long."""

    def check_writable(self) -> None:
        """Raise what a later write would raise.

        Raises:
            ReadOnlyError, BusyError: The database cannot be written.
        """
        self._database.check_writable()

    def log(self, figures: Mapping[str, Mapping[str, float]], *, since: float, until: float) -> None:
        """Take the figures of an interval, to be written by the next ``flush``.

        Args:
            figures: Values by the metric's name, by the version's ref, ``name@number``.
            since: When the interval began, in seconds since 1970-01-01 UTC.
            until: When it ended.

        Raises:
            InvalidNameError: A ref or the name of a metric breaks the rules; nothing was taken.
            SettingsError: A ref names no version by its number.
        """
        for ref, metrics in figures.items():
            if not isinstance(Ref.parse(ref).selector, int):
                raise SettingsError(f"'{ref}' may mean another version tomorrow: name the version by its number")
            for name in metrics:
                check_metric(name)
        self._waiting.append(_Interval(since, until, {ref: dict(metrics) for ref, metrics in figures.items()}))
        while len(self._waiting) > 1 and sum(interval.points for interval in self._waiting) > MOST_WAITING:
            self.dropped += self._waiting.popleft().points

    def flush(self) -> None:
        """Write what waits, and that the server is alive. A version that is not in the registry any more is left out.

        Raises:
            DatabaseError: It could not be written; nothing is lost, and it can be called again.
        """
        self._write_waiting()
        if self._runs:
            with self._database.writing_row() as connection:
                connection.execute(self._own(connection).values(heartbeat_at=clock(connection)))

    def finish(self) -> None:
        """Write what waits, and that the runs have ended.

        Raises:
            DatabaseError: As for ``flush``.
        """
        self._write_waiting()
        if not self._runs:
            return
        last = max(self._runs.values())
        with self._database.writing(
            lambda connection: runs.stored_status(connection, last) is RunStatus.FINISHED
        ) as connection:
            ended = clock(connection)
            connection.execute(
                self._own(connection).values(status=RunStatus.FINISHED, ended_at=ended, heartbeat_at=ended)
            )

    def _write_waiting(self) -> None:
        while refs := list(dict.fromkeys(ref for interval in self._waiting for ref in interval.figures)):
            batch = refs[:_BATCH]
            self._write(batch)
            for interval in self._waiting:
                for ref in batch:
                    interval.figures.pop(ref, None)
        self._waiting.clear()

    def _write(self, refs: Sequence[str]) -> None:
        """Write what waits of some versions, in one transaction."""
        started: dict[str, int] = {}
        uids: list[str] = []
        counts: dict[int, dict[str, int]] = {}

        def made(connection: sa.Connection) -> bool:
            if not all(runs.has_uid(connection, uid) for uid in uids):
                return False
            stored = {run: {each.key: each.count for each in summaries(connection, run)} for run in counts}
            return all(counts[run].items() <= stored[run].items() for run in counts)

        with self._database.writing(made) as connection:
            started = self._start(connection, [ref for ref in refs if ref not in self._runs], uids)
            for ref in refs:
                run = self._runs.get(ref) or started.get(ref)
                points = [
                    LoggedPoint(key, int(interval.until // _MINUTE), float(value), None, interval.until)
                    for interval in self._waiting
                    for key, value in interval.figures.get(ref, {}).items()
                ]
                if run is not None and points:
                    counts[run] = insert_points(connection, run, points)
        self._runs |= started

    def _start(self, connection: sa.Connection, refs: Iterable[str], uids: list[str]) -> dict[str, int]:
        """Start a run for each of some versions that are in the registry.

        Args:
            connection: A transaction that writes.
            refs: The versions.
            uids: Where the uids of the runs go.

        Returns:
            The ids of the runs' rows, by ref.
        """
        v, a = t.version.c, t.adapter.c
        named = [(ref.name, ref.selector) for ref in map(Ref.parse, refs)]
        if not named:
            return {}
        found = connection.execute(
            sa.select(a.name, v.number, v.task_name, v.method, v.base_id, v.digest)
            .join(t.adapter, v.adapter_id == a.id)
            .where(sa.tuple_(a.name, v.number).in_(named))
        ).all()
        present = clock(connection)
        began = min(present, datetime.fromtimestamp(min(interval.since for interval in self._waiting), UTC))
        process = liveness.this_process()
        by_ref = {}
        for version in found:
            ref = f"{version.name}@{version.number}"
            uids.append(secrets.token_hex(6))
            by_ref[ref] = connection.execute(
                t.run.insert()
                .values(
                    uid=uids[-1],
                    adapter_name=version.name,
                    task=version.task_name,
                    method=version.method,
                    base_id=version.base_id,
                    settings=self._settings,
                    data={},
                    environment={**self._environment, liveness.KEY: process},
                    seed=0,
                    status=RunStatus.RUNNING,
                    started_at=began,
                    heartbeat_at=present,
                    origin_kind=SERVING,
                    origin_name=ref,
                    origin_item=self.server,
                    origin_details={"digest": version.digest, "host": process["host"], "pid": os.getpid()},
                )
                .returning(_r.id)
            ).scalar_one()
        return by_ref

    def _own(self, connection: sa.Connection) -> sa.Update:
        return t.run.update().where(_r.id.in_(select_numbers(connection, self._runs.values())))


def run_ids(connection: sa.Connection, ref: str) -> list[int]:
    """The ids of the serving runs of a version, ``name@number``, the oldest first."""
    return list(
        connection.scalars(sa.select(_r.id).where(SERVINGS, _r.origin_name == ref).order_by(_r.started_at, _r.id))
    )
