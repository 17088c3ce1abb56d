"""The data of a task: splits of texts and labels, and the fingerprint of their content."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetInfo, Features, Value
from datasets.table import InMemoryTable
from numpy.typing import NDArray

from pointsman.registry.errors import DataError, SettingsError

from ..core.arguments import is_whole, short_repr
from ..tasks import Task, kind_of
from . import draws


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Rows of one task, in order, in memory.

    Raises:
        DataError: The columns are not the task's.

    Examples:
        >>> split = load_task_data("sst2", "sample").splits["train"]
        >>> split.texts()[0], split.labels()[0]
    """

    task: Task
    """The task whose columns these are."""
    dataset: Dataset
    """A Hugging Face data set of the task's text columns (string), then its label column.

    The label is a ClassLabel, -1 where it is missing; or float32 for a regression, NaN where it is missing.
    """

    def __post_init__(self) -> None:
        if self.dataset.column_names != [*self.task.text, self.task.label]:
            raise DataError(
                f"a split of {self.task.name} has the columns {[*self.task.text, self.task.label]}; "
                f"found {self.dataset.column_names}"
            )

    @classmethod
    def from_table(cls, task: Task, table: pa.Table) -> "Split":
        """Make a split of an Arrow table with the task's columns; class ids as any integer, scores as any float."""
        features = Features({name: Value("string") for name in task.text})
        features[task.label] = kind_of(task).feature(task)
        schema = pa.schema([(name, feature.pa_type) for name, feature in features.items()])
        plain = table.select(list(features)).cast(schema)
        # Without ours, the library would pickle the table to hash it.
        plain = plain.replace_schema_metadata(features.arrow_schema.metadata).combine_chunks()
        return cls(
            task=task,
            dataset=Dataset(InMemoryTable(plain), info=DatasetInfo(features=features), fingerprint=_digest(plain)[:16]),
        )

    def __len__(self) -> int:
        return int(self.dataset.num_rows)

    def texts(self) -> list[tuple[str, ...]]:
        """The texts of every row, one or two each."""
        return list(zip(*(self._table[name].to_pylist() for name in self.task.text), strict=True))

    def labels(self) -> NDArray[Any]:
        """Class ids as int64, or scores as float32, ``(rows,)``; -1 or NaN where the label is missing."""
        return np.asarray(self._table[self.task.label].to_numpy())

    @property
    def labelled(self) -> bool:
        """Whether every row has its label, so that the split can be learned from or scored."""
        labels = self.labels()
        return bool(len(labels)) and not bool(kind_of(self.task).is_missing(labels).any())

    def head(self, rows: int) -> "Split":
        """The first ``rows`` rows, or all where there are fewer.

        Raises:
            SettingsError: ``rows`` is below 1.
        """
        return self._take(np.arange(min(_at_least_one(rows), len(self))))

    def sample(self, rows: int, *, seed: int) -> "Split":
        """Draw ``rows`` rows, in the order drawn; where the split has at most as many, all rows in their own order.

        Every class that the split has is drawn. A smaller sample is the beginning of a larger one of the same seed, but
        for the rows that bring a class in which would have none.

        Raises:
            SettingsError: ``rows`` is below 1, or below the number of classes.
        """
        if _at_least_one(rows) >= len(self):
            return self
        counts = self.class_counts()
        if rows < len(counts):
            listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
            raise SettingsError(
                f"{rows} rows cannot have one of each of the {len(counts)} classes of '{self.task.name}' ({listed}); "
                f"give at least {len(counts)} (max_train_rows)"
            )
        labels = self.labels()
        return self._take(draws.sample(labels, rows=rows, seed=seed, every_class=bool(counts)))

    def class_counts(self) -> dict[str, int]:
        """The rows of each class that the split has, by name, in the order of the ids; none for a regression."""
        ids, counts = np.unique(self.labels(), return_counts=True)
        if not self.task.labels:
            return {}
        return {self.task.labels[label]: int(count) for label, count in zip(ids, counts, strict=True) if label >= 0}

    def rows_in(self, other: "Split") -> int:
        """Count the rows whose texts also stand in another split of the task, under whatever label."""
        columns = list(self.task.text)
        table = other._table.select(columns)
        # The first column leaves few rows to compare, of the hundreds of thousands that a split may have.
        candidates = table.filter(pc.is_in(table[columns[0]], value_set=self._table[columns[0]].combine_chunks()))
        known = set(zip(*(candidates[name].to_pylist() for name in columns), strict=True))
        return sum(texts in known for texts in self.texts())

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the texts and labels in order, independent of the file they came from."""
        return _digest(self._table)

    @cached_property
    def content(self) -> str:
        """sha256 of the texts and labels in order, with classes by their names, whatever their ids are."""
        if self.task.is_regression:
            return self.fingerprint
        labels = pa.array(self.task.labels).take(self._table[self.task.label].combine_chunks())
        return _digest(self._table.select(list(self.task.text)).append_column(self.task.label, labels))

    @property
    def _table(self) -> pa.Table:
        return self.dataset.data.table

    def _take(self, rows: NDArray[np.int64]) -> "Split":
        return Split.from_table(self.task, self._table.take(pa.array(rows)))


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskData:
    """A task with its data, as one training or evaluation uses it.

    Raises:
        DataError: A split belongs to another task, or no split is given.

    Examples:
        >>> load_task_data("sst2", "sample").splits.keys()
        dict_keys(['train', 'validation', 'test'])
    """

    task: Task
    """The task that is learned from it."""
    splits: Mapping[str, Split]
    """The rows by the name of their split: train, validation, test, as the task has them."""
    source: str
    """Where it comes from, in a few words for people."""
    notes: tuple[str, ...] = ()
    """What was read from files of the user's own, and what was guessed, a line each."""
    skipped: tuple[str, ...] = ()
    """The bad rows that were left out, each with its place and what is wrong with it."""

    def __post_init__(self) -> None:
        if not self.splits:
            raise DataError(f"the data of {self.task.name} has no split; give at least one")
        for name, split in self.splits.items():
            if split.task != self.task:
                raise DataError(f"split {name!r} is of task {split.task.name!r}, not of {self.task.name!r}")
        object.__setattr__(self, "splits", MappingProxyType(dict(self.splits)))

    def of_task(self, task: Task) -> "TaskData":
        """The same rows for a task with the same columns and labels, measured otherwise."""
        splits = {name: replace(split, task=task) for name, split in self.splits.items()}
        return replace(self, task=task, splits=splits)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the task's name, text columns and class names, and the rows of every split, in order.

        It is of content and not of files: the same rows have the same fingerprint in every layout.
        """
        head = [self.task.name, self.task.text, self.task.labels]
        rows = sorted((name, split.fingerprint) for name, split in self.splits.items())
        return hashlib.sha256(json.dumps([head, rows]).encode()).hexdigest()


def _at_least_one(rows: int) -> int:
    if not is_whole(rows) or rows < 1:
        raise SettingsError(f"a number of rows must be 1 or more; found {short_repr(rows)}")
    return rows


def _digest(table: pa.Table) -> str:
    """sha256 of a table's columns in order: of strings their lengths and their bytes, of numbers the numbers."""
    sha = hashlib.sha256()
    for column in table.columns:
        sha.update(len(column).to_bytes(8, "little"))
        if pa.types.is_string(column.type):
            # Lengths apart from bytes: no two tables have the same digest, and a column takes two updates.
            sha.update(np.asarray(pc.binary_length(column).to_numpy(), dtype="<i8").tobytes())
            sha.update("".join(column.to_pylist()).encode())
        else:
            numbers = column.to_numpy().astype("<f4" if pa.types.is_floating(column.type) else "<i8")
            if numbers.dtype.kind == "f":
                numbers[np.isnan(numbers)] = np.nan  # NaN has many bit patterns, all of which are a missing score
            sha.update(numbers.tobytes())
    return sha.hexdigest()
