"""registry db: upgrade the registry's database, and adopt its object store."""

import click

from pointsman.registry import Registry
from pointsman.registry.database.database import REVISIONS

from .output import note
from .runtime import open_registry


@click.group("db", short_help="Upgrade an older database, or adopt an object store.")
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


@command.command("adopt-store", short_help="Make the object store this registry's own.")
@click.pass_context
def adopt_store(context: click.Context) -> None:
    """Make the object store this registry's own, after a backup was restored or files were moved.

    A store belongs to one registry, and another one is refused before it adds or removes anything. Whoever had the
    store is refused from now on. A store that holds nothing of this registry is not taken.
    """
    registry = open_registry(context)
    from pointsman.registry import upkeep

    adopted = upkeep.adopt_store(registry)
    note(f"{adopted.store} belongs to this registry now ({adopted.registry[:12]})")
    if adopted.preexisting:
        note("it holds files that no version here needs: 'registry gc' leaves them alone without --preexisting")
