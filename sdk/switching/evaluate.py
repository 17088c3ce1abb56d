"""Score a registered version on a split of GLUE."""

from pathlib import Path

from pointsman.registry.errors import DataError, SettingsError

from ..data import load_task_data
from ..engines.scoring import measure
from ..tasks import glue_task
from .switcher import Switcher


def evaluate(
    switcher: Switcher,
    ref: str,
    *,
    data: str | Path | None = None,
    task: str | None = None,
    split: str | None = None,
    max_rows: int | None = None,
) -> dict[str, float]:
    """Score a registered version on a split of GLUE.

    Args:
        switcher: A Switcher on the version's base.
        ref: The version.
        data: A directory in the hub's or GLUE's own layout, ``sample``, or None for the hub.
        task: The task to score it on; by default its own. ``ax``, which has no training data, is scored on mnli's.
        split: The split; by default the first that the task is evaluated on.
        max_rows: Only the first so many rows.

    Returns:
        The task's metrics, and the mean ``loss``.

    Raises:
        TaskNotFoundError: GLUE has no such task.
        SettingsError: The version has learned something else than the task asks.
        DataError: The split has no labels: those of GLUE's test splits are not published.
    """
    learned = switcher.task(ref)
    asked = glue_task(task or learned.name)
    if learned.name not in (asked.name, asked.scored_with) or learned.labels != asked.labels:
        raise SettingsError(
            f"'{ref}' learned {learned.name}: it cannot be scored on {asked.name}, "
            f"which is scored on an adapter of {asked.scored_with or asked.name}"
        )
    name = split or asked.validation[0]
    rows = load_task_data(asked, data, splits=[name]).splits[name]
    if not rows.labelled:
        raise DataError(
            f"the split '{name}' of {asked.name} has no labels here, so there is nothing to score against: "
            "predict it, and send the predictions to the benchmark's server"
        )
    if max_rows is not None:
        rows = rows.head(max_rows)
    return measure(asked, switcher.logits(ref, rows.texts()), rows)
