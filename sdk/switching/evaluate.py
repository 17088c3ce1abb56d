"""Score a registered version on labelled rows: a split of GLUE, or a file of the user's own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pointsman.registry.errors import Action, Advice, DataError, SettingsError

from ..core.arguments import as_list, short_repr
from ..core.read_settings import ReadSettings
from ..data import load_task_data
from ..data.loading import load_table_rows
from ..data.source import tell
from ..data.splits import Split
from ..engines.scoring import measure
from ..tasks import GLUE, Task, glue_task
from .switcher import Switcher


def evaluate(
    switcher: Switcher,
    ref: str,
    *,
    data: str | Path | None = None,
    task: str | None = None,
    split: str | None = None,
    text: Sequence[str] | str = (),
    label: str | None = None,
    reading: ReadSettings | Mapping[str, Any] | None = None,
    max_rows: int | None = None,
) -> dict[str, float]:
    """Score a registered version on labelled rows.

    Args:
        switcher: A Switcher on the version's base.
        ref: The version.
        data: A directory in the hub's or GLUE's own layout, ``sample``, or None for the hub; or a CSV, TSV, JSON lines
            or parquet file, all of whose rows are scored: the only kind for a task of your own.
        task: The task of GLUE to score it on; by default its own. ``ax`` has no training data: it scores adapters of
            mnli.
        split: The split of GLUE; by default the first that the task is evaluated on.
        text: The text columns of a file; by default those that the version was trained on.
        label: The label column of a file; by default the one that the version was trained on.
        reading: How a file is read, as for ``train``.
        max_rows: The number of rows to score on, the first ones; by default all.

    Returns:
        The task's metrics, and the mean ``loss``.

    Raises:
        TaskNotFoundError: GLUE has no such task.
        SettingsError: The version was trained for another task, or an argument does not fit its task or data.
        DataError: The split has no labels (those of GLUE's test splits are not published), or the file cannot be read
            or does not fit the task.

    Examples:
        >>> evaluate(model, "sst2", data="sample")
        {'accuracy': 0.91, 'loss': 0.24}
        >>> evaluate(model, "reviews", data="new-reviews.csv")
        {'accuracy': 0.87, 'f1': 0.62, 'matthews_correlation': 0.58, 'loss': 0.31}
    """
    trained = switcher.task(ref)
    in_file = trained.name not in GLUE or (data is not None and Path(data).is_file())
    if in_file:
        _check_whole(trained, data, task=task, split=split)
        rows = _own_rows(trained, str(data), text, label, ReadSettings.of(reading))
        scored = trained
    else:
        if text or label or reading:
            raise SettingsError("text, label and reading are for a file of your own; leave them out for GLUE's rows")
        scored, rows = _glue_rows(ref, trained, data, task=task, split=split)
    if max_rows is not None:
        rows = rows.head(max_rows)
    return measure(scored, switcher.logits(ref, rows.texts()), rows)


def _check_whole(trained: Task, data: str | Path | None, *, task: str | None, split: str | None) -> None:
    """Refuse what is no file, and what chooses among the rows of GLUE."""
    if task not in (None, trained.name) or split is not None:
        given = f"task {task!r}" if split is None else f"split {split!r}"
        raise SettingsError(f"task and split choose among the rows of GLUE, and a file is scored whole; found {given}")
    if data is None or not Path(data).is_file():
        columns = ", ".join([*trained.text, trained.label])
        found = "no data" if data is None else f"'{data}'"
        raise SettingsError(
            f"'{trained.name}' is a task of your own: it is scored on a file, with the columns {columns} or those that "
            f"text and label name; found {found}",
            advice=Advice(Action.SET_ARGUMENTS, {"data": None}),
        )


def _own_rows(trained: Task, path: str, text: Sequence[str] | str, label: str | None, reading: ReadSettings) -> Split:
    """All rows of a file."""
    columns = [text] if isinstance(text, str) else as_list(text)
    if columns is None or (columns and len(columns) != len(trained.text)):
        raise SettingsError(
            f"'{trained.name}' reads {len(trained.text)} text column{'s' * trained.is_pair} "
            f"({', '.join(trained.text)}), so text must name as many; found {short_repr(text)}"
        )
    named = replace(trained, text=tuple(columns) or trained.text, label=label or trained.label)
    data = load_table_rows(named, path, reading=reading)
    tell(data)
    return data.splits["rows"]


def _glue_rows(
    ref: str, trained: Task, data: str | Path | None, *, task: str | None, split: str | None
) -> tuple[Task, Split]:
    """A split of GLUE, and the task whose it is."""
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
    return scored, rows
