"""A run being recorded: points are buffered, and written to the database every second."""

import logging
import math
import operator
import os
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

import sqlalchemy as sa

from ..database.database import Database
from ..errors import ConflictError, PointsmanError, PrunedError, SettingsError
from ..metrics.points import insert_points
from ..metrics.summaries import summaries
from ..records import LoggedPoint, RunStatus
from ..refs import check_metric
from . import runs

FLUSH_SECONDS: Final = 1.0
HEARTBEAT_SECONDS: Final = 10.0

MOST_OF_AN_ERROR: Final = 10_000
"""Characters of a message that are kept: some libraries print whole tensors."""

_log = logging.getLogger(__name__)


class RunRecorder:
    """Logs one run's metrics and says how it ended; used as a context manager.

    Made by ``Registry.start_run`` and ``Registry.resume_run``. Leaving the block normally records *finished*;
    PrunedError records *pruned* with its message; KeyboardInterrupt records *interrupted*; any other exception records
    *failed* with its message. What was logged before is kept in every case.

    A process that was taken for dead, on a machine that was asleep or cut off, may find that another has taken up its
    run. Then it can write nothing more: ``log``, ``flush`` and ``finish`` raise ConflictError. So they do in a process
    that was forked from this one, which leaves the run to its parent.
    """

    def __init__(self, database: Database, uid: str) -> None:
        self.uid = uid
        self._database = database
        self._pid = os.getpid()
        # Two locks: whoever logs never waits for whoever waits for the database.
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._points: list[LoggedPoint] = []
        self._checked: set[str] = set()
        self._ended = False
        with database.reading() as connection:
            self._run_id = runs.run_id(connection, uid)
            self._fence = runs.fence(connection, self._run_id) or 0
        self._lost: ConflictError | None = None
        self._stop = threading.Event()
        # Two threads: a long write must not make the run look dead.
        self._threads = [
            threading.Thread(target=work, name=f"run-{uid}", daemon=True) for work in (self._work, self._beat)
        ]
        for thread in self._threads:
            thread.start()

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: float | None = None) -> None:
        """Add one point to each of some metrics; returns at once.

        Args:
            metrics: Values by name; NaN and infinities are kept.
            step: The optimiser step they belong to, 0 or more.
            epoch: How many passes over the training rows that is.

        Raises:
            InvalidNameError: A metric's name breaks the rules; nothing was logged.
            SettingsError: The step is negative, or the run has ended.
            ConflictError: Another process has taken up the run, or this one was forked from the one that records it.
        """
        self._check_process()
        step = operator.index(step)
        if step < 0 or step >= 2**63:
            raise SettingsError(f"step {step} is not valid: it must be at least 0 and fit 64 bits")
        at = time.time()
        epoch = None if epoch is None or math.isnan(epoch) else float(epoch)
        points = [LoggedPoint(key, step, float(value), epoch, at) for key, value in metrics.items()]
        if not self._checked.issuperset(metrics):
            self._checked.update(map(check_metric, metrics))
        if self._lost is not None:
            raise self._lost
        with self._lock:
            if self._ended:
                raise SettingsError(f"run {self.uid} has ended: start another to log more")
            self._points += points

    def flush(self) -> None:
        """Write what is buffered now; when it returns, it is committed.

        Raises:
            DatabaseError: It could not be written; nothing is lost, and it can be called again.
            ConflictError: As for ``log``.
        """
        self._check_process()
        self._write(always=True)

    def finish(self, status: RunStatus = RunStatus.FINISHED, error: str | None = None) -> None:
        """Write what is buffered and how the run ended. A second call does nothing.

        Raises:
            DatabaseError: It could not be written; nothing is lost, and it can be called again.
            ConflictError: As for ``log``.
        """
        self._check_process()
        # Messages quote file names, which need not be Unicode.
        text = None if error is None else error[:MOST_OF_AN_ERROR].encode(errors="backslashreplace").decode()
        with self._lock:
            if self._ended:
                return
            self._ended = True
        self._stop.set()
        for thread in self._threads:
            thread.join()
        try:
            self._write(status, text, always=True)
        except BaseException:
            self._ended = False
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pid != os.getpid():
            return  # a forked child that ends inside the block: the run goes on in its parent
        if error is None:
            self.finish()
        elif isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
            self.finish(RunStatus.INTERRUPTED)
        elif isinstance(error, PrunedError):
            self.finish(RunStatus.PRUNED, str(error) or type(error).__name__)
        else:
            self.finish(RunStatus.FAILED, str(error) or type(error).__name__)

    def _check_process(self) -> None:
        if self._pid != os.getpid():  # before any lock: a thread that is not in this process may hold it
            raise ConflictError(
                f"run {self.uid} is recorded by the process {self._pid}, from which this one was forked: log there, or "
                "start a run here"
            )

    def check_owned(self, connection: sa.Connection) -> None:
        """Check, in a transaction that writes for the run, that no other process has taken it up.

        Raises:
            ConflictError: Another process has, or this one was forked from the one that records it.
        """
        self._check_process()
        if runs.fence(connection, self._run_id) != self._fence:
            raise self._give_up()

    def _give_up(self) -> ConflictError:
        self._lost = ConflictError(f"run {self.uid} was taken up by another process, and goes on there: end this one")
        return self._lost

    def _write(self, end: RunStatus | None = None, error: str | None = None, *, always: bool = False) -> None:
        """Write the buffer, and how the run ended, in one transaction; if it fails, the buffer stays as it is."""
        counts: dict[str, int] = {}

        def made(connection: sa.Connection) -> bool:
            stored = {summary.key: summary.count for summary in summaries(connection, self._run_id)}
            return counts.items() <= stored.items() and end in (None, runs.stored_status(connection, self._run_id))

        with self._writing:
            with self._lock:
                points = self._points.copy()
            if not points and not always:
                return
            with self._database.writing(made) as connection:
                self.check_owned(connection)
                if points:
                    counts.update(insert_points(connection, self._run_id, points))
                if end is not None:
                    runs.end(connection, self.uid, end, error)
            with self._lock:
                del self._points[: len(points)]

    def _work(self) -> None:
        failing = False
        while not self._stop.wait(FLUSH_SECONDS):
            try:
                self._write()
            except PointsmanError as error:
                if self._lost is not None:
                    _log.error("metrics of run %s are lost: %s", self.uid, error)
                    return
                # The points stay in the buffer and go with the next flush; finish() raises if it never works.
                if not failing:
                    _log.warning(
                        "metrics of run %s cannot be written, and are kept until they can: %s", self.uid, error
                    )
                failing = True
            else:
                if failing:
                    _log.warning("metrics of run %s are written again", self.uid)
                failing = False

    def _beat(self) -> None:
        """Say from time to time that the run is alive, whatever the other thread writes or waits for."""
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                with self._database.writing_row() as connection:
                    if not runs.beat(connection, self._run_id, self._fence):
                        self._give_up()
                        return
            except PointsmanError as error:
                _log.debug("the heartbeat of run %s cannot be written: %s", self.uid, error)
