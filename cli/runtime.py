"""What a command opens before it works: the registry, and the model libraries with their own messages off."""

import click

from pointsman.registry import Registry


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
    """Keep the libraries' own messages and progress bars off the terminal; imports them, which takes seconds."""
    import logging
    import warnings

    import datasets
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    datasets.disable_progress_bars()
    logging.getLogger("adapters").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"torch|transformers|adapters|accelerate")
