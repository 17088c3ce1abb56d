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
        self._sharers: set[object] = set()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold it together with other sharers."""
        sharer = object()
        try:
            with self._turn, self._changed:
                self._sharers.add(sharer)
            yield
        finally:
            try:
                self._leave(sharer)
            except BaseException:  # an interrupt just then: the others would wait for ever
                self._leave(sharer)
                raise

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold it while no other thread does."""
        with self._turn:
            with self._changed:
                self._changed.wait_for(lambda: not self._sharers)
            yield

    def _leave(self, sharer: object) -> None:
        with self._changed:
            self._sharers.discard(sharer)
            self._changed.notify_all()
