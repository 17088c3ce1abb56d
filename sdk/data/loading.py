"""The data of a task: GLUE's from the hub, a directory or the sample, and the user's own from a file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pointsman.registry.errors import DataError, SettingsError, unknown

from ..core.read_settings import ReadSettings
from ..tasks import SYNTHETIC, Task, custom_task, glue_task
from . import draws, glue_files, glue_tsv, sample
from .label_columns import INTEGERS, LabelType, lone_classes
from .own_rows import OwnRows, check_applies, read_own_rows, reading_of_other
from .splits import Split, TaskData

_FEWEST_ROWS = 10


def split_names(task: Task) -> tuple[str, ...]:
    """The splits of a task of GLUE: train, those it is evaluated on, and their tests."""
    tests = [name.replace("validation", "test") for name in task.validation]
    return tuple(dict.fromkeys([*(["train"] if task.trainable else []), *task.validation, *tests]))


def available_splits(task: Task, source: str | Path | None = None) -> set[str]:
    """The splits of a task of GLUE that a source has.

    Args:
        task: The task.
        source: As for ``load_task_data``.

    Raises:
        DataError: The hub cannot be reached and no copy is cached, or the directory has no folder of the task.
    """
    return _open(task, source).splits


def load_task_data(
    task: Task | str, source: str | Path | None = None, *, splits: Sequence[str] | None = None
) -> TaskData:
    """Load the data of a task of GLUE.

    Both layouts give the same rows, labels, order and fingerprint. Labels of test splits are missing (-1 or NaN),
    except those of MRPC and of the sample. Of QQP's own files, the rows known to be broken (too few columns, or no
    label) are dropped, as the hub's conversion dropped them.

    Args:
        task: The task or its name.
        source: None for the hub (``nyu-mll/glue``), the word ``sample`` for synthetic rows, or a directory, in the
            layout of the hub or of GLUE's own script, that has the task's folder or is it.
        splits: The splits to load, all of which must be available; None for train and validation, and test where it is
            available.

    Raises:
        TaskNotFoundError: GLUE has no task of that name.
        SettingsError: The task is not GLUE's, or it has no such split.
        DataError: The hub cannot be reached and no copy is cached, a directory or file is missing, or a file does not
            fit the task.

    Examples:
        >>> data = load_task_data("sst2", "sample")
        >>> len(data.splits["train"])
        2000
    """
    known = glue_task(task if isinstance(task, str) else task.name)
    if isinstance(task, Task) and task != known:
        raise SettingsError(f"task {task.name!r} is not the one of GLUE; load its data from a file")
    if strange := [name for name in splits or () if name not in split_names(known)]:
        raise unknown(SettingsError, f"split of {known.name}", strange[0], split_names(known))
    source_data = _open(known, source)
    unscored = set(split_names(known)) - {"train", *known.validation}
    wanted = splits
    if wanted is None:
        wanted = [name for name in split_names(known) if name in source_data.splits or name not in unscored]
    # Only a task without training data (ax) may lack labels where it is evaluated: GLUE does not publish them.
    loaded = {
        name: Split.from_table(known, source_data.read(name, known.trainable and name not in unscored))
        for name in wanted
    }
    return TaskData(task=known, splits=loaded, source=source_data.description)


def load_table_data(
    name: str,
    path: str | Path,
    *,
    text: Sequence[str],
    label: str,
    validation: str | Path | None = None,
    reading: ReadSettings | None = None,
    held_out: float = 0.1,
    split_seed: int = 0,
) -> TaskData:
    """Make a task of the user's own and load its data from a file.

    The file is ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson`` or ``.parquet``.

    The labels determine what is learned. JSON and parquet have types: strings, integers and booleans are classes,
    floats are scores. In CSV and TSV, labels are classes if all are written as integers (ids 0, 1, … in the order of
    size), scores if all are numbers and at least one is written with a point or an exponent, and else classes (ids in
    the order of the alphabet). Classes are named as they are written: ``01`` and ``1`` are two. ``reading.kind``
    overrides what the values say. A parquet file that Hugging Face's datasets wrote may name its class ids; its rows
    with the id -1 have no label and are left out.

    Without a validation file, a part of the rows is held out as ``validation``: ``held_out`` of them, at least as many
    as there are classes and at most half, stratified by class, with a row of every class at least, drawn by
    ``split_seed``. That seed is no training seed: all versions of one adapter are scored on the same rows. Both parts
    keep the order of the file.

    Args:
        name: The task's name.
        path: The file of training rows.
        text: Its one or two text columns.
        label: Its label column.
        validation: A file with the same columns, of any of these types, whose labels all occur in training.
        reading: How to read the files; None: the defaults.
        held_out: The share of rows to hold out, above 0 and at most 0.5.
        split_seed: The seed of the draw of held-out rows.

    Raises:
        SettingsError: ``held_out`` is out of range, the names make no task, or the files have no use for a setting of
            the reading.
        DataError: A file that cannot be read, a missing column, more bad rows than may be left out (an empty text, a
            missing or infinite label, …), fewer than 10 rows, one class only, a class of a single row where a part is
            to be held out, or unknown labels in the validation file.

    Examples:
        >>> data = load_table_data("stars", "reviews.csv", text=["body"], label="stars")
        >>> data.task.labels
        ('1', '2', '3', '4', '5')
    """
    if not 0 < held_out <= 0.5:
        raise SettingsError(f"held_out must be above 0 and at most 0.5; found {held_out}")
    custom_task(name, text=text, label=label)  # refuses names that make no task before any file is read
    reading = ReadSettings() if reading is None else reading
    check_applies(reading, [path] if validation is None else [path, validation])
    found = read_own_rows(path, text, label, reading)
    classes, labels = found.type.classes or (), found.labels
    if len(labels) < _FEWEST_ROWS:
        raise DataError(f"{path} has {len(labels)} rows; at least {_FEWEST_ROWS} are needed")
    if len(classes) == 1:
        raise DataError(f"{path}: every label is {classes[0]!r}; there is nothing to learn from one class")
    task = custom_task(name, text=text, label=label, labels=classes)
    # Integers are as often ratings, prices or counts as they are ids of classes.
    doubt = "; if they are scores, say so (kind score)" if found.type.source == INTEGERS and not reading.kind else ""
    rows, files = _rows(task, found), [found]
    if validation is None:
        _check_no_lone_class(found, doubt)
        train, out = draws.hold_out(labels, share=held_out, seed=split_seed, stratified=bool(classes))
        splits = {"train": rows.take(pa.array(train)), "validation": rows.take(pa.array(out))}
    else:
        reading = reading_of_other(reading, found.table, validation)
        files.append(read_own_rows(validation, text, label, reading, like=found.type))
        splits = {"train": rows, "validation": _rows(task, files[1])}
    return TaskData(
        task=task,
        splits={part: Split.from_table(task, table) for part, table in splits.items()},
        source=" and ".join(file.table.path.name for file in files),
        notes=(*(file.note for file in files), f"label: {found.type.described}{doubt * (len(classes) > 2)}"),
        skipped=tuple(row for file in files for row in file.skipped),
    )


def load_table_rows(task: Task, path: str | Path, *, reading: ReadSettings | None = None) -> TaskData:
    """Load rows from a file for a task that exists, to evaluate on: the split ``rows``.

    Args:
        task: The task, whose columns the file has.
        path: The file.
        reading: How to read it; None: the defaults.

    Raises:
        SettingsError: The file has no use for a setting of the reading, or it says the kind of the labels, which is the
            task's.
        DataError: As ``load_table_data``; a label that is none of the task's among it.

    Examples:
        >>> load_table_rows(Task.from_dict(version.task), "more.csv").splits["rows"].labels()
    """
    reading = ReadSettings() if reading is None else reading
    check_applies(reading, [path])
    if reading.kind is not None:
        raise SettingsError(
            f"the labels are read as those of '{task.name}', which is trained: leave out kind; found {reading.kind!r}"
        )
    like = LabelType(source="the task", classes=task.labels or None)
    found = read_own_rows(path, task.text, task.label, reading, like=like)
    return TaskData(
        task=task,
        splits={"rows": Split.from_table(task, _rows(task, found))},
        source=found.table.path.name,
        notes=(found.note,),
        skipped=found.skipped,
    )


@dataclass(frozen=True, kw_only=True)
class _SourceData:
    """A task's data in one source."""

    description: str
    splits: set[str]
    """The splits that are available."""
    read: Callable[[str, bool], pa.Table]
    """Reads a split; the flag tells whether every row must have its label."""


