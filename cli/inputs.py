"""The texts to predict: arguments, lines or JSON lines on standard input, one row at a time."""

import io
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, Final, TextIO

import click

from pointsman.registry.errors import Action, Advice, SettingsError
from pointsman.sdk.core.read_settings import ReadSettings

from .advice import at_home

Row = tuple[str, ...]
"""The texts of a row, one for each text column of the task."""

_UNDECODED: Final = re.compile("[\udc80-\udcff]")
"""What ``surrogateescape`` makes of bytes that are not in the encoding."""

_LONGEST_QUOTE: Final = 80
"""Characters of a line in a message."""


class TextCommand(click.Command):
    """A command with texts as arguments, which says how to write one that begins with a dash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, or fail with a hint."""
        given = list(args)  # click takes them out as it parses
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            text = next((word for word in given if word.startswith(error.option_name)), error.option_name)
            if text.startswith("--") and " " not in text:
                raise
            command = at_home(
                shlex.join(["registry", "predict", "REF" if given[0].startswith("-") else given[0], "--", text])
            )
            raise click.UsageError(
                f"{error.format_message()}\na text that begins with '-' goes after '--'; try: {command}", ctx
            ) from error


def rows_of_arguments(texts: Sequence[str], columns: Sequence[str]) -> Iterator[Row]:
    """The rows of texts that were typed.

    Raises:
        click.UsageError: Half a pair.
        SettingsError: Bytes that are no text.
    """
    if len(texts) % len(columns):
        raise click.UsageError(
            f"this task takes sentence pairs ({', '.join(columns)}): give two texts for each; found {len(texts)} texts"
        )
    for number, text in enumerate(texts, start=1):
        _check_unicode(text, f"text {number}")
    return (tuple(texts[i : i + len(columns)]) for i in range(0, len(texts), len(columns)))


def rows_of_lines(lines: TextIO, columns: Sequence[str], *, encoding: str | None, jsonl: bool) -> Iterator[Row]:
    """The rows of a stream, read as they are asked for.

    Args:
        lines: The stream, of which nothing was read yet.
        columns: The text columns of the task.
        encoding: The stream's encoding; None: UTF-8.
        jsonl: Whether each line is a JSON text, list or object; else a line is a text, or a pair in any form.

    Raises:
        SettingsError: A line that is no row of the task, or bytes that are not in the encoding; with its number.
    """
    reading = ReadSettings(encoding="utf-8" if encoding is None else encoding)
    if isinstance(lines, io.TextIOWrapper):
        # A wrong byte is refused below, where the number of its line is known. JSON is split at line feeds only.
        lines.reconfigure(encoding=reading.codec, errors="surrogateescape", newline="\n" if jsonl else None)
    return _rows(lines, columns, reading.encoding, jsonl=jsonl)


class RowsBeforeError(Iterator[Row]):
    """The rows of a stream up to the first that is none, whose error is kept until the others have their answers."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self.error: SettingsError | None = None
        """Why the stream ended early; None: it did not, so far."""

    def __next__(self) -> Row:
        try:
            return next(self._rows)
        except SettingsError as error:
            self.error = error
            raise StopIteration from error


def _rows(lines: TextIO, columns: Sequence[str], encoding: str, *, jsonl: bool) -> Iterator[Row]:
    blank = None  # a blank line of JSON is refused where another follows: its answer would belong to the wrong line
    for index, line in enumerate(_decoded(lines, encoding), start=1):
        text = line.rstrip("\r\n")
        if _UNDECODED.search(text):
            raise _not_encoded(index, encoding)
        if jsonl and not text.strip():
            blank = blank or index
            continue
        if blank is not None:
            raise SettingsError(f'line {blank} is blank; write one JSON value a line, for an empty text ""')
        if jsonl:
            row = _json_row(text, columns, index)
        else:
            row = (text,) if len(columns) == 1 else _pair(text, columns, index)
        for cell in row:
            _check_unicode(cell, f"line {index}")
        yield row


def _decoded(lines: TextIO, encoding: str) -> Iterator[str]:
    number = 0
    try:
        for line in lines:
            number += 1
            yield line
    except UnicodeDecodeError as error:  # an encoding of several bytes, in which a wrong one has no stand-in
        raise _not_encoded(number + 1, encoding) from error


def _not_encoded(number: int, encoding: str) -> SettingsError:
    return SettingsError(
        f"line {number} is not {encoding.upper()}; write it in UTF-8, or name its encoding, such as cp1252",
        advice=Advice(Action.SET_ARGUMENTS, {"encoding": None}),
    )


def _check_unicode(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SettingsError(f"{where} is not valid Unicode: {error}; write it in UTF-8") from error


def _json_row(line: str, columns: Sequence[str], number: int) -> Row:
    try:
        row = _row_of(json.loads(line), columns)
    except ValueError as error:
        raise SettingsError(f"line {number} is not JSON ({error}); write one JSON value a line") from error
    except RecursionError as error:
        raise SettingsError(f"line {number} is nested too deeply; write one flat JSON value a line") from error
    if row is None:
        count = "a string, a list of one" if len(columns) == 1 else f"a list of {len(columns)} strings"
        raise SettingsError(
            f"line {number} is no row of this task: write {count}, or an object with {', '.join(columns)}; "
            f"found {line[:_LONGEST_QUOTE]!r}"
        )
    return row


def _row_of(value: Any, columns: Sequence[str]) -> Row | None:
    """The row that a JSON value is; None: it is none."""
    if isinstance(value, str) and len(columns) == 1:
        return (value,)
    if isinstance(value, dict) and all(isinstance(value.get(column), str) for column in columns):
        return tuple(value[column] for column in columns)
    if isinstance(value, list) and len(value) == len(columns) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return None


def _pair(line: str, columns: Sequence[str], number: int) -> Row:
    if line.lstrip().startswith(("[", "{")):
        try:
            row = _row_of(json.loads(line), columns)
        except (ValueError, RecursionError):
            row = None  # a text may well begin with a bracket
        if row is not None:
            return row
    parts = tuple(line.split("\t"))
    if len(parts) != len(columns):
        raise SettingsError(
            f"line {number} is not a pair ({', '.join(columns)}): write the two texts with a tab between, "
            f"or as JSON; found {line[:_LONGEST_QUOTE]!r}"
        )
    return parts
