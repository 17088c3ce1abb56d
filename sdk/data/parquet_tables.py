"""Columns of parquet files, checked by their types before any value is read."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pointsman.registry.errors import DataError


def read_columns(
    path: Path, columns: Sequence[str], label: str | None, check: Callable[[Sequence[str]], None]
) -> tuple[dict[str, list[Any]], int, tuple[str, ...] | None]:
    """Read columns of a parquet file.

    Args:
        path: The file.
        columns: The columns: of text, but for the label.
        label: The label column among them.
        check: Refuses a file by its columns.

    Returns:
        The values by column, the number of rows, and the names of the label column's class ids, if the file has them.

    Raises:
        DataError: The file cannot be read, or a column is of a type that is no text and no label.
    """
    try:
        # ParquetFile and not read_table, which would take folder names such as ``a=b`` for columns.
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            check(schema.names)
            for name in columns:
                _check_type(path, schema.field(name), is_label=name == label)
            table = file.read(columns=list(columns))
        values = {name: table[name].to_pylist() for name in columns}
    except pa.ArrowException as error:
        raise DataError(f"{path} is no parquet file that can be read: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: a text is not UTF-8, which parquet asks for: {error}") from error
    names = None if label is None else _class_names(path, schema, label)
    return values, table.num_rows, names


def _check_type(path: Path, column: pa.Field, *, is_label: bool) -> None:
    """Refuse a type whose values are neither text nor labels: dates, times, lists, bytes."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    number = pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
    # Other values of a text column are refused row by row; of a column of nulls nothing is known.
    if not (text or number or pa.types.is_null(kind)):
        wanted = "a label is a string or a number" if is_label else "a text is a string"
        raise DataError(f"{path}: the column {column.name!r} is of the type {column.type}; {wanted}")


def _class_names(path: Path, schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    """The names of class ids, which Hugging Face's datasets writes into the metadata of a ClassLabel.

    Raises:
        DataError: They are no names.
    """
    try:
        feature = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]
        names = feature["names"]
    except (ValueError, KeyError, TypeError):
        return None
    if not pa.types.is_integer(schema.field(label).type):
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise DataError(f"{path}: the class names of {label!r} must be a list of names; found {json.dumps(names)[:80]}")
    if len(set(names)) != len(names):
        raise DataError(f"{path}: the class names of {label!r} name a class twice: {', '.join(names)[:200]}")
    return tuple(names)
