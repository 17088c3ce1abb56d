"""registry tasks: GLUE's tasks."""

import click

from pointsman.sdk.tasks import GLUE, Task

from .options import json_option
from .output import emit_json
from .tables import table


@click.command("tasks", short_help="GLUE's tasks.")
@json_option
def command(as_json: bool) -> None:
    """List GLUE's tasks; 'registry train --help' says how to train on your own task."""
    if as_json:
        emit_json([task.to_dict() for task in GLUE.values()])
        return
    table(
        ["task", "text", "labels", "metrics", "about"],
        [
            (task.name, ", ".join(task.text), _labels(task), ", ".join(task.metrics), task.description)
            for task in GLUE.values()
        ],
    )


def _labels(task: Task) -> str:
    if task.bounds is None:
        return ", ".join(task.labels)
    return f"a score from {task.bounds[0]:g} to {task.bounds[1]:g}"
