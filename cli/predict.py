"""registry predict: the predictions of an adapter for texts."""

import itertools
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from pointsman.registry import Registry
from pointsman.registry.errors import CompositionError
from pointsman.sdk.bases.places import place_of
from pointsman.sdk.core.composition import refs
from pointsman.sdk.core.plain import plain
from pointsman.sdk.switching.resolve.lookup import resolve
from pointsman.sdk.switching.resolve.resolved_ref import ResolvedRef

from .best import pinned
from .inputs import Row, RowsBeforeError, TextCommand, rows_of_arguments, rows_of_lines
from .options import base_option, device_option, json_option, precision_option
from .output import json_text, printable
from .runtime import open_registry, quiet_libraries

if TYPE_CHECKING:
    from pointsman.sdk import Prediction


@click.command("predict", cls=TextCommand, short_help="Predict with a version.")
@click.argument("ref")
@click.argument("texts", nargs=-1)
@click.option("--jsonl", is_flag=True, help="Standard input is JSON lines, whose texts may have line breaks.")
@click.option("--encoding", metavar="NAME", help="Encoding of standard input. [default: utf-8]")
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
    jsonl: bool,
    encoding: str | None,
    base: str | None,
    drop_layers: int,
    precision: str,
    device: str,
    as_json: bool,
) -> None:
    """Predict with version REF, or a composition as "average(a, b)": TEXTS as arguments, or lines on standard input.

    A task of sentence pairs takes two arguments for each pair, or lines with a tab between the texts, or JSON lines:
    each a list of two texts or an object with the task's columns. With --jsonl every line is JSON: a text, a list or an
    object. Each printed line has the label, its probability (or the score) and the text; parallel(a, b) has a label and
    a probability for each member. At a line that is no row, the answers to the lines before it are printed, and the
    error names it. A text that begins with a dash goes after --:

    \b
    registry predict reviews -- "-1 star"
    registry predict reviews --jsonl --json < rows.jsonl > answers.json
    """
    if texts and (jsonl or encoding is not None):
        option = "--jsonl" if jsonl else "--encoding"
        raise click.UsageError(f"{option} is for standard input, and the texts are arguments: omit it or them")
    registry = open_registry(context)
    resolved = _resolve(registry, ref)
    columns = next(iter(resolved.routes.values())).task.text
    first = next(iter(resolved.versions.values()))
    place = place_of(registry, first.base, base, of=first.ref)
    rows = (
        rows_of_arguments(texts, columns)
        if texts
        else rows_of_lines(sys.stdin, columns, encoding=encoding, jsonl=jsonl)
    )
    quiet_libraries()
    from pointsman.sdk import Switcher

    with Switcher(place, registry=registry, device=device, precision=precision) as switcher:
        composition = switcher.load(str(resolved.composition))
        answerable = RowsBeforeError(rows)
        printed, inputs = itertools.tee(answerable)  # buffers at most the rows that predict_stream reads ahead
        answers = zip(printed, switcher.predict_stream(composition, inputs, drop_layers=drop_layers), strict=True)
        try:
            if as_json:
                _print_json({"text": row, **_plain(answer)} for row, answer in answers)
            else:
                _print_lines(answers)
        except CompositionError:
            if answerable.error is None:  # else the rows are too few for a batchsplit because of it
                raise
    if answerable.error is not None:
        raise answerable.error


def _resolve(registry: Registry, ref: str) -> ResolvedRef:
    """Resolve the ref or composition before any model library is loaded."""
    composition = pinned(registry, ref)
    return resolve(composition, registry, registry.version(refs(composition)[0]).base)


def _print_lines(answers: Iterable[tuple[Row, "Prediction | tuple[Prediction, ...]"]]) -> None:
    for row, answer in answers:
        cells = (*_cells(answer), *row)
        line = "\t".join(printable(cell).replace("\n", "\\n") for cell in cells)  # one line a row
        click.echo(line, file=sys.stdout)  # not what click takes for it where its encoding is ASCII


def _cells(answer: "Prediction | tuple[Prediction, ...]") -> Iterator[str]:
    for prediction in answer if isinstance(answer, tuple) else (answer,):
        if prediction.label is not None:
            yield prediction.label
        yield f"{prediction.score:.4f}"


def _plain(answer: "Prediction | tuple[Prediction, ...]") -> dict[str, object]:
    if isinstance(answer, tuple):
        return {"answers": [plain(prediction) for prediction in answer]}
    return dict(plain(answer))


def _print_json(items: Iterable[object]) -> None:
    """One JSON array, printed as it comes."""
    opening = "["
    for item in items:
        click.echo(f"{opening}\n  {json_text(item)}", nl=False)
        opening = ","
    click.echo("[]" if opening == "[" else "\n]")
