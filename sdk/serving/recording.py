"""Writes what a server counts into the registry, every so many seconds, in a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from pointsman.registry import ServingRecorder
from pointsman.registry.errors import BusyError, PointsmanError

from .figures import Figures

HEARTBEAT_SECONDS: Final = 60.0
"""How often the registry is told that the server is alive, at the least."""

_END_SECONDS: Final = 20.0
"""How long the end of a server waits for a database that another process writes."""

_log = logging.getLogger(__name__)


class Recording:
    """The serving runs of one server.

    What cannot be written is logged once, kept, and written later; answers never wait for it.

    Args:
        recorder: What writes.
        figures: What is counted.
        seconds: The length of an interval.
        clock: The present time, in seconds since 1970-01-01 UTC.

    Examples:
        >>> recording = Recording(registry.start_serving(settings={}), figures, seconds=60)
        >>> recording.start()
        >>> recording.close()
    """

    def __init__(
        self,
        recorder: ServingRecorder,
        figures: Figures,
        *,
        seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._recorder, self._figures, self._seconds, self._clock = recorder, figures, seconds, clock
        self._since = clock()
        self._failing = False
        self._dropped = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)

    def start(self) -> None:
        """Begin the first interval."""
        self._since = self._clock()
        self._thread.start()

    def close(self) -> None:
        """Write the last interval, and that the runs have ended."""
        self._stop.set()
        self._thread.join(_END_SECONDS)
        if self._thread.is_alive():
            _log.warning("the end of the serving runs could not be recorded within %.0f s", _END_SECONDS)

    def record(self) -> None:
        """End an interval, and write it with all that waits."""
        since, self._since = self._since, self._clock()
        figures = self._figures.take()

        def write() -> None:
            if figures:
                self._recorder.log(figures, since=since, until=self._since)
            self._recorder.flush()

        self._write(write)

    def _run(self) -> None:
        try:
            self._recorder.check_writable()
        except BusyError:
            pass  # for now
        except PointsmanError as error:
            _log.warning("what this server answers is not recorded: %s", error)
            self._figures.stop()
            return
        due = time.monotonic() + self._seconds
        while not self._stop.wait(max(0.0, min(due - time.monotonic(), HEARTBEAT_SECONDS))):
            if time.monotonic() < due:
                self._write(self._recorder.flush)
                continue
            due = max(due + self._seconds, time.monotonic())
            self.record()
        self.record()
        self._write(self._recorder.finish)

    def _write(self, write: Callable[[], None]) -> None:
        try:
            write()
        except Exception as error:  # whatever it is: answers and later intervals go on
            if not self._failing:
                _log.warning("what this server answers cannot be recorded, and is kept until it can: %s", error)
            self._failing = True
            return
        if self._failing:
            dropped = self._recorder.dropped - self._dropped
            _log.warning("what this server answers is recorded again; %s points were dropped", f"{dropped:,}")
        self._failing, self._dropped = False, self._recorder.dropped
