"""Tables of the user's own: CSV, TSV, JSON lines and parquet files, read column by column."""

import csv
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pointsman.registry.errors import DataError

_LONGEST_FIELD: Final = 2**31 - 1
"""Characters; the csv module refuses fields above 131,072, and a document may be longer. It fits any C long."""

_CSV_LIMIT: Final = threading.Lock()
"""Held while the process has our limit: of two readers, the first to end would take it from the other."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of a file, and the place of each row in it.

    Examples:
        >>> table = read_table(Path("reviews.csv"), ["text", "label"])
        >>> table.where(0)
        'reviews.csv, line 2'
    """

    path: Path
    """The file it was read from."""
    columns: Mapping[str, list[Any]]
    """Values by column: strings where ``written``, else as the file types them; None where a value is missing."""
    places: Sequence[int]
    """The line of each row, or its number from 1 in a parquet file."""
    written: bool
    """Whether the file writes every value as text (CSV, TSV), from which types must be read."""

    def __len__(self) -> int:
        return len(self.places)

    def where(self, row: int) -> str:
        """The place of a row, for messages: ``reviews.csv, line 12``."""
        unit = "row" if self.path.suffix.lower() == ".parquet" else "line"
        return f"{self.path}, {unit} {self.places[row]}"


def read_table(path: Path, columns: Sequence[str]) -> Table:
    """Read columns of a ``.csv``, ``.tsv``, ``.jsonl`` (or ``.ndjson``) or ``.parquet`` file.

    CSV is read strictly (RFC 4180 quoting, commas; tabs for TSV), UTF-8 with or without a byte-order mark, with a
    header. JSON lines are one object a line.

    Raises:
        DataError: No such file, another kind of file, no rows, a missing column, or a row that cannot be read.
    """
    reader = _READERS.get(path.suffix.lower())
    if not path.exists():
        raise DataError(f"{path} does not exist; give a file that ends in {', '.join(_READERS)}")
    if path.is_dir() or reader is None:
        kind = "a directory" if path.is_dir() else f"of the kind {path.suffix or '(no ending)'!r}"
        raise DataError(f"{path} is {kind}; give a file that ends in {', '.join(_READERS)}")
    try:
        table = reader(path, columns)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error.reason}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not len(table):
        raise DataError(f"{path} has no rows; give one row for every text")
    return table


def texts_of(table: Table, names: Sequence[str]) -> list[list[str]]:
    """Check the text columns of a table: every value must be a string that is not blank.

    Raises:
        DataError: A value is missing, blank, or no string; the message has its line.
    """
    for name in names:
        for row, value in enumerate(table.columns[name]):
            if value is None or (isinstance(value, str) and not value.strip()):
                raise DataError(f"{table.where(row)}: the text {name!r} is empty; fill it or remove the row")
            if not isinstance(value, str):
                raise DataError(f"{table.where(row)}: the text {name!r} must be a string; found {value!r}")
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise DataError(f"{table.where(row)}: the text {name!r} is not Unicode: {error.reason}") from error
    return [table.columns[name] for name in names]


def _check_columns(path: Path, wanted: Sequence[str], columns: Sequence[str]) -> None:
    for name in wanted:
        if name not in columns:
            raise DataError(f"{path} has no column {name!r}; it has: {', '.join(map(str, columns)) or 'none'}")
        if list(columns).count(name) > 1:
            raise DataError(f"{path} has the column {name!r} more than once; rename one of them")


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let the csv module read long fields inside the block; its limit is one for the whole process."""
    with _CSV_LIMIT:
        limit = csv.field_size_limit(_LONGEST_FIELD)
        try:
            yield
        finally:
            csv.field_size_limit(limit)


def _read_csv(path: Path, columns: Sequence[str]) -> Table:
    values: dict[str, list[Any]] = {name: [] for name in columns}
    places = []
    with _long_fields(), path.open(encoding="utf-8-sig", newline="") as stream:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
        start = 1  # of the row being read, which can span lines
        try:
            header = next(reader, None)
            if header is None:
                raise DataError(f"{path} is empty; give a header and one row for every text")
            _check_columns(path, columns, header)
            index = {name: header.index(name) for name in columns}
            start = reader.line_num + 1
            for row in reader:
                if row and len(row) != len(header):
                    raise DataError(f"{path}, line {start}: {len(row)} fields where the header has {len(header)}")
                if row:
                    for name, place in index.items():
                        values[name].append(row[place])
                    places.append(start)
                start = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{path}, line {start}: {error}; put texts with quotes or line breaks in quotes") from error
    return Table(path=path, columns=values, places=places, written=True)


def _json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    # Bytes split at line feeds only; JSON may hold other line separators unescaped.
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise DataError(f"{path}, line {number}: not UTF-8 ({error.reason}); save it as UTF-8") from error
            if text:
                try:
                    value = json.loads(text)
                except ValueError as error:
                    raise DataError(f"{path}, line {number}: not JSON ({error}); give one object a line") from error
                except RecursionError as error:
                    raise DataError(f"{path}, line {number}: nested too deeply; give one flat object a line") from error
                if not isinstance(value, dict):
                    raise DataError(f"{path}, line {number}: not a JSON object; give one object a line")
                yield number, value


def _read_jsonl(path: Path, columns: Sequence[str]) -> Table:
    values: dict[str, list[Any]] = {name: [] for name in columns}
    places = []
    for number, row in _json_lines(path):
        for name in columns:
            if name not in row:
                raise DataError(f"{path}, line {number}: no key {name!r}; it has: {', '.join(row) or 'none'}")
            values[name].append(row[name])
        places.append(number)
    return Table(path=path, columns=values, places=places, written=False)


def _read_parquet(path: Path, columns: Sequence[str]) -> Table:
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, columns, file.schema_arrow.names)
            table = file.read(columns=list(columns))
    except pa.ArrowException as error:
        raise DataError(f"{path} is no parquet file that can be read: {error}") from error
    values = {name: table[name].to_pylist() for name in columns}
    return Table(path=path, columns=values, places=range(1, table.num_rows + 1), written=False)


_READERS: Mapping[str, Callable[[Path, Sequence[str]], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
