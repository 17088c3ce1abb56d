"""What a command opens before it works: the registry, and the model libraries with their own messages off."""

import click

from pointsman.registry import Registry


def open_registry(context: click.Context) -> Registry:
    """The registry of this call, closed when the command ends."""
    registry = Registry(context.obj)
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
