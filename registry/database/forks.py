"""Forks of this process: they wait until no transaction is open, and no connection crosses them.

Two processes on one connection to PostgreSQL read each other's answers. SQLite notes in each process which locks it
holds, and a fork copies the notes without the locks (sqlite.org/howtocorrupt.html, "Carrying an open database
connection across a fork"). So before a fork every pooled connection is closed; parent and child open new ones when
they need them. Processes that are started afresh (``subprocess``, the start method ``spawn``) are not concerned.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, Protocol
from weakref import WeakSet

from ..locks import SharedLock


class _Closable(Protocol):
    def close(self) -> None:
        """Close pooled connections; the next transaction opens new ones."""


_LOCK: Final = SharedLock()
"""Held shared in transactions, alone in a fork."""

_databases: Final["WeakSet[_Closable]"] = WeakSet()

_thread = threading.local()
"""``inside``: whether the thread is in a transaction; ``forking``: what releases the lock after its fork."""


def watch(database: _Closable) -> None:
    """Close a database's connections before each fork from now on."""
    _databases.add(database)


@contextmanager
def no_fork() -> Iterator[None]:
    """Let forks of other threads wait until the block ends. Blocks nest."""
    if getattr(_thread, "inside", False):  # a fork that waits for this thread must not hold it up
        yield
        return
    with _LOCK.shared():
        _thread.inside = True
        try:
            yield
        finally:
            _thread.inside = False


def _before() -> None:
    _thread.forking = ExitStack()  # each thread's own: another that forks must not release its lock
    if not getattr(_thread, "inside", False):  # else it would wait for itself; pointsman forks in no transaction
        _thread.forking.enter_context(_LOCK.alone())
    for database in list(_databases):
        database.close()


def _after() -> None:
    _thread.forking.close()


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
