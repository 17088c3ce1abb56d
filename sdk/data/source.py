"""Where the rows of a training come from, as the caller names it."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Self

from pointsman.registry.errors import SettingsError

from ..core.arguments import as_list, short_repr
from ..tasks import GLUE
from . import load_table_data, load_task_data
from .splits import TaskData


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Where the rows come from, as ``train`` is told."""

    data: str | None
    validation: str | None = None
    text: tuple[str, ...] = ()
    label: str = "label"

    @classmethod
    def of(cls, data: str | Path | None, validation: str | Path | None, text: Sequence[str] | str, label: str) -> Self:
        """Paths become absolute, so that the same files are meant whatever the directory is.

        Raises:
            SettingsError: What should be a path or a column is neither.
        """
        for what, path in (("data", data), ("validation", validation)):
            if not isinstance(path, str | PathLike | None):
                raise SettingsError(f"{what} has to be a path; found {short_repr(path)}")
        columns = [text] if isinstance(text, str) else as_list(text)
        if columns is None or not all(isinstance(column, str) for column in [*columns, label]):
            raise SettingsError(
                f"text and label have to name columns; found {short_repr(text)} and {short_repr(label)}"
            )
        return cls(
            data=data if data is None or data == "sample" else str(Path(data).absolute()),
            validation=None if validation is None else str(Path(validation).absolute()),
            text=tuple(columns),
            label=label,
        )

    def load(self, task: str) -> TaskData:
        """The rows of a task.

        Raises:
            DataError, SettingsError, TaskNotFoundError: They cannot be had, or are not what the task takes.
        """
        if task in GLUE and (self.text or self.validation or self.label != "label"):
            raise SettingsError(
                f"'{task}' is a task of GLUE: it takes no text columns, label column or validation file of yours; "
                "for a task of your own, choose another name"
            )
        if task in GLUE and not GLUE[task].trainable:
            other = GLUE[task].scored_with
            raise SettingsError(f"'{task}' has no training data: it is scored on {other}'s adapter; train '{other}'")
        if task in GLUE or self.data is None or self.data == "sample" or Path(self.data).is_dir():
            return load_task_data(task, self.data)  # an unknown task without a file of its own is refused there
        return load_table_data(
            task,
            Path(self.data),
            text=self.text or ("text",),
            label=self.label,
            validation=None if self.validation is None else Path(self.validation),
        )
