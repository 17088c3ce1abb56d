"""Tables of the user's own: CSV, TSV, JSON lines and parquet files, read column by column."""

import codecs
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pointsman.registry.errors import Action, Advice, DataError, listed

from ..core.read_settings import ReadSettings
from .delimited import Records
from .parquet_tables import read_columns
from .quoting import split

DELIMITED: Final = (".csv", ".tsv")
"""Endings of files that write every value as text, between delimiters."""

_UNDECODED: Final = re.compile("[\udc80-\udcff]")
"""What ``surrogateescape`` makes of bytes that are not in the encoding."""


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
    bad: Sequence[tuple[int, str]] = ()
    """The records that could not be read as rows: the place, and what is wrong."""
    quoting: str | None = None
    """How quotes were read, csv or none; None where that makes no difference."""
    class_names: tuple[str, ...] | None = None
    """The names of the label column's class ids, where the file has them (parquet of Hugging Face's datasets)."""

    def __len__(self) -> int:
        return len(self.places)

    def where(self, row: int) -> str:
        """The place of a row, for messages: ``reviews.csv, line 12``."""
        return self.at(self.places[row])

    def at(self, place: int) -> str:
        """A place in the file, for messages."""
        return f"{self.path}, {'row' if self.path.suffix.lower() == '.parquet' else 'line'} {place}"

    def without(self, rows: Collection[int]) -> "Table":
        """The same table without some of its rows, by their index."""
        if not rows:
            return self
        kept = [row for row in range(len(self)) if row not in rows]
        columns = {name: [values[row] for row in kept] for name, values in self.columns.items()}
        return replace(self, columns=columns, places=[self.places[row] for row in kept])


def read_table(
    path: Path, columns: Sequence[str], reading: ReadSettings | None = None, *, label: str | None = None
) -> Table:
    """Read columns of a ``.csv``, ``.tsv``, ``.jsonl`` (or ``.ndjson``) or ``.parquet`` file.

    Delimited files have a header; JSON lines are one object a line. Records that are no rows are in the table's
    ``bad``: with the rows, they are all records of the file.

    Args:
        path: The file.
        columns: The columns to read.
        reading: How to read it; None: the defaults.
        label: The label column among them.

    Raises:
        DataError: No such file, another kind of file, no rows, a missing column, or a file that cannot be read.
    """
    reading = ReadSettings() if reading is None else reading
    reader = _READERS.get(path.suffix.lower(), None if reading.delimiter is None else _read_delimited)
    if not path.exists():
        raise DataError(f"{path} does not exist; give a file that ends in {', '.join(_READERS)}")
    if path.is_dir() or reader is None:
        kind = "a directory" if path.is_dir() else f"of the kind {path.suffix or '(no ending)'!r}"
        raise DataError(f"{path} is {kind}; give a file that ends in {', '.join(_READERS)}, or a delimiter")
    try:
        table = reader(path, columns, reading, label)
    except UnicodeError as error:
        raise DataError(f"{path} is not {reading.encoding.upper()}: {error}; name its encoding") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not len(table) and not table.bad:
        raise DataError(f"{path} has no rows; give one row for every text")
    return table


def _check_columns(path: Path, wanted: Sequence[str], columns: Sequence[str], advice: Advice | None = None) -> None:
    for name in wanted:
        if name not in columns:
            raise DataError(f"{path} has no column {name!r}; it has: {listed(columns) or 'none'}", advice=advice)
        if list(columns).count(name) > 1:
            raise DataError(f"{path} has the column {name!r} more than once; rename one of them")


def _read_delimited(path: Path, columns: Sequence[str], reading: ReadSettings, label: str | None) -> Table:
    text = _decode(path.read_bytes(), reading)
    delimiter = reading.delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
    records, quoting = split(
        text,
        name=str(path),
        delimiter=delimiter,
        quoting=reading.quoting,
        columns=columns,
        label=label,
        most_bad=reading.skip_bad_rows,
    )
    if not records.header:
        raise DataError(f"{path} is empty; give a header and one row for every text")
    if records.bad and not set(columns) <= set(records.header) and records.bad[0][0] == 1:
        raise DataError(f"{path}, line 1: {records.bad[0][1]}")
    _check_columns(path, columns, records.header, _other_delimiter(records.header, columns, delimiter))
    if _UNDECODED.search(text):
        records = _without_undecoded(records, reading)
    index = {name: records.header.index(name) for name in columns}
    values = {name: [fields[place] for fields in records.rows] for name, place in index.items()}
    return Table(path=path, columns=values, places=records.places, written=True, bad=records.bad, quoting=quoting)


