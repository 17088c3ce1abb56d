"""GLUE in the layout of the Hugging Face hub: locate its files in a directory or on the hub, and read them."""

import json
import re
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from huggingface_hub import HfApi, snapshot_download

from pointsman.registry.errors import Action, Advice, DataError

from ..tasks import NO_CLASS, Task, kind_of
from . import glue_tsv

HUB = "nyu-mll/glue"
"""GLUE's data set on the hub, https://huggingface.co/datasets/nyu-mll/glue."""

Layout = Literal["hub", "official"]

_SHARD = re.compile(r"(?P<split>\w+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.parquet")


def find(task: Task, directory: Path) -> tuple[Path, Layout]:
    """Find the folder of a task's files in a directory, which may be the directory itself, and their layout.

    Raises:
        DataError: No such directory, or it has no files of either layout; the message says what was looked for.
    """
    if not directory.exists():
        raise DataError(f"{directory} does not exist; give a directory with GLUE's files, or 'sample'")
    if not directory.is_dir():
        raise DataError(
            f"{directory} is a file, and {task.name} is a task of GLUE, whose files come in a directory; "
            "for a task of your own, choose another name and name its text and label columns"
        )
    official = glue_tsv.folder_name(task)
    # Both layouts name folders after the task; where names ignore case (cola, CoLA), the files in them decide.
    for folder in (directory / task.name, directory / official, directory):
        if folder == directory and directory.resolve().name.lower() in _folders_of_others(task):
            break
        if any(_SHARD.fullmatch(path.name) for path in folder.glob("*.parquet")):
            return folder, "hub"
        if glue_tsv.splits_in(task, folder):
            return folder, "official"
    names = ", ".join(sorted(path.name for path in directory.iterdir())[:12]) or "nothing"
    raise DataError(
        f"{directory} has no files of {task.name}: looked for {task.name}/SPLIT-00000-of-00001.parquet (the hub's "
        f"layout) and {official}/*.tsv (GLUE's own layout); found {names}"
    )


def download(task: Task) -> Path:
    """Download a task's files into the hub's cache if it lacks them, and return their folder.

    Raises:
        DataError: The hub cannot be reached and the cache lacks them.
    """
    try:
        try:
            # One request with a time limit tells whether the hub can be reached: a download would retry for minutes.
            HfApi().dataset_info(HUB, timeout=10)
            reachable = True
        except OSError:
            reachable = False
        folder = Path(
            snapshot_download(
                HUB, repo_type="dataset", allow_patterns=f"{task.name}/*.parquet", local_files_only=not reachable
            )
        )
    except OSError as error:
        raise _unavailable(task) from error
    if not reachable and not any((folder / task.name).glob("*.parquet")):
        raise _unavailable(task)
    return folder / task.name


def splits_in(folder: Path) -> set[str]:
    """The splits whose files are in a folder in the hub's layout."""
    return {match["split"] for path in folder.glob("*.parquet") if (match := _SHARD.fullmatch(path.name))}


def read(task: Task, folder: Path, split: str, *, labelled: bool) -> pa.Table:
    """Read one split from its parquet shards, in their order.

    Args:
        task: The task.
        folder: The folder of its files.
        split: The split's name.
        labelled: Whether every row must have its label.

    Returns:
        The task's text columns and its label column; a missing label is -1, a missing score NaN (the hub writes -1 for
        both).

    Raises:
        DataError: A file that cannot be read, a missing shard or column, or a row that does not fit the task.
    """
    table = pa.concat_tables([_read_file(task, path) for path in _shards(folder, split)])
    where = f"{folder.name}/{split}"
    if not table.num_rows:
        raise DataError(f"{where}: its parquet files have no rows")
    for name in task.text:
        if table[name].null_count:
            raise DataError(f"{where}: row {_first(pc.is_null(table[name]))} has no {name}")
    blank = [pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(table[name])), 0) for name in task.text]
    # One text of a pair may be empty, as in two rows of the published QQP.
    if pc.any(empty := pc.and_(blank[0], blank[-1])).as_py():
        raise DataError(f"{where}: the text of row {_first(empty)} is empty")
    label = _scores(task, table, where) if task.is_regression else _classes(task, table, where)
    missing = kind_of(task).is_missing(label.to_numpy())
    if labelled and missing.any():
        raise DataError(f"{where}: row {int(missing.argmax())} has no label, and {split} needs one on every row")
    return table.select(list(task.text)).append_column(task.label, label)


