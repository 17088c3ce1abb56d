"""registry rm: remove versions."""

import click

from .output import note
from .runtime import open_registry


@click.command("rm", short_help="Remove versions.")
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@click.option(
    "--force", is_flag=True, help="Also remove versions that other versions were made from or an alias points to."
)
@click.pass_context
def command(context: click.Context, refs: tuple[str, ...], force: bool) -> None:
    """Remove versions, named by number or alias: 'registry rm sst2@3'.

    A number is never reused. The runs that made the versions keep their history, versions made from them still name
    them, and the next 'registry gc' removes their files.
    """
    registry = open_registry(context)
    for ref in refs:
        note(f"{registry.remove(ref, force=force)} removed")