def _without_undecoded(records: Records, reading: ReadSettings) -> Records:
    """The records, of which those with bytes that are not in the encoding are bad."""
    kept = Records(header=records.header, bad=[*records.bad])
    for place, fields in zip(records.places, records.rows, strict=True):
        if any(map(_UNDECODED.search, fields)):
            kept.bad.append((place, _not_encoded(reading)))
        else:
            kept.rows.append(fields)
            kept.places.append(place)
    kept.bad.sort()
    return kept


def _decode(content: bytes, reading: ReadSettings) -> str:
    if reading.encoding == "utf-8" and content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _utf16()
    try:
        return content.decode(reading.codec)
    except UnicodeDecodeError:
        # Rows with bytes that are not in the encoding are found by what is decoded in place of these.
        return content.decode(reading.codec, "surrogateescape")


def _utf16() -> UnicodeError:
    return UnicodeError("it begins as UTF-16 does")


def _not_encoded(reading: ReadSettings) -> str:
    return (
        f"not {reading.encoding.upper()}; save the file as UTF-8, or name its encoding, such as cp1252 (of Windows) or "
        "latin-1"
    )


def _other_delimiter(header: Sequence[str], columns: Sequence[str], delimiter: str) -> Advice | None:
    """Advice on the delimiter by which the header has the columns."""
    line = delimiter.join(header)
    for other in (",", "\t", ";", "|"):
        if other != delimiter and set(columns) <= {name.strip('"') for name in line.split(other)}:
            return Advice(Action.SET_ARGUMENTS, {"delimiter": "tab" if other == "\t" else other})
    return None


def _json_lines(path: Path, reading: ReadSettings) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """The line of every record, and the object on it, or what is wrong with it."""
    with path.open("rb") as binary:
        if reading.encoding == "utf-8" and binary.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise _utf16()
    # Split at line feeds only; JSON may hold other line separators unescaped.
    with path.open(encoding=reading.codec, errors="surrogateescape", newline="\n") as stream:
        for number, line in enumerate(stream, start=1):
            if text := line.strip():
                yield number, _not_encoded(reading) if _UNDECODED.search(text) else _json_object(text)


def _json_object(text: str) -> Mapping[str, Any] | str:
    try:
        value = json.loads(text)
    except ValueError as error:
        return f"not JSON ({error}); give one object a line"
    except RecursionError:
        return "nested too deeply; give one flat object a line"
    return value if isinstance(value, dict) else "not a JSON object; give one object a line"


def _read_jsonl(path: Path, columns: Sequence[str], reading: ReadSettings, label: str | None) -> Table:
    values: dict[str, list[Any]] = {name: [] for name in columns}
    places: list[int] = []
    bad: list[tuple[int, str]] = []
    for number, row in _json_lines(path, reading):
        if isinstance(row, str):
            bad.append((number, row))
        elif missing := [name for name in columns if name not in row]:
            bad.append((number, f"no key {missing[0]!r}; it has: {listed(row) or 'none'}"))
        else:
            for name in columns:
                values[name].append(row[name])
            places.append(number)
    return Table(path=path, columns=values, places=places, written=False, bad=bad)


def _read_parquet(path: Path, columns: Sequence[str], reading: ReadSettings, label: str | None) -> Table:
    values, rows, names = read_columns(path, columns, label, lambda found: _check_columns(path, columns, found))
    return Table(path=path, columns=values, places=range(1, rows + 1), written=False, class_names=names)


_READERS: Final[Mapping[str, Callable[[Path, Sequence[str], ReadSettings, str | None], Table]]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
