"""What a run is measured by: recorded when it begins, so that it is resumed with the same metrics, whatever a release
chooses by itself."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pointsman.registry import Run

from ..data.splits import TaskData
from ..tasks import GLUE, Task

_FIELDS: Final = ("metrics", "primary", "positive")
"""The fields of a task that say how it is measured."""


def measures(task: Task) -> dict[str, Any]:
    """The metrics, the primary one and the positive class of a task, as JSON; a run is recorded with them."""
    values = task.to_dict()
    return {name: values[name] for name in _FIELDS}


def measured_as(data: TaskData, run: Run) -> TaskData:
    """The same rows, measured as a recorded run measured them.

    Args:
        data: The rows of the run, measured as its request is today.
        run: The run, of this or an older release.

    Raises:
        SettingsError: What was recorded does not fit the task, or is of a newer release.

    Examples:
        >>> measured_as(request.source.load(run.task), run).task.positive
        'fraud'
    """
    recorded = run.data.get("measured")
    if not isinstance(recorded, Mapping):
        return data.of_task(_as_older_releases(data.task, run))
    chosen = {name: recorded[name] for name in _FIELDS if name in recorded}
    return data.of_task(Task.from_dict({**data.task.to_dict(), **chosen}))


def _as_older_releases(task: Task, run: Run) -> Task:
    """A task as releases measured it that did not record it."""
    if task.name in GLUE:
        return task
    if task.is_regression and "target" not in run.data:
        # They learned scores in their unit, and their errors were squared.
        return replace(task, metrics=tuple("mse" if name == "mae" else name for name in task.metrics))
    if "positive" not in run.data["given"]:
        return replace(task, positive=None)  # F1 was always of the second class
    return task