def _open(task: Task, source: str | Path | None) -> _SourceData:
    if source == "sample":
        made = sample.generate(task.name)
        return _SourceData(
            description=SYNTHETIC, splits=set(made), read=lambda split, _: _sample_table(task, made[split])
        )
    if source is None:
        folder, layout = glue_files.download(task), "hub"
        description = f"hub {glue_files.HUB}"
    else:
        folder, layout = glue_files.find(task, Path(source))
        description = f"directory ({layout} layout) {Path(source).resolve().name}"
    if layout == "hub":
        return _SourceData(
            description=description,
            splits=glue_files.splits_in(folder),
            read=lambda split, labelled: glue_files.read(task, folder, split, labelled=labelled),
        )
    return _SourceData(
        description=description,
        splits=glue_tsv.splits_in(task, folder),
        read=lambda split, labelled: glue_tsv.read(task, folder, split, labelled=labelled),
    )


def _sample_table(task: Task, rows: Sequence[sample.Row]) -> pa.Table:
    texts = zip(*(texts for texts, _ in rows), strict=True)
    return pa.table({**dict(zip(task.text, map(list, texts), strict=True)), task.label: [label for _, label in rows]})


def _rows(task: Task, rows: OwnRows) -> pa.Table:
    columns = {name: pa.array(rows.table.columns[name], pa.string()) for name in task.text}
    return pa.table(columns | {task.label: rows.labels})


def _check_no_lone_class(rows: OwnRows, doubt: str) -> None:
    classes, labels = rows.type.classes or (), rows.labels
    if classes and (lone := lone_classes(labels)):
        name = classes[int(labels[lone[0]])]
        raise DataError(
            f"{rows.table.where(lone[0])}: {len(lone)} of {len(classes)} classes have a single row, the first of them "
            f"{name!r}, and one row cannot be both learned from and held out; add rows of it, correct it, or give a "
            f"validation file{doubt}"
        )
