"""Options and option types that several commands share."""

import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

json_option: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

device_option: Callable[[Any], Any] = click.option(
    "--device", default="cpu", show_default=True, help="Device to compute on: cpu, cuda, cuda:1, mps."
)

precision_option: Callable[[Any], Any] = click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "int8"]),
    default="fp32",
    show_default=True,
    help="Precision of the forward pass; bf16 and int8 are faster on processors that have them.",
)

base_option: Callable[[Any], Any] = click.option(
    "--base", help="Where to load the base from. [default: where it was at training]"
)

host_option: Callable[[Any], Any] = click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address; one that other machines reach needs --token-file.",
)

token_file_option: Callable[[Any], Any] = click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Answer only callers with a token; FILE has a line 'ROLE SHA256' for each.",
)

access_log_option: Callable[[Any], Any] = click.option(
    "--access-log", "logs_calls", is_flag=True, help="Print one line of JSON a call."
)


def port_option(default: int) -> Callable[[Any], Any]:
    """The option for the port that a command listens on."""
    return click.option(
        "--port", type=click.IntRange(0, 65535), default=default, show_default=True, help="Port; 0 chooses a free one."
    )


_READING: Final[dict[str, Callable[[Any], Any]]] = {
    "quoting": click.option(
        "--quoting",
        type=click.Choice(["auto", "csv", "none"]),
        help="Quotes in CSV and TSV: csv encloses fields, none is text. [default: auto]",
    ),
    "delimiter": click.option(
        "--delimiter", metavar="CHAR", help="Between fields; 'tab' for tabs. [default: a comma; in .tsv files a tab]"
    ),
    "encoding": click.option("--encoding", metavar="NAME", help="Encoding of text files. [default: utf-8]"),
    "skip_bad_rows": click.option(
        "--skip-bad-rows",
        type=click.IntRange(min=0),
        metavar="N",
        help="Leave out at most N bad rows of a file, and list each. [default: 0]",
    ),
    "kind": click.option(
        "--kind", type=click.Choice(["class", "score"]), help="What labels are. [default: by their values]"
    ),
}
"""Options by the field of ``ReadSettings``."""


def reading_options(command: Any, *, but: Collection[str] = ()) -> Any:
    """Add the options for how files of the user's own are read, ``but`` some; ``reading_of`` collects them."""
    for name, option in reversed(_READING.items()):
        command = command if name in but else option(command)
    return command


def reading_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of reading among the options that were typed, as the argument ``reading``; nothing without any."""
    typed = {name: given[name] for name in _READING if given.get(name) is not None}
    return {"reading": typed} if typed else {}


def with_reading(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were typed, with those of reading as the SDK's argument ``reading``."""
    return {**{name: value for name, value in given.items() if name not in _READING}, **reading_of(given)}


def own_rows_options(command: Any) -> Any:
    """Add the options that describe the user's own data files, beside ``--data``."""
    command = reading_options(command)
    options: list[Callable[[Any], Any]] = [
        click.option("--text", multiple=True, metavar="COLUMN", help="Text column of your own file; twice for pairs."),
        click.option("--label", metavar="COLUMN", help="Label column of your own file. [default: label]"),
        click.option("--validation", type=click.Path(dir_okay=False), help="Your own file of validation rows."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def metric_options(command: Any) -> Any:
    """Add the options for how a task is scored."""
    options: list[Callable[[Any], Any]] = [
        click.option(
            "--primary", metavar="METRIC", help="Metric that picks the best version, as f1. [default: the task's own]"
        ),
        click.option("--positive", metavar="LABEL", help="Class that F1 is of, in your own task. [default: the rarer]"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Moment(click.ParamType[datetime]):
    """A time: 2026-11-01, 2026-11-01T12:00 (on this machine's clock unless it names a zone), or 2h ago."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Parse a time, or fail with the accepted forms."""
        if isinstance(value, datetime):
            return value
        try:
            if ago := re.fullmatch(r"(\d{1,6}(?:\.\d+)?) ?([smhdw])(?: ago)?", value.strip()):
                return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!a} is not a time: write 2026-11-01, 2026-11-01T12:00 or '2h ago'", param, ctx)


class Weight(click.ParamType[float]):
    """The weight of an exponential smoothing: a number above 0 and below 1."""

    name = "weight"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse a weight, or fail with the accepted range."""
        try:
            weight = float(value)
        except ValueError:
            weight = 0.0
        if not 0 < weight < 1:  # also refuses NaN
            self.fail(f"{value!a} is not a weight: write a number above 0 and below 1, as 0.9", param, ctx)
        return weight
