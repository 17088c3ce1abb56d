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
        task: The task to score it on; by default its own. ``ax`` has no training data: it scores adapters of mnli.
        split: The split; by default the first that the task is evaluated on.
        max_rows: The number of rows to score on, the first ones; by default all.

    Returns:
        The task's metrics, and the mean ``loss``.

    Raises:
        TaskNotFoundError: GLUE has no such task.
        SettingsError: The version was trained for another task.
        DataError: The split has no labels: those of GLUE's test splits are not published.

    Examples:
        >>> evaluate(model, "sst2", data="sample")
        {'accuracy': 0.91, 'loss': 0.24}
    """
    trained = switcher.task(ref)
    scored = glue_task(task or trained.name)
    if trained.name not in (scored.name, scored.scored_with) or trained.labels != scored.labels:
        raise SettingsError(
            f"'{ref}' was trained for {trained.name} and cannot be scored on {scored.name}, "
            f"which needs an adapter of {scored.scored_with or scored.name}"
        )
    name = split or scored.validation[0]
    rows = load_task_data(scored, data, splits=[name]).splits[name]
    if not rows.labelled:
        raise DataError(
            f"the split '{name}' of {scored.name} has no labels to score against: "
            "predict it, and send the predictions to the benchmark's server"
        )
    if max_rows is not None:
        rows = rows.head(max_rows)
    return measure(scored, switcher.logits(ref, rows.texts()), rows)
