"""registry db: the database behind the registry."""

from pathlib import Path

import click

from pointsman.registry import default_home
from pointsman.registry.database import REVISIONS, Database

from .output import note


@click.group("db")
def command() -> None:
    """Look after the registry's database."""


@command.command("upgrade")
@click.pass_context
def upgrade(context: click.Context) -> None:
    """Bring the database of an older pointsman up to date; makes a backup first, and changes all or nothing."""
    home: Path = context.obj or default_home()
    database = Database(home / "registry.db", upgrade=True)
    database.close()
    if database.backup is None:
        note(f"{database.path} is up to date (schema {REVISIONS[-1]})")
    else:
        note(f"{database.path} now has schema {REVISIONS[-1]}; as it was: {database.backup}")
