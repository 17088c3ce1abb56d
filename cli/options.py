"""Options that several commands share, and the registry they open."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from pointsman.registry import Registry

json_option: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

device_option: Callable[[Any], Any] = click.option(
    "--device", default="cpu", show_default=True, help="Where to compute: cpu, cuda, cuda:1, mps."
)

precision_option: Callable[[Any], Any] = click.option(
    "--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True
)

base_option: Callable[[Any], Any] = click.option(
    "--base", help="Where to load the base from, if not from where it was at training."
)


def own_rows_options(command: Any) -> Any:
    """The options that say where the rows of a task of one's own are, beside ``--data``."""
    options: list[Callable[[Any], Any]] = [
        click.option("--text", multiple=True, metavar="COLUMN", help="Text column of your own file; twice for pairs."),
        click.option("--label", metavar="COLUMN", help="Label column of your own file. [default: label]"),
        click.option("--validation", type=click.Path(dir_okay=False), help="A file of validation rows of your own."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Moment(click.ParamType[datetime]):
    """A time: 2026-11-01, 2026-11-01T12:00 (on this machine's clock unless it names a zone), or 2h ago."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it, or say what cannot be read."""
        if isinstance(value, datetime):
            return value
        try:
            if ago := re.fullmatch(r"(\d{1,6}(?:\.\d+)?) ?([smhdw])(?: ago)?", value.strip()):
                return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!a} is no time: write 2026-11-01, 2026-11-01T12:00 or '2h ago'", param, ctx)


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
