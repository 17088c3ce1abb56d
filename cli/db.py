"""registry db: the database behind the registry."""

import click

from pointsman.registry import Registry
from pointsman.registry.database.database import REVISIONS

from .output import note


@click.group("db", short_help="Upgrade the database of an older pointsman.")
def command() -> None:
    """Look after the registry's database."""


@command.command("upgrade", short_help="Bring it up to date, after a backup.")
@click.pass_context
def upgrade(context: click.Context) -> None:
    """Bring the database of an older pointsman up to date; makes a backup first, and changes all or nothing."""
    with Registry(context.obj, upgrade=True) as registry:
        database = registry.database
        if database.backup is None:
            note(f"{database.label} is up to date (schema {REVISIONS[-1]})")
        else:
            note(f"{database.label} now has schema {REVISIONS[-1]}; as it was: {database.backup}")
