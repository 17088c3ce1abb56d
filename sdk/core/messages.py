"""Messages of libraries that say nothing to our users, dropped for one thread."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_messages(logger: str, *, below: int) -> Iterator[None]:
    """Drop what a library logs in this thread.

    The verbosity of a library is one for the whole process, which may use the library itself.

    Args:
        logger: The name of the library's logger.
        below: The level, as ``logging`` numbers it, from which messages pass.

    Examples:
        >>> with without_messages("adapters.model_mixin", below=logging.ERROR):
        ...     model.train_adapter("slot0")
    """
    thread = threading.get_ident()

    def passes(record: logging.LogRecord) -> bool:
        return record.thread != thread or record.levelno >= below

    target = logging.getLogger(logger)
    target.addFilter(passes)
    try:
        yield
    finally:
        target.removeFilter(passes)
