"""registry tag: the tags of a version, a value by key."""

import click

from .options import json_option
from .output import emit_json, note
from .runtime import open_registry
from .tables import pairs


@click.command("tag", short_help="Set KEY=VALUE on a version.")
@click.argument("ref")
@click.argument("tags", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--remove", multiple=True, metavar="KEY", help="Remove this tag; may be repeated.")
@json_option
@click.pass_context
def command(context: click.Context, ref: str, tags: tuple[str, ...], remove: tuple[str, ...], as_json: bool) -> None:
    """Set tags of a version: 'registry tag sst2@3 stage=canary owner=ann'. Without any, print its tags."""
    registry = open_registry(context)
    changes: dict[str, str | None] = dict.fromkeys(remove)
    for tag in tags:
        key, equals, value = tag.partition("=")
        if not equals:
            raise click.UsageError(f"{tag!a} is not a tag: write KEY=VALUE")
        if key in changes:
            raise click.UsageError(f"the tag {key!a} is named twice")
        changes[key] = value
    version = registry.set_tags(ref, changes) if changes else registry.version(ref)
    if as_json:
        emit_json(version.tags)
    elif version.tags:
        pairs(sorted(version.tags.items()))
    else:
        note(f"{version.ref} has no tags")
