"""Whether a transaction was committed whose commit a server did not answer.

A server that is stopped, or a network that fails, may cut a connection after the commit and before its answer. Taken
for a failure, the change would be made again by whoever tries again. The number of the transaction does not tell: after
a crash, PostgreSQL gives numbers anew that it had given to transactions which left no trace. So the rows are looked at.
"""

import time
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

Made = Callable[[sa.Connection], bool]
"""Whether the rows that a transaction wrote are there; called in a transaction that holds the write lock."""

_PAUSE: Final = 0.1
"""Seconds between two questions."""


def was_made(connect: Callable[[], sa.Connection], made: Made, seconds: float) -> bool | None:
    """Ask whether a change was made, once its transaction can no longer be open: until then it holds the write lock.

    Args:
        connect: Opens another connection, whose transactions hold the write lock.
        made: The question.
        seconds: How long to wait for a server that cannot be reached, as one that is restarted.

    Returns:
        Whether it was made; None if the server did not say in time.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            with connect() as connection, connection.begin():
                return made(connection)
        except sa.exc.OperationalError:  # it starts, or cannot be reached
            if time.monotonic() >= until:
                return None
        time.sleep(_PAUSE)
