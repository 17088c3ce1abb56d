"""Tables, lists of names with values, and trees, for people."""

import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import click

from .output import no_color, printable

_GAP: Final = 2
"""Blanks between two columns; one where the table would not fit otherwise."""

_PIECE: Final = re.compile(r"@?[^ /_,@-]*[ /_,-]*")
"""A part of a text that is not torn, if that can be helped, with the separators after it."""

_LINE: Final = 100
"""Characters in a line of ``pairs``, names included."""


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print a table; columns named in ``right`` are aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, color_system=None if no_color() else "auto")
    piped = not sys.stdout.isatty()  # and not what rich takes for a terminal, which with FORCE_COLOR is any file
    cells = [[printable(cell).replace("\n", "\\n" if piped else "\n") for cell in row] for row in rows]
    widest = 10_000 if piped else console.width
    columns = list(zip(headers, *cells, strict=True))
    widths, gap = [min(widest, max(map(_width, column))) for column in columns], _GAP
    if not piped:  # a pipe gets every row on one line, however long
        gap = _fit(widths, columns, [header in right for header in headers], console.width)
    console.width = max(console.width, sum(widths) + gap * len(widths))
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, gap - 1, 0, 0))
    for header, width in zip(headers, widths, strict=True):
        justify: Literal["left", "right"] = "right" if header in right else "left"
        drawn.add_column(Text(_folded(header, width)), justify=justify, overflow="fold", width=width)
    for row in cells:
        drawn.add_row(*(Text(_folded(cell, width)) for cell, width in zip(row, widths, strict=True)))
    console.print(drawn)


def _width(text: str) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, text.split("\n")))


def _fit(widths: list[int], columns: Sequence[Sequence[str]], numbers: Sequence[bool], limit: int) -> int:
    """Narrow columns until the table fits, if it can; no column is dropped, and no number or header is torn.

    Texts are broken between their pieces, and inside of them only if nothing else helps.

    Args:
        widths: The widths of the columns, which are changed.
        columns: The columns, each with its header first.
        numbers: Which columns are of numbers.
        limit: Characters in a line.

    Returns:
        The blanks between two columns.
    """
    whole = [
        max(max(map(_width, column[1:]), default=0) if number else 0, *map(_longest_piece, column))
        for column, number in zip(columns, numbers, strict=True)
    ]
    torn = [
        least if number else _longest_piece(column[0])
        for least, number, column in zip(whole, numbers, columns, strict=True)
    ]
    for gap, least in ((_GAP, whole), (1, whole), (1, torn)):
        _narrow(widths, least, limit - gap * (len(widths) - 1))
        if sum(widths) + gap * (len(widths) - 1) <= limit:
            return gap
    return 1


def _narrow(widths: list[int], least: Sequence[int], limit: int) -> None:
    """Narrow the widest columns until they fit or every column has its least width."""
    excess = sum(widths) - limit
    while excess > 0:
        wide = [column for column, width in enumerate(widths) if width > least[column]]
        if not wide:
            return
        widths[max(wide, key=lambda column: widths[column])] -= 1
        excess -= 1


def _longest_piece(text: str) -> int:
    return max(_width(piece.rstrip()) for piece in _PIECE.findall(text))


def _folded(text: str, width: int) -> str:
    """Text in lines of a width, broken after blanks and the separators of names where that is possible."""
    if _width(text) <= width:
        return text
    lines: list[str] = []
    for line in text.split("\n"):
        lines.append("")
        for piece in _PIECE.findall(line):
            if lines[-1] and _width((lines[-1] + piece).rstrip()) > width:
                lines.append("")
            lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def pairs(rows: Iterable[tuple[str, str]], *, wrap: bool = False) -> None:
    """Print names with their values, one a line.

    Args:
        rows: Names with their values.
        wrap: Break lines at blanks so that each fits 100 columns; a word that is longer stays whole.
    """
    rows = [(printable(name), value) for name, value in rows]
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        lines = printable(value).split("\n")
        if wrap:
            lines = [part for line in lines for part in _wrapped(line, _LINE - width - _GAP)]
        # Further lines of a value are indented: none can be mistaken for a name.
        text = f"\n{' ' * (width + _GAP)}".join(lines)
        click.echo(f"{click.style(name.ljust(width), bold=True)}{' ' * _GAP}{text}")


def _wrapped(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, max(width, 20), break_long_words=False, break_on_hyphens=False) or [""]


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
    # However deep a label is, it is not folded into its branch's narrow column.
    Console(highlight=False, color_system=None if no_color() else "auto", width=10_000).print(root)
