"""registry backup: a consistent copy of the whole registry."""

from pathlib import Path

import click

from pointsman.sdk.core.units import count, size

from .output import note
from .runtime import open_registry


@click.command("backup", short_help="Copy the whole registry, also while others write.")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.pass_context
def command(context: click.Context, directory: Path) -> None:
    """Copy the whole registry into DIRECTORY, also while others write to it.

    The copy is a home: 'registry --home DIRECTORY list'. An existing backup is updated; no other program may have it
    open then.
    """
    registry = open_registry(context)
    from pointsman.registry.upkeep import back_up

    made = back_up(registry, directory)
    files = f"{count(made.files, 'file')} ({size(made.size)}), {count(made.copied)} of them new"
    note(f"{made.path}: the database and {files}")
