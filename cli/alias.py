"""registry alias: names that move from version to version."""

import click

from .options import open_registry
from .output import note


@click.command("alias")
@click.argument("ref")
@click.argument("name")
@click.pass_context
def command(context: click.Context, ref: str, name: str) -> None:
    """Point the alias NAME at the version that REF means now: 'registry alias sst2@3 production'.

    From then on 'sst2@production' is that version. An alias that exists moves.
    """
    version = open_registry(context).set_alias(ref, name)
    note(f"{version.name}@{name} is {version.ref}")
