"""A lock that many may share, or one may have alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SharedLock:
    """Many hold it shared at once; who wants it alone waits for them, and new ones wait for who waits.

    Nobody waits for ever: whoever comes queues for the turn, to share or alone. Not reentrant: a thread that holds it
    must not ask for it again.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        """Held by who has it alone, or waits for that, and by who begins to share for that moment."""
        self._changed = threading.Condition()
        self._sharing = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold it with others."""
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
        """Hold it while nobody else does."""
        with self._turn:
            with self._changed:
                self._changed.wait_for(lambda: not self._sharing)
            yield
