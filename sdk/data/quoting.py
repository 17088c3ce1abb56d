"""Find out whether the quotes of a delimited text enclose fields or are text, without ever merging rows silently."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from pointsman.registry.errors import Action, Advice, DataError

from .delimited import Records, csv_lines, split_csv, split_plain

_ENCLOSED: Final = re.compile(r'"(?:[^"]|"")*"')
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?", re.IGNORECASE)
_MOST_BAD: Final = 1_000
"""Malformed records after which reading stops, unless the caller bears more."""


class Quoted(NamedTuple):
    """The records of a text, and how its quotes were read."""

    records: Records
    quoting: str | None
    """csv or none, where the two give different rows; else None."""


def split(
    text: str, *, name: str, delimiter: str, quoting: str, columns: Sequence[str], label: str | None, most_bad: int
) -> Quoted:
    """Split a delimited text into records.

    With ``auto``, a text is RFC 4180's, but for tab-separated ones that fit it worse than they fit plain lines, and
    whose quotes mostly do not enclose fields: GLUE's files are such. A record over several lines, of which two or more
    look like rows by themselves, is refused: its quote may be text.

    Args:
        text: The text.
        name: Its name, for messages.
        delimiter: What separates fields.
        quoting: auto, csv or none.
        columns: The columns that the header must have.
        label: The column whose values tell whether a line looks like a row, where fields are not separated by tabs;
            None: its number of fields does.
        most_bad: The number of bad records that the caller bears.

    Raises:
        DataError: A quote that may be text would merge rows.
    """
    plain = split_plain(text, delimiter) if quoting != "csv" and _has_quotes(text, delimiter) else None
    if quoting == "none":
        return Quoted(plain or split_plain(text, delimiter), None if plain is None else "none")
    enclosed = split_csv(text, delimiter, most_bad=max(most_bad, _MOST_BAD))
    if plain is None:
        return Quoted(enclosed, None)
    fits = set(columns) <= set(plain.header)  # where not, the quotes enclose names of the header
    better = fits and len(plain.bad) < len(enclosed.bad)
    if better and delimiter == "\t" and not _mostly_enclosed(plain):
        return Quoted(plain, "none")
    if (span := _swallowing(text, enclosed, delimiter, label)) is not None:
        raise DataError(
            f"{name}, line {span[0]}: the quote that opens here closes in line {span[1]}, and the lines between look "
            "like rows of their own; read quotes as text (quoting none), or, if the text does have these lines, as CSV "
            "quoting (quoting csv)",
            advice=Advice(Action.SET_ARGUMENTS, {"quoting": "none"}) if fits else None,
        )
    if better and 2 * len(plain.bad) <= len(enclosed.bad) > most_bad:
        line, problem = enclosed.bad[0]
        raise DataError(
            f"{name}, line {line}: {problem}; if the quotes of this file are text, read them so (quoting none)",
            advice=Advice(Action.SET_ARGUMENTS, {"quoting": "none"}),
        )
    return Quoted(enclosed, "csv")


def _has_quotes(text: str, delimiter: str) -> bool:
    """Whether a quote begins a field."""
    return text.startswith('"') or any(f'{before}"' in text for before in ("\n", "\r", delimiter))


def _mostly_enclosed(plain: Records) -> bool:
    """Whether most of the fields that begin with a quote are enclosed in quotes as RFC 4180 has it."""
    fields = [field for row in plain.rows for field in row if field.startswith('"')]
    return 2 * sum(_ENCLOSED.fullmatch(field) is not None for field in fields) > len(fields)


def _swallowing(text: str, records: Records, delimiter: str, label: str | None) -> tuple[int, int] | None:
    """The first record over several lines of which two or more look like rows by themselves."""
    if not records.spans:
        return None
    # Tabs are rare in texts, so that their number tells enough; commas are not.
    place = records.header.index(label) if label in records.header and delimiter != "\t" else None
    several = {start for start, _ in records.spans}
    labels = [] if place is None else [row[place].strip() for row in records.rows]
    values = {value for start, value in zip(records.places, labels, strict=False) if start not in several}
    values = values or set(labels)
    numbers = bool(values) and all(_NUMBER.fullmatch(value) for value in values)

    def looks_like_a_row(line: str) -> bool:
        fields = line.rstrip("\r\n").split(delimiter)
        if len(fields) != len(records.header):
            return False
        if place is None:
            return True
        value = fields[place].strip()
        return value in values or (numbers and _NUMBER.fullmatch(value) is not None)

    lines, _ = csv_lines(text)
    for start, end in records.spans:
        if sum(map(looks_like_a_row, lines[start - 1 : end])) >= 2:
            return start, end
    return None
