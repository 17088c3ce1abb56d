"""The adapter that is active where a call names none: for a block, or for a thread.

A block, ``active``, belongs to the task that entered it: a thread's, or an asyncio task's, of which one thread runs
many at a time. What ``activate`` sets belongs to the thread, since a notebook runs every cell in the kernel's thread,
but with a context of its own: a context variable that a cell sets is lost in the next one, in ipykernel 7.0 always and
in 6.31 and 7.4 where the cell awaits.
"""

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from pointsman.registry.errors import SettingsError

from ..core.composition import Composition

_CELL: Final = "IPython.core.interactiveshell"
"""The module that runs a cell of a notebook, or a line of IPython."""

_LOOP: Final = "asyncio.events"
"""The module that runs the steps of a task."""


class Activation:
    """What is active on one Switcher, in each thread and task.

    Examples:
        >>> activation = Activation()
        >>> activation.set(Ref("sst2"))
        >>> with activation.block(Ref("cola")):
        ...     activation.current()
        Ref('cola')
    """

    def __init__(self) -> None:
        self._block: ContextVar[Composition | None] = ContextVar("active", default=None)
        self._thread = threading.local()

    def current(self) -> Composition:
        """What is active: the innermost block's, or else the thread's.

        Raises:
            SettingsError: Nothing is.
        """
        active: Composition | None = self._block.get() or getattr(self._thread, "active", None)
        if active is None:
            raise SettingsError(
                "no adapter is active in this thread: name one, predict('sst2', texts), or use active('sst2')"
            )
        return active

    @contextmanager
    def block(self, composition: Composition) -> Iterator[None]:
        """Make it active inside the block, for this task only."""
        token = self._block.set(composition)
        try:
            yield
        finally:
            try:
                self._block.reset(token)
            except ValueError as error:  # a fixture or an ExitStack that outlives its task
                raise SettingsError(
                    f"active('{composition}') was entered in another task or cell, and was active there alone: enter "
                    "and leave it in one"
                ) from error

    def check_settable(self) -> None:
        """Refuse what ``set`` cannot do here.

        Raises:
            SettingsError: A block is open, which would hide it; or other tasks of this thread would see it.
        """
        block = self._block.get()
        if block is not None:
            raise SettingsError(f"active('{block}') decides inside its block: leave it before activate")
        if _is_in_task():
            raise SettingsError(
                "activate holds for the whole thread, and other tasks run in this one: use active('sst2'), whose block "
                "holds for its own task"
            )

    def set(self, composition: Composition | None) -> None:
        """Make it active in this thread, outside blocks, until the next call; None: nothing is."""
        self._thread.active = composition


def _is_in_task() -> bool:
    """Whether an asyncio task calls, beside which others may run: any but the one that runs a cell."""
    # Not current_task alone: without a loop it raises, which takes as long as half a switch.
    if asyncio._get_running_loop() is None or asyncio.current_task() is None:
        return False
    frame = sys._getframe(1)
    # From here outwards to the step of the task: the cell's own frames, if a cell calls, come before it.
    while frame is not None and frame.f_globals.get("__name__") != _LOOP:
        if frame.f_globals.get("__name__") == _CELL:
            return False
        frame = frame.f_back  # type: ignore[assignment]
    return True
