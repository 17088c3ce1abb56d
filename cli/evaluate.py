"""registry evaluate: score a version again, or on the rows of another task."""

import click

from .options import base_option, device_option, json_option
from .output import emit_json
from .runtime import open_registry, quiet_libraries
from .summaries import print_metrics


@click.command("evaluate", short_help="Score a version on a labelled split of GLUE.")
@click.argument("ref")
@click.option("--data", help="Directory with GLUE's data, or 'sample'. [default: the hub]")
@click.option("--task", help="Task to score it on, as in 'registry evaluate mnli --task ax'. [default: its own]")
@click.option("--split", help="Split to score it on. [default: the task's validation split]")
@click.option("--max-rows", type=click.IntRange(min=1), metavar="N", help="At most N rows, the first ones.")
@base_option
@device_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    ref: str,
    data: str | None,
    task: str | None,
    split: str | None,
    max_rows: int | None,
    base: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Score version REF on a labelled split of GLUE."""
    registry = open_registry(context)
    version = registry.version(ref)
    quiet_libraries()
    from pointsman.sdk import Switcher, evaluate

    with Switcher(base or version.base.name, registry=registry, device=device) as switcher:
        metrics = evaluate(switcher, version.ref, data=data, task=task, split=split, max_rows=max_rows)
    if as_json:
        emit_json({"ref": version.ref, "task": task or version.task["name"], "metrics": metrics})
        return
    print_metrics(metrics)
