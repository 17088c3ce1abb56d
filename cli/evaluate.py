"""registry evaluate: score a version again, on the rows of another task, or on a file."""

from functools import partial
from typing import Any

import click

from pointsman.sdk.bases.places import place_of

from .best import version_of
from .options import base_option, device_option, json_option, reading_of, reading_options
from .output import emit_json
from .runtime import open_registry, quiet_libraries
from .summaries import print_metrics


@click.command("evaluate", short_help="Score a version on labelled rows.")
@click.argument("ref")
@click.option("--data", help="Directory with GLUE's data, 'sample', or your own file. [default: the hub]")
@click.option("--text", multiple=True, metavar="COLUMN", help="Text column of your own file. [default: as in training]")
@click.option("--label", metavar="COLUMN", help="Label column of your own file. [default: as in training]")
@partial(reading_options, but=("kind",))  # what labels are is the version's
@click.option("--task", help="Task to score it on, as in 'registry evaluate mnli --task ax'. [default: its own]")
@click.option("--split", help="Split to score it on. [default: the task's validation split]")
@click.option("--max-rows", type=click.IntRange(min=1), metavar="N", help="At most N rows, the first ones.")
@base_option
@device_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    ref: str,
    data: str | None,
    text: tuple[str, ...],
    label: str | None,
    task: str | None,
    split: str | None,
    max_rows: int | None,
    base: str | None,
    device: str,
    as_json: bool,
    **reading: Any,
) -> None:
    """Score version REF on a labelled split of GLUE, or on all rows of a file of your own.

    \b
    registry evaluate sst2@best --data glue/
    registry evaluate reviews --data new-reviews.csv
    """
    registry = open_registry(context)
    version = version_of(registry, ref)
    quiet_libraries()
    from pointsman.sdk import Switcher, evaluate

    place = place_of(registry, version.base, base, of=version.ref)
    with Switcher(place, registry=registry, device=device) as switcher:
        rows = {"data": data, "task": task, "split": split, "text": text, "label": label, **reading_of(reading)}
        metrics = evaluate(switcher, version.ref, max_rows=max_rows, **rows)
    if as_json:
        emit_json({"ref": version.ref, "task": task or version.task["name"], "metrics": metrics})
        return
    print_metrics(metrics, version.task)
