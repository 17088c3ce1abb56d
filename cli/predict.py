"""registry predict: the predictions of an adapter for texts."""

import io
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TextIO

import click

from pointsman.registry import Registry
from pointsman.registry.errors import SettingsError
from pointsman.sdk.core.composition import parse, refs
from pointsman.sdk.switching.resolve.lookup import resolve
from pointsman.sdk.switching.resolve.resolved_ref import ResolvedRef

from .best import version_of
from .options import base_option, device_option, json_option, precision_option
from .output import json_text, plain, printable
from .runtime import open_registry, quiet_libraries

if TYPE_CHECKING:
    from pointsman.sdk import Prediction


@click.command("predict", short_help="Predict with a version.")
@click.argument("ref")
@click.argument("texts", nargs=-1)
@base_option
@click.option(
    "--drop-layers",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Skip the adapters of the lowest N layers (AdapterDrop).",
)
@precision_option
@device_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    ref: str,
    texts: tuple[str, ...],
    base: str | None,
    drop_layers: int,
    precision: str,
    device: str,
    as_json: bool,
) -> None:
    """Predict with version REF, or a composition as "average(a, b)": TEXTS as arguments, or lines on standard input.

    A task of sentence pairs takes two arguments for each pair, or lines with a tab between the texts, or JSON lines:
    each a list of two texts or an object with the task's columns. Each printed line has the label, its probability (or
    the score) and the text; parallel(a, b) has a label and a probability for each member.
    """
    registry = open_registry(context)
    resolved = _resolve(registry, ref)
    columns = next(iter(resolved.routes.values())).task.text
    stored = next(iter(resolved.versions.values())).base.name
    rows = _from_arguments(texts, columns) if texts else _from_lines(sys.stdin, columns)
    quiet_libraries()
    from pointsman.sdk import Switcher

    with Switcher(base or stored, registry=registry, device=device, precision=precision) as switcher:
        composition = switcher.load(str(resolved.composition))
        printed, inputs = itertools.tee(rows)  # buffers at most the rows that predict_stream reads ahead
        answers = zip(printed, switcher.predict_stream(composition, inputs, drop_layers=drop_layers), strict=True)
        if as_json:
            _print_json({"text": row, **_plain(answer)} for row, answer in answers)
            return
        for row, answer in answers:
            cells = (*_cells(answer), *row)
            click.echo("\t".join(printable(cell).replace("\n", "\\n") for cell in cells))  # one line a row


def _resolve(registry: Registry, ref: str) -> ResolvedRef:
    """Resolve the ref or composition before any model library is loaded."""
    composition = parse(ref)
    versions = [version_of(registry, member) for member in refs(composition)]
    return resolve(composition, registry, versions[0].base)


def _cells(answer: "Prediction | tuple[Prediction, ...]") -> Iterator[str]:
    for prediction in answer if isinstance(answer, tuple) else (answer,):
        if prediction.label is not None:
            yield prediction.label
        yield f"{prediction.score:.4f}"


def _plain(answer: "Prediction | tuple[Prediction, ...]") -> dict[str, object]:
    if isinstance(answer, tuple):
        return {"answers": [plain(prediction) for prediction in answer]}
    return dict(plain(answer))


def _from_arguments(texts: tuple[str, ...], columns: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if len(texts) % len(columns):
        raise click.UsageError(
            f"this task takes sentence pairs ({', '.join(columns)}): give two texts for each; found {len(texts)} texts"
        )
    for number, text in enumerate(texts, start=1):
        _check_unicode(text, f"text {number}")
    return (tuple(texts[i : i + len(columns)]) for i in range(0, len(texts), len(columns)))


def _from_lines(lines: TextIO, columns: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(lines, io.TextIOWrapper):
        lines.reconfigure(
            errors="surrogateescape"
        )  # so that a wrong byte is refused where the number of its line is known
    for index, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        row = (text,) if len(columns) == 1 else _pair(text, columns, index)
        for cell in row:
            _check_unicode(cell, f"line {index}")
        yield row


def _check_unicode(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SettingsError(f"{where} is not valid Unicode: {error}; write it in UTF-8") from error


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
            f"line {number} is not a pair ({', '.join(columns)}): write the two texts with a tab between, "
            f"or as JSON; found {line[:80]!r}"
        )
    return parts


def _print_json(items: Iterable[object]) -> None:
    """One JSON array, printed as it comes."""
    opening = "["
    for item in items:
        click.echo(f"{opening}\n  {json_text(item)}", nl=False)
        opening = ","
    click.echo("[]" if opening == "[" else "\n]")
