"""registry predict: what an adapter says of some texts."""

import itertools
import json
import sys
from collections.abc import Iterable, Iterator

import click

from pointsman.registry.errors import SettingsError

from .options import device_option, json_option, open_registry, quiet_libraries
from .output import plain, printable


@click.command("predict")
@click.argument("ref")
@click.argument("texts", nargs=-1)
@click.option("--base", help="Where to load the base from, if not from where it was at training.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@device_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    ref: str,
    texts: tuple[str, ...],
    base: str | None,
    precision: str,
    device: str,
    as_json: bool,
) -> None:
    """Predict with version REF: TEXTS as arguments, or lines on standard input.

    For a task of pairs: arguments two by two; or lines with a tab between the two texts, or JSON lines, each a list of
    two or an object with the task's columns. Each line printed: label, its probability (or the score), text.
    """
    registry = open_registry(context)
    version = registry.version(ref)
    columns = tuple(version.task["text"])
    rows = _from_arguments(texts, columns) if texts else _from_lines(sys.stdin, columns)
    quiet_libraries()
    from pointsman.sdk import Switcher

    with Switcher(base or version.base.name, registry=registry, device=device, precision=precision) as switcher:
        switcher.load(version.ref)
        kept, asked = itertools.tee(rows)  # no further apart than what predict_stream takes at a time
        answers = zip(kept, switcher.predict_stream(version.ref, asked), strict=True)
        if as_json:
            _print_json({"text": list(row), **plain(answer)} for row, answer in answers)
            return
        for row, answer in answers:
            label = [] if answer.label is None else [answer.label]
            click.echo("\t".join(printable(cell) for cell in (*label, f"{answer.score:.4f}", *row)))


def _from_arguments(texts: tuple[str, ...], columns: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if len(texts) % len(columns):
        raise click.UsageError(
            f"this task takes pairs ({', '.join(columns)}), so texts come two by two; found {len(texts)}"
        )
    return (tuple(texts[i : i + len(columns)]) for i in range(0, len(texts), len(columns)))


def _from_lines(lines: Iterable[str], columns: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for index, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        yield (text,) if len(columns) == 1 else _pair(text, columns, index)


def _pair(line: str, columns: tuple[str, ...], number: int) -> tuple[str, ...]:
    if line.lstrip().startswith(("[", "{")):
        try:
            value = json.loads(line)
        except ValueError:
            value = None  # a text may well begin with a bracket
        if isinstance(value, dict) and all(isinstance(value.get(column), str) for column in columns):
            return tuple(value[column] for column in columns)
        if isinstance(value, list) and len(value) == len(columns) and all(isinstance(item, str) for item in value):
            return tuple(value)
    parts = tuple(line.split("\t"))
    if len(parts) != len(columns):
        raise SettingsError(
            f"line {number} is no pair ({', '.join(columns)}): write the two texts with a tab between, "
            f"or as JSON; found {line[:80]!r}"
        )
    return parts


def _print_json(items: Iterable[object]) -> None:
    """One JSON array, printed as it comes."""
    click.echo("[", nl=False)
    for index, item in enumerate(items):
        click.echo(("," if index else "") + "\n  " + json.dumps(item, ensure_ascii=False), nl=False)
    click.echo("\n]")
