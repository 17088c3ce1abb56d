"""The source of a task's rows, as the caller names it."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Self

from pointsman.registry.errors import SettingsError

from ..core.arguments import as_list, short_repr
from ..tasks import GLUE
from .loading import load_table_data, load_task_data
from .splits import TaskData


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """The source of a task's rows, with absolute paths.

    Examples:
        >>> DataSource.of("reviews.csv", None, "body", "stars").load("reviews").splits["train"]
    """

    data: str | None
    """A directory, a file, ``sample``, or None for the hub."""
    validation: str | None = None
    """A file of validation rows; None: hold out a part of ``data``."""
    text: tuple[str, ...] = ()
    """The one or two text columns of a task of the user's own; empty: ``text``."""
    label: str = "label"
    """The label column of a task of the user's own."""

    @classmethod
    def of(cls, data: str | Path | None, validation: str | Path | None, text: Sequence[str] | str, label: str) -> Self:
        """Check the arguments and make paths absolute, since a run may be resumed from another directory.

        Args:
            data: A directory, a file, ``sample``, or None for the hub.
            validation: A file of validation rows, or None.
            text: The text columns, or the only one.
            label: The label column.

        Raises:
            SettingsError: An argument is not a path, or not a column's name.
        """
        for argument, path in (("data", data), ("validation", validation)):
            if not isinstance(path, str | PathLike | None):
                raise SettingsError(f"{argument} must be a path; found {short_repr(path)}")
        columns = [text] if isinstance(text, str) else as_list(text)
        if columns is None or not all(isinstance(column, str) for column in [*columns, label]):
            raise SettingsError(f"text and label must name columns; found {short_repr(text)} and {short_repr(label)}")
        return cls(
            data=data if data is None or data == "sample" else str(Path(data).absolute()),
            validation=None if validation is None else str(Path(validation).absolute()),
            text=tuple(columns),
            label=label,
        )

    def load(self, task: str) -> TaskData:
        """Load the rows of a task.

        Raises:
            DataError: The rows are unavailable, or do not fit the task.
            SettingsError: The source has options that the task does not take, or the task has no training rows.
            TaskNotFoundError: The task is unknown, and the source is not a file.
        """
        if task in GLUE and (self.text or self.validation or self.label != "label"):
            raise SettingsError(
                f"'{task}' is a task of GLUE: its text columns, label column and validation file are fixed; "
                "for a task of your own, choose another name"
            )
        if task in GLUE and not GLUE[task].trainable:
            other = GLUE[task].scored_with
            raise SettingsError(f"'{task}' has no training rows, and is scored with {other}'s adapter; train '{other}'")
        if task in GLUE or self.data is None or self.data == "sample" or Path(self.data).is_dir():
            return load_task_data(task, self.data)  # refuses an unknown task
        return load_table_data(
            task,
            Path(self.data),
            text=self.text or ("text",),
            label=self.label,
            validation=None if self.validation is None else Path(self.validation),
        )
