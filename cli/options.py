"""Options that several commands share, and the registry they open."""

from collections.abc import Callable
from typing import Any

import click

from pointsman.registry import Registry

json_option: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

device_option: Callable[[Any], Any] = click.option(
    "--device", default="cpu", show_default=True, help="Where to compute: cpu, cuda, cuda:1, mps."
)

base_option: Callable[[Any], Any] = click.option(
    "--base", help="Where to load the base from, if not from where it was at training."
)


def open_registry(context: click.Context) -> Registry:
    """The registry of this call, closed when the command ends."""
    registry = Registry(context.obj)
    context.call_on_close(registry.close)
    return registry


def quiet_libraries() -> None:
    """Keep what libraries say of their own affairs off the terminal."""
    import logging
    import warnings

    import datasets
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    datasets.disable_progress_bars()
    logging.getLogger("adapters").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"torch|transformers|adapters|accelerate")
