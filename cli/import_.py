"""registry import: add the versions of a bundle."""

from pathlib import Path

import click

from pointsman.sdk.core.units import count

from .options import json_option
from .output import emit_json, note
from .runtime import open_registry
from .tables import table


@click.command("import", short_help="Add the versions of a bundle.")
@click.argument("bundle", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@click.pass_context
def command(context: click.Context, bundle: Path, as_json: bool) -> None:
    """Add the versions of BUNDLE with their runs, histories, lineage, tags and notes: all of them, or none.

    Versions that this registry has already are unchanged. A version keeps its number if that is free.
    """
    registry = open_registry(context, create=True)
    from pointsman.registry.upkeep import import_bundle

    imported = import_bundle(registry, bundle)
    if as_json:
        emit_json(imported)
        return
    table(
        ["in the bundle", "here", "", "aliases"],
        [
            (version.source, version.ref, "new" if version.new else "was here", ", ".join(version.aliases) or "-")
            for version in imported
        ],
    )
    note(f"new here: {sum(version.new for version in imported)} of {count(len(imported), 'version')}")