def _folders_of_others(task: Task) -> set[str]:
    own = {task.name, glue_tsv.folder_name(task).lower()}
    return {name.lower() for pair in glue_tsv.folder_names().items() for name in pair} - own


def _unavailable(task: Task) -> DataError:
    return DataError(
        f"{task.name} is unavailable: the hub ({HUB}) cannot be reached, and its cache on this machine has no files of "
        "it; check the network, or name a directory with GLUE's files as data, or 'sample' for synthetic rows",
        advice=Advice(Action.SET_ARGUMENTS, {"data": None}),
    )


def _shards(folder: Path, split: str) -> list[Path]:
    matches = [m for path in folder.glob("*.parquet") if (m := _SHARD.fullmatch(path.name)) and m["split"] == split]
    if not matches:
        others = ", ".join(sorted(splits_in(folder))) or "no split"
        raise DataError(f"{folder} has no {split}-00000-of-00001.parquet; it has files of: {others}")
    count = max(int(match["count"]) for match in matches)
    names = [f"{split}-{index:05}-of-{count:05}.parquet" for index in range(count)]
    if missing := sorted(set(names) - {match[0] for match in matches}):
        raise DataError(f"{folder} has {len(matches)} of the {count} files of {split}; missing: {', '.join(missing)}")
    return [folder / name for name in names]


def _read_file(task: Task, path: Path) -> pa.Table:
    wanted = [*task.text, task.label]
    try:
        # ParquetFile and not read_table, which would take folder names such as ``a=b`` for columns.
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            if missing := [name for name in wanted if name not in schema.names]:
                raise DataError(f"{path} has no column {missing[0]!r}; it has: {', '.join(schema.names)}")
            _check_class_names(task, path, schema)
            table = file.read(columns=wanted).replace_schema_metadata(None)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is no parquet file that can be read: {error}; download it again") from error
    for name in task.text:
        if not pa.types.is_string(table.schema.field(name).type):
            raise DataError(f"{path}: column {name!r} must hold text; it holds {table.schema.field(name).type}")
    return table


def _check_class_names(task: Task, path: Path, schema: pa.Schema) -> None:
    """Refuse a file whose metadata name other classes than the task's."""
    try:
        metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = metadata["info"]["features"][task.label]["names"]
    except (ValueError, KeyError, TypeError):
        return
    if names != list(task.labels):
        raise DataError(f"{path} has the classes {', '.join(names)}; those of {task.name} are {', '.join(task.labels)}")


def _classes(task: Task, table: pa.Table, where: str) -> pa.ChunkedArray:
    column = table[task.label]
    if not pa.types.is_integer(column.type):
        raise DataError(f"{where}: label must hold class ids as integers; it holds {column.type}")
    label = pc.fill_null(column.cast(pa.int64()), NO_CLASS)
    wrong = pc.or_(pc.less(label, NO_CLASS), pc.greater_equal(label, len(task.labels)))
    if pc.any(wrong).as_py():
        row = _first(wrong)
        known = ", ".join(f"{index} ({name})" for index, name in enumerate(task.labels))
        raise DataError(f"{where}: unknown label {label[row]} of {task.name} in row {row}; known: {known}")
    return label


def _scores(task: Task, table: pa.Table, where: str) -> pa.ChunkedArray:
    column = table[task.label]
    if not pa.types.is_floating(column.type):
        raise DataError(f"{where}: label must hold scores as floats; it holds {column.type}")
    nan = pa.scalar(float("nan"), pa.float32())
    label = pc.fill_null(column.cast(pa.float32()), nan)
    # -1 marks a missing score on the hub; every score of GLUE is at least 0.
    label = pc.if_else(pc.equal(label, -1.0), nan, label)
    low, high = task.bounds or (float("-inf"), float("inf"))
    wrong = pc.or_(pc.less(label, low), pc.greater(label, high))
    if pc.any(wrong).as_py():
        row = _first(wrong)
        raise DataError(f"{where}: row {row} has the score {label[row]}, outside {low:g} to {high:g}")
    return label


def _first(mask: pa.ChunkedArray) -> int:
    return int(pc.index(mask, value=True).as_py())
