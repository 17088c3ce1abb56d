"""How results leave the program: data on standard output, as tables or JSON; the rest on standard error."""

import csv
import dataclasses
import json
import math
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from pointsman.registry import Version

_HIDDEN: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, format characters (among them the bidirectional ones), surrogates, and
what some programs take for the end of a line."""


def emit_json(value: Any) -> None:
    """Print one JSON document. NaN and the infinities, which JSON has not, are the strings NaN, Infinity, -Infinity."""
    click.echo(json_text(value, indent=2))


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON that people can read and no terminal acts on: what is hidden is escaped, and only that."""
    text = json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False)
    if text.isprintable():
        return text
    return "".join(json.dumps(c)[1:-1] if c != "\n" and unicodedata.category(c) in _HIDDEN else c for c in text)


def plain(value: Any) -> Any:
    """Records, times and numbers as what JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    return value


def emit_csv(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print comma-separated values. No cell of text begins with what a spreadsheet takes for a formula."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([_harmless(header) for header in headers])
    writer.writerows([_harmless(plain(cell)) for cell in row] for row in rows)


def _harmless(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    text = printable(cell)
    # OWASP, "CSV Injection": a quote before it, and it is text. Numbers come as numbers, also those below zero.
    return f"'{text}" if text.startswith(tuple("=+-@＝＋－＠\n")) and text != "-Infinity" else text


def version_json(version: "Version") -> dict[str, Any]:
    """A version as JSON has it, with its ref."""
    return {**plain(version), "ref": version.ref}


def printable(text: str) -> str:
    """Text with nothing in it that a terminal would act on: control characters and the like become escapes."""
    if text.isprintable():
        return text
    return "".join(ascii(c)[1:-1] if c != "\n" and unicodedata.category(c) in _HIDDEN else c for c in text)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = (), title: str = "") -> None:
    """Print a table; columns named in ``right`` are aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, color_system=None if no_color() else "auto")
    piped = not console.is_terminal
    cells = [[printable(cell).replace("\n", "\\n" if piped else "\n") for cell in row] for row in rows]
    most = 10_000 if piped else console.width
    widths = [min(most, max(_width(cell) for cell in column)) for column in zip(headers, *cells, strict=True)]
    if not piped:
        # Nobody folds lines for a pipe: every row stays on one line, however long.
        least = [width if header in right else _width(header) for header, width in zip(headers, widths, strict=True)]
        _narrow(widths, least, console.width)
    console.width = max(console.width, sum(widths) + _GAP * len(widths))
    drawn = Table(
        box=box.SIMPLE_HEAD,
        title=title or None,
        title_justify="left",
        pad_edge=False,
        show_edge=False,
        padding=(0, _GAP - 1, 0, 0),
    )
    for header, width in zip(headers, widths, strict=True):
        drawn.add_column(header, justify="right" if header in right else "left", overflow="fold", width=width)
    for row in cells:
        drawn.add_row(*map(Text, row))
    console.print(drawn)


_GAP: Final = 2


def _width(text: str) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, text.split("\n")))


def _narrow(widths: list[int], least: Sequence[int], width: int) -> None:
    """Make the widest columns narrower until all fit, or until they are as narrow as may be: none is ever left out."""
    excess = sum(widths) + _GAP * (len(widths) - 1) - width
    while excess > 0:
        wide = [column for column, found in enumerate(widths) if found > least[column]]
        if not wide:
            return
        widths[max(wide, key=lambda column: widths[column])] -= 1
        excess -= 1


def print_tree(tree: tuple[str, list[Any]]) -> None:
    """Print a tree of ``(label, branches)``."""
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    root = Tree(Text(printable(tree[0])))
    todo = [(root, tree[1])]
    while todo:
        drawn, branches = todo.pop()
        todo += [(drawn.add(Text(printable(label))), below) for label, below in branches]
    # However deep it is, no label is folded into its branch's narrow column.
    Console(highlight=False, color_system=None if no_color() else "auto", width=10_000).print(root)


def no_color() -> bool:
    """Whether the user wants no escape codes: NO_COLOR is set (no-color.org)."""
    return bool(os.environ.get("NO_COLOR"))


def pairs(rows: Iterable[tuple[str, str]]) -> None:
    """Print names with their values, one a line."""
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        # The lines of a value stand below each other: none passes for a name of its own.
        text = printable(value).replace("\n", f"\n{' ' * (width + 2)}")
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {text}")


def note(text: str) -> None:
    """Say something to the person at the terminal, on standard error."""
    click.echo(printable(text), err=True)


def number(value: float | None) -> str:
    """A metric's value."""
    if value is None:
        return "-"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.4g}"


def count(value: int, what: str = "") -> str:
    """A count with separators: 1,234,567; and of what: 1 file, 2 files."""
    return f"{value:,} {what}{'s' * (value != 1)}" if what else f"{value:,}"


def size(value: float) -> str:
    """Bytes as people say them: 1.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def share(part: float, whole: float) -> str:
    """A part of a whole in percent."""
    return f"{100 * part / whole:.2f} %" if whole else "-"


def duration(seconds: float) -> str:
    """Seconds as people say them: 2m05s."""
    seconds = max(seconds, 0)
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


def ago(time: datetime) -> str:
    """How long ago a time was."""
    return f"{duration((datetime.now(UTC) - time).total_seconds())} ago"


def local(time: datetime) -> str:
    """A time on the clock of whoever reads it."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
