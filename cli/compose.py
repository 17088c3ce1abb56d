"""registry compose: register a composition under a name."""

import click

from .best import pinned
from .options import json_option
from .output import emit_json, note, version_json
from .runtime import open_registry


@click.command("compose", short_help="Name a composition of versions.")
@click.argument("name")
@click.argument("composition")
@json_option
@click.pass_context
def command(context: click.Context, name: str, composition: str, as_json: bool) -> None:
    """Register COMPOSITION as the next version of NAME; NAME is then a ref like any other.

    Refs are pinned to the versions that they name now. Nothing is trained or copied: predictions use the members'
    weights.

    \b
    registry compose reviews "average(sst2@3, sst2@4)"
    registry compose both "parallel(sst2, cola)"      one answer from each
    registry compose german-nli "stack(german, mnli)" with the last one's head
    """
    from pointsman.sdk import compose

    registry = open_registry(context)
    version = compose(name, str(pinned(registry, composition)), registry=registry)
    if as_json:
        emit_json(version_json(version))
        return
    note(f"{version.ref}: {version.method} of {', '.join(version.parents)}")
    click.echo(version.ref)
