"""GLUE in the layout of its own download script: tab-separated files, with peculiarities of each task.

All files are UTF-8, with or without a byte-order mark; a row ends at a line feed (or CR LF) and nowhere else, a field
at a tab; quotes are literal text. Columns are located by their header, which only CoLA's train and dev files lack.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import pyarrow as pa

from pointsman.registry.errors import DataError

from ..tasks import Task, kind_of


@dataclass(frozen=True, kw_only=True)
class _Layout:
    folder: str
    text: tuple[str, ...]
    label: str
    headless: tuple[str, ...] = ()
    """Names for the columns of train and dev files that come without a header."""
    ragged: bool = False
    """Whether the published files have short rows, which are dropped as the hub's conversion dropped them."""


_PAIR = ("sentence1", "sentence2")
_LAYOUTS: Mapping[str, _Layout] = {
    "cola": _Layout(folder="CoLA", text=("sentence",), label="label", headless=("source", "label", "mark", "sentence")),
    "sst2": _Layout(folder="SST-2", text=("sentence",), label="label"),
    "mrpc": _Layout(folder="MRPC", text=("#1 String", "#2 String"), label="Quality"),
    "stsb": _Layout(folder="STS-B", text=_PAIR, label="score"),
    "qqp": _Layout(folder="QQP", text=("question1", "question2"), label="is_duplicate", ragged=True),
    "mnli": _Layout(folder="MNLI", text=_PAIR, label="gold_label"),
    "qnli": _Layout(folder="QNLI", text=("question", "sentence"), label="label"),
    "rte": _Layout(folder="RTE", text=_PAIR, label="label"),
    "wnli": _Layout(folder="WNLI", text=_PAIR, label="label"),
    "ax": _Layout(folder="diagnostic", text=_PAIR, label="label"),
}

# Microsoft's files of MRPC. GLUE's script cuts train.tsv and dev.tsv out of the first by the list of ids, and removes
# the labels of the second for test.tsv. The hub's rows were made from these, so they are preferred here: they have the
# labels of the test split, and some published copies of train.tsv lack a row.
_MRPC_TRAIN, _MRPC_DEV_IDS, _MRPC_TEST = "msr_paraphrase_train.txt", "dev_ids.tsv", "msr_paraphrase_test.txt"


def folder_name(task: Task) -> str:
    """The folder of a task in GLUE's own layout: ``CoLA``, ``SST-2``."""
    return _LAYOUTS[task.name].folder


def folder_names() -> dict[str, str]:
    """The folders of all tasks in GLUE's own layout, by the name of the task."""
    return {name: layout.folder for name, layout in _LAYOUTS.items()}


def splits_in(task: Task, folder: Path) -> set[str]:
    """The splits whose file is in a folder in GLUE's own layout."""
    tests = {name.replace("validation", "test") for name in task.validation}
    return {split for split in {"train", *task.validation, *tests} if _file(task, folder, split).is_file()}


def read(task: Task, folder: Path, split: str, *, labelled: bool) -> pa.Table:
    """Read one split of a task.

    Args:
        task: The task.
        folder: The folder of its files.
        split: The split's name.
        labelled: Whether every row must have its label.

    Returns:
        The task's text columns and its label column, under the hub's names; a missing label is -1, a missing score NaN.

    Raises:
        DataError: A missing file or column, or a row that does not fit; the message has the file and the line.
    """
    layout, path = _LAYOUTS[task.name], _file(task, folder, split)
    lines = _lines(path)
    headless = layout.headless if split != "test" else ()
    header = list(headless) or next(lines, (0, []))[1]
    wanted = [*layout.text, layout.label] if labelled else [*layout.text]
    if header and (missing := [name for name in wanted if name not in header]):
        raise DataError(f"{path} has no column {missing[0]!r}; it has: {', '.join(header)}")
    if task.name == "mrpc":
        lines = _mrpc_rows(lines, header, folder, path, split)
    texts, labels = _columns(task, path, lines, header)
    if not labels:
        raise DataError(f"{path} has no rows")
    columns = {name: pa.array(values, pa.string()) for name, values in zip(task.text, texts, strict=True)}
    return pa.table({**columns, task.label: kind_of(task).label_array(task, labels)})


