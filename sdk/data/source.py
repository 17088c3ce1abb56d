"""The source of a training's rows, as the caller names it."""

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
    """The source of a training's rows: the hub, a directory, a file, or the synthetic sample.

    Example:
        >>> DataSource.of("reviews.csv", None, "body", "stars").load("stars").splits.keys()
        dict_keys(['train', 'validation'])
    """

    data: str | None
    """None for the hub, ``sample``, or the absolute path of a directory or file."""
    validation: str | None = None
    """The absolute path of a file of validation rows; None: a part of the training rows."""
    text: tuple[str, ...] = ()
    """The text columns of a file; none: ``text``."""
    label: str = "label"
    """The label column of a file."""

    @classmethod
    def of(cls, data: str | Path | None, validation: str | Path | None, text: Sequence[str] | str, label: str) -> Self:
        """Check the arguments, and make paths absolute, so that they name the same files in every directory.

        Raises:
            SettingsError: An argument is neither a path nor a column's name, as it must be.
        """
        for what, path in (("data", data), ("validation", validation)):
            if not isinstance(path, str | PathLike | None):
                raise SettingsError(f"{what} must be a path; found {short_repr(path)}")
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
            DataError, SettingsError, TaskNotFoundError: They are unavailable, or do not fit the task.
        """
        if task in GLUE and (self.text or self.validation or self.label != "label"):
            raise SettingsError(
                f"'{task}' is a task of GLUE: its text columns, label column and validation file are fixed; "
                "for a task of your own, choose another name"
            )
        if task in GLUE and not GLUE[task].trainable:
            other = GLUE[task].scored_with
            raise SettingsError(f"'{task}' has no training data: it is scored on {other}'s adapter; train '{other}'")
        if task in GLUE or self.data is None or self.data == "sample" or Path(self.data).is_dir():
            return load_task_data(task, self.data)  # refuses an unknown task
        return load_table_data(
            task,
            Path(self.data),
            text=self.text or ("text",),
            label=self.label,
            validation=None if self.validation is None else Path(self.validation),
        )
