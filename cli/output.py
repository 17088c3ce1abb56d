"""How results leave the program: data on standard output, as tables or JSON; the rest on standard error."""

import dataclasses
import json
import math
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from pointsman.registry import Version

_HIDDEN: Final = ("Cc", "Cf", "Cs")
"""Unicode's categories of control characters, format characters (among them the bidirectional ones) and surrogates."""


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
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    return value


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

    drawn = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False, show_edge=False)
    for header in headers:
        drawn.add_column(header, justify="right" if header in right else "left", overflow="fold", min_width=len(header))
    for row in rows:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(highlight=False, color_system=None if no_color() else "auto")
    if not console.is_terminal:
        # Nobody folds lines for a pipe: every row stays on one line, however long.
        console = Console(highlight=False, width=10_000)
    console.print(drawn)


def no_color() -> bool:
    """Whether the user wants no escape codes: NO_COLOR is set (no-color.org)."""
    return bool(os.environ.get("NO_COLOR"))


def pairs(rows: Iterable[tuple[str, str]]) -> None:
    """Print names with their values, one a line."""
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {printable(value)}")


def note(text: str) -> None:
    """Say something to the person at the terminal, on standard error."""
    click.echo(printable(text), err=True)


def number(value: float | None) -> str:
    """A metric's value."""
    return "-" if value is None else f"{value:.4f}" if abs(value) < 1e5 else f"{value:.4g}"


def count(value: int) -> str:
    """A count with separators: 1,234,567."""
    return f"{value:,}"


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
