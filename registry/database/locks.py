"""A lock that many threads share or one thread holds alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SharedLock:
    """A lock for many readers or one writer.

    Every thread queues for its turn, shared or alone, so none waits for ever. Not reentrant: a thread that holds it
    must not acquire it again.

    Examples:
        >>> lock = SharedLock()
        >>> with lock.shared():
        ...     read()
        >>> with lock.alone():
        ...     write()
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        """Held by the thread that holds the lock alone or is next to, and for a moment by each new sharer."""
        self._changed = threading.Condition()
        self._sharing = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold it together with other sharers."""
        with self._turn, self._changed:
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold it while no other thread does."""
        with self._turn:
            with self._changed:
                self._changed.wait_for(lambda: not self._sharing)
            yield
