"""Split the text of a delimited file into records: by RFC 4180's quoting, or with quotes as text."""

import csv
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from typing import Final

_LONGEST_FIELD: Final = 2**31 - 1
"""Characters; the csv module refuses fields above 131,072, and a document may be longer. It fits any C long."""

_LINE_END: Final = re.compile("\r?\n|\r")
_LONE_CR: Final = re.compile(r"\r(?!\n|\Z)")

_CSV_LIMIT: Final = threading.Lock()
"""Held while the process has our limit: of two readers, the first to end would take it from the other."""


@dataclass(kw_only=True)
class Records:
    """The records of a delimited text, of which every one is either a row or bad; blank lines are none."""

    header: Sequence[str] = ()
    """The first record."""
    rows: list[list[str]] = field(default_factory=list)
    """The other records, each with as many fields as the header."""
    places: list[int] = field(default_factory=list)
    """The line on which each row starts, from 1."""
    bad: list[tuple[int, str]] = field(default_factory=list)
    """The records that are no rows: the line, and what is wrong."""
    spans: list[tuple[int, int]] = field(default_factory=list)
    """The first and last line of every record that takes several."""

    def add(self, record: list[str], start: int, end: int) -> None:
        """Take the record of lines ``start`` to ``end``."""
        if not self.header:
            self.header = record
            return
        if end > start:
            self.spans.append((start, end))
        if len(record) == len(self.header):
            self.rows.append(record)
            self.places.append(start)
        else:
            counted = f"{len(record)} field{'s' * (len(record) != 1)}"
            self.bad.append((start, f"{counted} where the header has {len(self.header)}"))


def split_plain(text: str, delimiter: str) -> Records:
    """Split a text in which quotes are text: every line is a record."""
    records = Records()
    feed = "\r" if _ends_with_cr(text) else "\n"
    for number, line in enumerate(text.split(feed), start=1):
        if line := line.removesuffix("\r"):
            records.add(line.split(delimiter), number, number)
    return records


def split_csv(text: str, delimiter: str, *, most_bad: int) -> Records:
    """Split a text by RFC 4180, strictly: a quote that begins a field encloses it, with delimiters and line breaks.

    Where a quoted field is malformed or never closes, only the line on which its record starts is bad, and the next
    line starts a new record: a stray quote makes no other row vanish.

    Args:
        text: The text.
        delimiter: One character.
        most_bad: Stop where more records than this are bad: each malformed one costs another start.
    """
    lines, stand_in = csv_lines(text)
    records, first = Records(), 0
    with _long_fields():
        while first < len(lines) and len(records.bad) <= most_bad:
            reader = csv.reader((lines[index] for index in range(first, len(lines))), delimiter=delimiter, strict=True)
            start = first + 1
            try:
                for record in reader:
                    end = first + reader.line_num
                    if record:
                        records.add(_restored(record, stand_in), start, end)
                    start = end + 1
                break
            except csv.Error as error:
                if not records.header:
                    records.header = [lines[start - 1].rstrip("\r\n")]
                records.bad.append((start, f"{_problem(error)}; put texts with quotes or line breaks in quotes"))
                first = start
    return records


def csv_lines(text: str) -> tuple[list[str], str | None]:
    """The lines of a text as RFC 4180's records span them, with their ends: LF, CR LF or CR.

    Where rows end with a line feed, other carriage returns are a part of texts, and programs write them unquoted. The
    csv module would take them for the ends of rows, so that another character stands for them.

    Returns:
        The lines, and the character that stands for a carriage return, if one does.
    """
    stand_in = None
    if "\r" in text and not _ends_with_cr(text) and _LONE_CR.search(text):
        stand_in = next(chr(code) for code in range(0xF0000, 0x10FFFE) if chr(code) not in text)  # for private use
        text = _LONE_CR.sub(stand_in, text)
    return list(StringIO(text, newline="")), stand_in


def _restored(record: list[str], stand_in: str | None) -> list[str]:
    return record if stand_in is None else [field.replace(stand_in, "\r") for field in record]


def _ends_with_cr(text: str) -> bool:
    """Whether the first line, and so every row, ends with a carriage return alone, as on old Macs."""
    end = _LINE_END.search(text)
    return end is not None and end[0] == "\r"


def _problem(error: csv.Error) -> str:
    text = str(error)
    if text == "unexpected end of data":
        return "a quote opens here and never closes"
    return "text follows the quote that closes a field" if "expected after" in text else text


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let the csv module read long fields inside the block; its limit is one for the whole process."""
    with _CSV_LIMIT:
        limit = csv.field_size_limit(_LONGEST_FIELD)
        try:
            yield
        finally:
            csv.field_size_limit(limit)
