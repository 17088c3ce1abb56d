"""Outages of the registry's database: a training goes on, waits at its end, and says how to go on where it does end."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from pointsman.registry.errors import Action, Advice, BusyError, DatabaseError, StoreError

RETRY_SECONDS: Final = 5.0
"""Between two attempts."""

PATIENCE_SECONDS: Final = 300.0
"""How long the end of a training waits for the database."""

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


def wait_out(call: Callable[[], _T]) -> _T:
    """Call what writes to the database, again and again while the database cannot be reached.

    Raises:
        DatabaseError: It could not be reached for ``PATIENCE_SECONDS``, or something else is wrong with it.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    said = False
    while True:
        try:
            return call()
        except DatabaseError as error:
            # The subclasses say what has to be changed first: space, permission, the schema.
            if type(error) not in (DatabaseError, BusyError) or time.monotonic() >= until:
                raise
            if not said:
                _log.warning(
                    "the training has ended, and is registered as soon as the database can be written: %s", error
                )
                said = True
        time.sleep(min(RETRY_SECONDS, PATIENCE_SECONDS))


@contextmanager
def resume_advised() -> Iterator[Callable[[str], None]]:
    """Add to an error of the database or the store how the run goes on.

    Yields:
        A function to call with the run's uid once it has started.

    Raises:
        DatabaseError, StoreError: The same error, with advice.
    """
    started: list[str] = []
    try:
        yield started.append
    except (DatabaseError, StoreError) as error:
        if not started or error.advice is not None:
            raise
        text = f"{error}; the run {started[0]} is kept, and goes on from its last checkpoint when it is resumed"
        raise type(error)(text, advice=Advice(Action.RESUME, {"run": started[0]})) from error
