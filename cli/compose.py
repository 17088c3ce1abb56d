"""registry compose: name a composition."""

import click

from .options import json_option
from .output import emit_json, note, version_json
from .runtime import open_registry


@click.command("compose", short_help="Name a composition of versions.")
@click.argument("name")
@click.argument("composition")
@json_option
@click.pass_context
def command(context: click.Context, name: str, composition: str, as_json: bool) -> None:
    """Register COMPOSITION as the next version of NAME; from then on NAME is a ref like any other.

    Its refs are pinned to what they mean now. Nothing is trained or copied: its members are used where it is.

    \b
    registry compose reviews "average(sst2@3, sst2@4)"
    registry compose both "parallel(sst2, cola)"      one answer of each
    registry compose german-nli "stack(german, mnli)" the head is the last one's
    """
    from pointsman.sdk import compose

    registry = open_registry(context)
    version = compose(name, composition, registry=registry)
    if as_json:
        emit_json(version_json(version))
        return
    note(f"{version.ref}: {version.method} of {', '.join(version.parents)}")
    click.echo(version.ref)
