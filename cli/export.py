"""registry export: a version's files, for plain adapters and for anyone."""

from pathlib import Path

import click

from .options import open_registry
from .output import note


@click.command("export")
@click.argument("ref")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.pass_context
def command(context: click.Context, ref: str, directory: Path) -> None:
    """Write a version's files into DIRECTORY, as the adapters library reads them.

    model.load_adapter(DIRECTORY, use_safetensors=True) loads it.
    """
    registry = open_registry(context)
    version = registry.version(ref)
    registry.export(version.ref, directory)
    note(f"{version.ref} written to {directory}: {', '.join(file.name for file in version.files)}")