def _file(task: Task, folder: Path, split: str) -> Path:
    if task.name == "ax":
        return folder / ("diagnostic.tsv" if split == "test" else f"{split}.tsv")
    if task.name == "mrpc":
        if split == "test" and (folder / _MRPC_TEST).is_file():
            return folder / _MRPC_TEST
        if split != "test" and (folder / _MRPC_TRAIN).is_file() and (folder / _MRPC_DEV_IDS).is_file():
            return folder / _MRPC_TRAIN
    return folder / f"{split.replace('validation', 'dev')}.tsv"


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open("rb") as stream:  # bytes split at line feeds only; text would also split at other separators
            for number, line in enumerate(stream, start=1):
                try:
                    text = line.decode()
                except UnicodeDecodeError as error:
                    raise DataError(f"{path}, line {number}: not UTF-8 ({error.reason}); save it as UTF-8") from error
                if number == 1:
                    text = text.removeprefix("\ufeff")
                if text := text.removesuffix("\n").removesuffix("\r"):
                    yield number, text.split("\t")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _mrpc_rows(
    lines: Iterator[tuple[int, list[str]]], header: list[str], folder: Path, path: Path, split: str
) -> Iterator[tuple[int, list[str]]]:
    """The rows of one split: a part of Microsoft's training file, or all rows of any other file."""
    if path.name != _MRPC_TRAIN:
        yield from lines
        return
    held_out = {tuple(fields) for _, fields in _lines(folder / _MRPC_DEV_IDS)}
    ids = [header.index(name) for name in ("#1 ID", "#2 ID") if name in header]
    if len(ids) != 2:
        raise DataError(f"{path} has no columns '#1 ID' and '#2 ID'; it has: {', '.join(header)}")
    for number, fields in lines:
        if (tuple(fields[index] for index in ids if index < len(fields)) in held_out) == (split == "validation"):
            yield number, fields


def _columns(
    task: Task, path: Path, lines: Iterator[tuple[int, list[str]]], header: list[str]
) -> tuple[list[list[str]], list[float]]:
    layout = _LAYOUTS[task.name]
    places = [header.index(name) for name in layout.text if name in header]
    label_place = header.index(layout.label) if layout.label in header else None
    # RTE, QNLI and MNLI write the names of labels, the others their ids.
    known = {spelling: index for index, name in enumerate(task.labels) for spelling in (name, str(index))}
    # A surplus field behind the header's last column is harmless, unless it is the rest of a text that a tab has cut.
    may_be_longer = layout.ragged or header[-1:] not in [[name] for name in layout.text]
    texts: list[list[str]] = [[] for _ in places]
    labels: list[float] = []
    dropped = 0
    for number, fields in lines:
        if layout.ragged and (len(fields) < len(header) or (label_place is not None and not fields[label_place])):
            dropped += 1
            continue
        if len(fields) < len(header) or (len(fields) > len(header) and not may_be_longer):
            raise DataError(f"{path}, line {number}: {len(fields)} fields where the file has {len(header)} columns")
        for column, place in zip(texts, places, strict=True):
            column.append(fields[place])
        if not any(column[-1].strip() for column in texts):
            raise DataError(f"{path}, line {number}: the text is empty")
        if label_place is None:
            labels.append(kind_of(task).missing)
        elif task.is_regression:
            labels.append(_score(task, fields[label_place], path, number))
        elif (label := known.get(fields[label_place])) is not None:
            labels.append(label)
        else:
            raise DataError(
                f"{path}, line {number}: unknown label {fields[label_place]!r} of {task.name}; known: "
                + ", ".join(f"{name} ({index})" for index, name in enumerate(task.labels))
            )
    # In the published QQP, one row in 15,000 is so; with more than one in ten, it is another kind of file.
    if dropped * 10 > dropped + len(labels):
        raise DataError(f"{path}: {dropped} of {dropped + len(labels)} rows are too short; download the file again")
    return texts, labels


def _score(task: Task, value: str, path: Path, number: int) -> float:
    low, high = task.bounds or (float("-inf"), float("inf"))
    try:
        score = float(value)
    except ValueError:
        score = kind_of(task).missing
    if not isfinite(score) or not low <= score <= high:
        raise DataError(f"{path}, line {number}: the score must be from {low:g} to {high:g}; found {value!r}")
    return score
