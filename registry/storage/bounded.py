"""Calls of a file system of fsspec that end within a time limit, answered or not."""

import math
import os
import threading
from concurrent.futures import Future
from typing import Any, Final

from ..errors import SettingsError

TIMEOUT_VARIABLE: Final = "POINTSMAN_STORE_TIMEOUT"
DEFAULT_SECONDS: Final = 30.0

LONGEST_REMOVAL: Final = 30.0
"""Seconds: garbage collection counts on it that a removal which began has ended by then (``versions.contents``)."""


def timeout_seconds() -> float:
    """The seconds to wait for an answer of an object store: ``POINTSMAN_STORE_TIMEOUT``, or 30.

    Raises:
        SettingsError: The variable is not a number above 0.
    """
    text = os.environ.get(TIMEOUT_VARIABLE) or str(DEFAULT_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < 1e6:
        raise SettingsError(f"{TIMEOUT_VARIABLE} '{text[:80]}' is not valid: give a number of seconds above 0")
    return seconds


class BoundedCalls:
    """Calls of a file system that raise TimeoutError when no answer comes.

    The drivers have limits of their own, and try again when these are over: boto's defaults add up to minutes.

    Args:
        filesystem: Of fsspec.
        seconds: The limit of one call.
    """

    def __init__(self, filesystem: Any, seconds: float) -> None:
        self._filesystem = filesystem
        self.seconds = seconds

    def __call__(self, method: str, *arguments: Any, limit: float | None = None, **options: Any) -> Any:
        """Call a method of the file system by name.

        Args:
            method: Its name.
            *arguments: Its arguments.
            limit: Seconds, instead of the usual limit.
            **options: Its options.

        Raises:
            TimeoutError: It took longer.
            Exception: Whatever the driver raises.
        """
        limit = self.seconds if limit is None else limit
        if getattr(self._filesystem, "async_impl", False):
            import fsspec.asyn  # noqa: PLC0415 - only where a store is behind a URL

            # Cancelled when the time is over, so that it is not tried again behind our back.
            call = getattr(self._filesystem, f"_{method}")
            return fsspec.asyn.sync(self._filesystem.loop, call, *arguments, timeout=limit, **options)
        result: Future[Any] = Future()

        def run() -> None:
            try:
                result.set_result(getattr(self._filesystem, method)(*arguments, **options))
            except BaseException as error:
                result.set_exception(error)

        # A daemon, since it cannot be cancelled: it must not keep the process from ending.
        threading.Thread(target=run, name=f"store-{method}", daemon=True).start()
        return result.result(limit)
