"""Tables, lists of names with values, and trees, for people."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

from .output import no_color, printable

_GAP: Final = 2
"""Blanks between two columns."""

_LINE: Final = 100
"""Characters in a line of ``pairs``, names included."""


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print a table; columns named in ``right`` are aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, color_system=None if no_color() else "auto")
    piped = not console.is_terminal
    cells = [[printable(cell).replace("\n", "\\n" if piped else "\n") for cell in row] for row in rows]
    widest = 10_000 if piped else console.width
    widths = [min(widest, max(_width(cell) for cell in column)) for column in zip(headers, *cells, strict=True)]
    if not piped:
        # A pipe gets every row on one line, however long.
        least = [width if header in right else _width(header) for header, width in zip(headers, widths, strict=True)]
        _narrow(widths, least, console.width)
    console.width = max(console.width, sum(widths) + _GAP * len(widths))
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, _GAP - 1, 0, 0))
    for header, width in zip(headers, widths, strict=True):
        drawn.add_column(header, justify="right" if header in right else "left", overflow="fold", width=width)
    for row in cells:
        drawn.add_row(*map(Text, row))
    console.print(drawn)


def _width(text: str) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, text.split("\n")))


def _narrow(widths: list[int], least: Sequence[int], limit: int) -> None:
    """Narrow the widest columns until the table fits or every column has its least width; no column is dropped."""
    excess = sum(widths) + _GAP * (len(widths) - 1) - limit
    while excess > 0:
        wide = [column for column, width in enumerate(widths) if width > least[column]]
        if not wide:
            return
        widths[max(wide, key=lambda column: widths[column])] -= 1
        excess -= 1


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
