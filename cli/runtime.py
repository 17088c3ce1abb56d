"""What a command opens before it works: the registry, and the model libraries with their own messages off."""

import logging
from typing import Final

import click

from pointsman.registry import Registry

from .output import note


def open_registry(context: click.Context, *, create: bool = False) -> Registry:
    """The registry of this call, closed when the command ends.

    Args:
        context: The command's.
        create: The command stores something, so it may make the home that ``--home`` names. For any other, a home that
            does not exist is a mistake.
    """
    registry = Registry(context.obj, create=create or context.obj is None)
    context.call_on_close(registry.close)
    return registry


def quiet_libraries() -> None:
    """Keep the libraries' own messages off the terminal, and print what is read from files.

    Imports the libraries, which takes seconds.
    """
    import warnings

    import datasets
    import transformers

    from pointsman.sdk.data.source import LOG

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    datasets.disable_progress_bars()
    logging.getLogger("adapters").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"torch|transformers|adapters|accelerate")
    LOG.setLevel(logging.INFO)
    LOG.addHandler(_NOTES)


class _Notes(logging.Handler):
    """Prints what is logged as notes for the person at the terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


_NOTES: Final = _Notes()
"""One object, so that a second call adds no second handler."""
