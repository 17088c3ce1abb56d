"""The source of a task's rows, as the caller names it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from pointsman.registry.errors import SettingsError, unknown

from ..core.arguments import as_list, short_repr
from ..core.read_settings import ReadSettings
from ..tasks import GLUE
from .loading import load_table_data, load_task_data
from .splits import TaskData

LOG: Final = logging.getLogger(__name__)
"""Gets what is read from files of the user's own, and what was guessed, as INFO; rows left out as WARNING."""


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
    reading: ReadSettings = field(default_factory=ReadSettings)
    """How the files of a task of the user's own are read."""
    primary: str | None = None
    """The primary metric; None: the task's own."""
    positive: str | None = None
    """The class that F1 is of, in a task of the user's own with two classes; None: the rarer in the training rows."""

    @classmethod
    def of(
        cls,
        data: str | Path | None,
        validation: str | Path | None,
        text: Sequence[str] | str,
        label: str,
        reading: ReadSettings | Mapping[str, Any] | None = None,
        *,
        primary: str | None = None,
        positive: str | None = None,
    ) -> Self:
        """Check the arguments and make paths absolute, since a run may be resumed from another directory.

        Args:
            data: A directory, a file, ``sample``, or None for the hub.
            validation: A file of validation rows, or None.
            text: The text columns, or the only one.
            label: The label column.
            reading: How files are read, as settings or as some of their fields; None: the defaults.
            primary: The primary metric, or None.
            positive: The class that F1 is of, or None.

        Raises:
            SettingsError: An argument is not a path, not a name, or no setting of reading.
        """
        for argument, path in (("data", data), ("validation", validation)):
            if not isinstance(path, str | PathLike | None):
                raise SettingsError(f"{argument} must be a path; found {short_repr(path)}")
        columns = [text] if isinstance(text, str) else as_list(text)
        if columns is None or not all(isinstance(column, str) for column in [*columns, label]):
            raise SettingsError(f"text and label must name columns; found {short_repr(text)} and {short_repr(label)}")
        for argument, name in (("primary", primary), ("positive", positive)):
            if not isinstance(name, str | None):
                raise SettingsError(f"{argument} must be a name; found {short_repr(name)}")
        return cls(
            data=data if data is None or data == "sample" else str(Path(data).absolute()),
            validation=None if validation is None else str(Path(validation).absolute()),
            text=tuple(columns),
            label=label,
            reading=ReadSettings.of(reading),
            primary=primary,
            positive=positive,
        )

    @property
    def given(self) -> dict[str, Any]:
        """Every field as JSON, recorded so that a run can be resumed or repeated."""
        return {**asdict(self), "text": list(self.text)}

    @classmethod
    def of_given(cls, given: Mapping[str, Any]) -> Self:
        """Read what ``given`` returned, also that of an older or a newer release, or a stranger's.

        Raises:
            SettingsError: It is something else.
        """
        reading = given.get("reading", {}) if isinstance(given, Mapping) else None
        if not isinstance(reading, Mapping) or not given.keys() >= {"data", "validation", "text", "label"}:
            raise SettingsError(f"the run does not say where its rows came from; found {short_repr(given)}")
        return cls.of(
            data=given["data"],
            validation=given["validation"],
            text=given["text"],
            label=given["label"],
            reading=ReadSettings.from_dict(reading),
            primary=given.get("primary"),
            positive=given.get("positive"),
        )

    def load(self, task: str) -> TaskData:
        """Load the rows of a task.

        Raises:
            DataError: The rows are unavailable, or do not fit the task.
            SettingsError: The source has options that the task does not take, or the task has no training rows.
            TaskNotFoundError: The task is unknown, and the source is not a file.
        """
        if task in GLUE and self.positive is not None:
            raise SettingsError(
                f"'{task}' is a task of GLUE, whose F1 is of class 1; for a task of your own, choose another name"
            )
        data = self._load(task)
        if task in GLUE:
            return self._measured_glue(data)
        positive = self.positive
        if positive is None and len(data.task.labels) == 2:
            first, second = np.bincount(data.splits["train"].labels(), minlength=2)
            positive = data.task.labels[0 if first < second else 1]
        return data.of_task(data.task.measured_by(primary=self.primary, positive=positive))

    def _measured_glue(self, data: TaskData) -> TaskData:
        """GLUE's own metrics, of which another may be the primary one."""
        task = data.task
        if self.primary is None:
            return data
        if self.primary.removeprefix("eval/") not in task.metrics:
            raise unknown(SettingsError, f"metric of '{task.name}'", self.primary, task.metrics)
        return data.of_task(task.measured_by(primary=self.primary))

    def _load(self, task: str) -> TaskData:
        if task in GLUE and (self.text or self.validation or self.label != "label"):
            raise SettingsError(
                f"'{task}' is a task of GLUE: its text columns, label column and validation file are fixed; "
                "for a task of your own, choose another name"
            )
        from_file = task not in GLUE and self.data not in (None, "sample") and not Path(str(self.data)).is_dir()
        if self.reading != ReadSettings() and not from_file:
            raise SettingsError("settings of reading are for files of your own, and these rows come from none")
        if task in GLUE and not GLUE[task].trainable:
            other = GLUE[task].scored_with
            raise SettingsError(f"'{task}' has no training rows, and is scored with {other}'s adapter; train '{other}'")
        if not from_file:
            return load_task_data(task, self.data)  # refuses an unknown task
        data = load_table_data(
            task,
            Path(str(self.data)),
            text=self.text or ("text",),
            label=self.label,
            validation=None if self.validation is None else Path(self.validation),
            reading=self.reading,
        )
        tell(data)
        return data


def tell(data: TaskData) -> None:
    """Log what was read from files of the user's own, and each row that was left out."""
    for row in data.skipped:
        LOG.warning("left out: %s", row)
    for note in data.notes:
        LOG.info(note)
