"""registry alias: names that point at a version and can be moved."""

import click

from pointsman.registry import Ref

from .best import version_of
from .output import note
from .runtime import open_registry


@click.command("alias", short_help="Point a name such as production at a version.")
@click.argument("ref")
@click.argument("name", required=False)
@click.option(
    "--if-currently",
    type=click.IntRange(min=0),
    metavar="N",
    help="Only if the alias points to version N now (0: does not exist); of concurrent calls, one succeeds.",
)
@click.option("--remove", is_flag=True, help="Remove the alias REF (as sst2@production); the version stays.")
@click.pass_context
def command(context: click.Context, ref: str, name: str | None, if_currently: int | None, remove: bool) -> None:
    """Point the alias NAME at the version that REF names now: 'registry alias sst2@3 production'.

    From then on 'sst2@production' names that version. An existing alias moves atomically. The names latest, best,
    numbers and vN are reserved.
    """
    registry = open_registry(context)
    if remove:
        if name is not None:
            raise click.UsageError("--remove takes one argument, the alias: registry alias sst2@production --remove")
        if "@" not in ref:
            raise click.UsageError("name the alias to remove: registry alias sst2@production --remove")
        parsed = Ref.parse(ref)
        registry.remove_alias(parsed.name, str(parsed.selector), if_currently=if_currently)
        note(f"alias {ref} removed")
        return
    if name is None:
        raise click.UsageError("name the alias: registry alias sst2@3 production")
    version = registry.set_alias(version_of(registry, ref).ref, name, if_currently=if_currently)
    note(f"{version.name}@{name} is {version.ref}")
