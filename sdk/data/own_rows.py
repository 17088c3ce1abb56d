"""The rows of one file of the user's own that can be learned from or scored: its good rows, with labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pointsman.registry.errors import Action, Advice, DataError, SettingsError

from ..core.arguments import not_unicode, short_repr
from ..core.read_settings import ReadSettings
from .label_columns import LabelType, class_ids, read_labels
from .table_files import DELIMITED, Table, read_table

_FEW: Final = 10
"""Leaving out bad rows is advised where at most one row in so many is bad; with more, something else is wrong."""


@dataclass(frozen=True, kw_only=True)
class OwnRows:
    """Rows with text and label, and what was said of the others.

    Examples:
        >>> rows = read_own_rows("reviews.csv", ["text"], "label")
        >>> rows.type.classes, len(rows.table)
        (('bad', 'good'), 120)
    """

    table: Table
    """The rows."""
    type: LabelType
    labels: NDArray[Any]
    """Class ids as int64, or scores as float32, ``(rows,)``."""
    skipped: tuple[str, ...]
    """The rows that were left out, each with its place and what is wrong with it."""
    unlabelled: int
    """The number of rows that the file marks as having no label, which were left out, too."""

    @property
    def note(self) -> str:
        """What was read, and what was guessed of it, in one line."""
        quotes = {"csv": ", quotes enclose fields", "none": ", quotes are text", None: ""}[self.table.quoting]
        left_out = (
            f", {len(self.skipped):,} bad left out" if self.skipped else "",
            f", {self.unlabelled:,} without a label left out" if self.unlabelled else "",
        )
        return f"{self.table.path.name}: {len(self.table):,} rows{''.join(left_out)}{quotes}"


def read_own_rows(
    path: str | Path,
    text: Sequence[str],
    label: str,
    reading: ReadSettings | None = None,
    *,
    like: LabelType | None = None,
) -> OwnRows:
    """Read the rows of a file.

    Args:
        path: The file.
        text: The text columns.
        label: The label column.
        reading: How to read it; None: the defaults.
        like: The type of the training's labels, where these are rows to evaluate on; None: by the values.

    Raises:
        DataError: The file cannot be read, more rows are bad than may be left out, none is left, or a label is none of
            the training's.
    """
    reading = ReadSettings() if reading is None else reading
    table = read_table(Path(path), [*text, label], reading, label=label)
    found = read_labels(table, label, kind=reading.kind, like=like)
    problems = {**found.problems, **_text_problems(table, text)}
    for row in found.unlabelled:
        problems.pop(row, None)
    bad = sorted([*table.bad, *((table.places[row], problem) for row, problem in problems.items())])
    _check_bad(table, bad, reading.skip_bad_rows)
    kept = table.without(problems.keys() | found.unlabelled)
    if not len(kept):
        marked = f"; {len(found.unlabelled):,} rows are marked as having no label" if found.unlabelled else ""
        raise DataError(f"{path} has no row with text and label{marked}")
    left = [value for row, value in enumerate(found.values) if row not in problems and row not in found.unlabelled]
    classes = found.type.classes
    return OwnRows(
        table=kept,
        type=found.type,
        labels=np.array(left, dtype=np.float32) if classes is None else class_ids(left, classes, kept.where),
        skipped=tuple(f"{table.at(place)}: {problem}" for place, problem in bad),
        unlabelled=len(found.unlabelled),
    )


def reading_of_other(reading: ReadSettings, table: Table, other: str | Path) -> ReadSettings:
    """How to read a second file of the same data: quotes as the first one was guessed to have them."""
    alike = Path(other).suffix.lower() == table.path.suffix.lower()
    return replace(reading, quoting=table.quoting) if alike and table.quoting is not None else reading


def check_applies(reading: ReadSettings, paths: Sequence[str | Path]) -> None:
    """Refuse settings of reading that none of some files has a use for.

    Raises:
        SettingsError: A delimiter or quoting without a delimited file, or an encoding without a text file.
    """
    uses = {
        ("quoting", "delimiter"): ("delimited files, as .csv and .tsv", _is_delimited),
        ("encoding",): ("text files, and parquet has one encoding", _is_text),
    }
    for names, (files, fits) in uses.items():
        given = [name for name in names if getattr(reading, name) != getattr(ReadSettings(), name)]
        if given and not any(fits(Path(path).suffix.lower(), reading) for path in paths):
            raise SettingsError(f"{given[0]} is for {files}; found {Path(paths[0]).name}: leave it out")


def _is_delimited(ending: str, reading: ReadSettings) -> bool:
    return ending in DELIMITED or (reading.delimiter is not None and ending not in (".jsonl", ".ndjson", ".parquet"))


def _is_text(ending: str, reading: ReadSettings) -> bool:
    return ending != ".parquet"


def _text_problems(table: Table, names: Sequence[str]) -> dict[int, str]:
    """What is wrong with texts, by row: each must be a string that is not blank."""
    problems = {}
    for name in names:
        for row, value in enumerate(table.columns[name]):
            if value is None or (isinstance(value, str) and not value.strip()):
                problems[row] = f"the text {name!r} is empty; fill it or remove the row"
            elif not isinstance(value, str):
                problems[row] = f"the text {name!r} must be a string; found {short_repr(value)}"
            elif not value.isascii() and (reason := not_unicode(value)):
                problems[row] = f"the text {name!r} {reason}"
    return problems


def _check_bad(table: Table, bad: Sequence[tuple[int, str]], most: int) -> None:
    """Refuse a file with more bad rows than may be left out."""
    if len(bad) <= most:
        return
    place, problem = bad[0]
    total = len(table) + len(table.bad)
    also = f"; {len(bad):,} of {total:,} rows are bad" if len(bad) > 1 else ""
    limit = f", and skip_bad_rows is {most}" if most else ""
    raise DataError(
        f"{table.at(place)}: {problem}{also}{limit}",
        advice=Advice(Action.SET_ARGUMENTS, {"skip_bad_rows": len(bad)}) if len(bad) * _FEW <= total else None,
    )
