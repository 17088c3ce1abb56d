"""How results leave the program: data on standard output, messages on standard error.

Tables and trees are in ``tables``, numbers with their units in ``units``.
"""

import csv
import io
import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from pointsman.sdk.core.plain import plain

if TYPE_CHECKING:
    from pointsman.registry import Version

_HIDDEN: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories that are never printed: control and format characters (the bidirectional ones among them),
surrogates, line and paragraph separators."""


def emit_json(value: Any) -> None:
    """Print one JSON document; NaN and the infinities become the strings NaN, Infinity and -Infinity."""
    click.echo(json_text(value, indent=2))


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON that keeps letters of every script and escapes only what a terminal would act on.

    Where standard output has an encoding of fewer letters, JSON's escapes stand for all but those of ASCII.
    """
    text = json.dumps(plain(value), indent=indent, ensure_ascii=not _knows_every_letter(), allow_nan=False)
    if text.isprintable():
        return text
    return "".join(json.dumps(c)[1:-1] if c != "\n" and unicodedata.category(c) in _HIDDEN else c for c in text)


def emit_csv(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print comma-separated values; no text cell begins with a character that starts a formula in a spreadsheet."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([_harmless(header) for header in headers])
    writer.writerows([_harmless(plain(cell)) for cell in row] for row in rows)


def _harmless(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    text = printable(cell)
    # OWASP, "CSV Injection": a leading quote makes it text. Numbers are written as numbers, also negative ones.
    return f"'{text}" if text.startswith(tuple("=+-@＝＋－＠\n")) and text != "-Infinity" else text


def version_json(version: "Version") -> dict[str, Any]:
    """A version as JSON, with its ref."""
    return {**plain(version), "ref": version.ref}


def _knows_every_letter() -> bool:
    return (sys.stdout.encoding or "ascii").lower().startswith(("utf", "gb18030"))


def replace_unknown_letters() -> None:
    """From now on, letters that the encoding of an output lacks are printed as their escapes, and raise no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """Text in which characters that a terminal would act on are replaced by their escapes."""
    if text.isprintable():
        return text
    return "".join(ascii(c)[1:-1] if c != "\n" and unicodedata.category(c) in _HIDDEN else c for c in text)


def no_color() -> bool:
    """Whether the user wants no escape codes: NO_COLOR is set (no-color.org)."""
    return bool(os.environ.get("NO_COLOR"))


def note(text: str) -> None:
    """Print a message for the person at the terminal, on standard error."""
    click.echo(printable(text), err=True)
