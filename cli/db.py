"""registry db: upgrade the registry's database."""

import click

from pointsman.registry import Registry
from pointsman.registry.database.database import REVISIONS

from .output import note


@click.group("db", short_help="Upgrade the database of an older pointsman.")
def command() -> None:
    """Maintain the registry's database."""


@command.command("upgrade", short_help="Upgrade the schema, after a backup.")
@click.pass_context
def upgrade(context: click.Context) -> None:
    """Upgrade the database of an older pointsman to the current schema, in one transaction, after a backup."""
    with Registry(context.obj, upgrade=True, create=context.obj is None) as registry:
        database = registry.database
        if database.backup is None:
            note(f"{database.label} is up to date (schema {REVISIONS[-1]})")
        else:
            note(f"{database.label} now has schema {REVISIONS[-1]}; backup of the old one: {database.backup}")
