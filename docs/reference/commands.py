"""Write the reference of the command line from its commands: python docs/reference/commands.py FILE."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from pointsman.cli.main import SECTIONS, cli

WIDTH = 96


def pages() -> Iterator[str]:
    """Markdown, section by section: the help of the program and of every command, with all options."""
    root = click.Context(cli, info_name="registry", terminal_width=WIDTH, max_content_width=WIDTH)
    yield section("##", root)
    for title, names in SECTIONS.items():
        yield f"## {title}\n"
        for name in names:
            command = cli.get_command(root, name)
            assert command is not None, name
            context = click.Context(command, info_name=name, parent=root)
            yield section("###", context)
            if isinstance(command, click.Group):
                for child in command.commands.values():
                    yield section("####", click.Context(child, info_name=child.name, parent=context))


def section(level: str, context: click.Context) -> str:
    """One command: its heading and its help."""
    with context.scope():
        return f"{level} {context.command_path}\n\n```text\n{context.get_help()}\n```\n"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(pages()), encoding="utf-8")
