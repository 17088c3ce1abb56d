"""registry export: a version's files for plain adapters, or a bundle for another registry."""

from pathlib import Path
from typing import Final

import click

from pointsman.sdk.core.units import count, size

from .best import version_of
from .output import note
from .runtime import open_registry

_PACKED: Final = (".tgz", ".gz", ".bz2", ".xz", ".zst", ".zip", ".7z")


@click.command("export", short_help="A version's files, or versions as one bundle.")
@click.argument("refs", nargs=-1, metavar="REF...")
@click.argument("target", type=click.Path(path_type=Path))
@click.pass_context
def command(context: click.Context, refs: tuple[str, ...], target: Path) -> None:
    """Write one version's files into the directory TARGET, or versions into the bundle TARGET, which ends in .tar.

    The adapters library loads such a directory: model.load_adapter(TARGET, use_safetensors=True). A bundle holds the
    versions, their ancestors, and all metadata and metric histories; 'registry import' adds it to another registry.
    """
    if not refs:
        raise click.UsageError("name a version and where to write it: registry export sst2@3 sst2.tar")
    if target.suffix.lower() in _PACKED and not target.is_dir():
        raise click.UsageError(f"a bundle ends in .tar and is never compressed; found {target.suffix!a}")
    registry = open_registry(context)
    if target.suffix.lower() == ".tar":
        from pointsman.registry.upkeep import export_bundle

        versions = export_bundle(registry, [version_of(registry, ref).ref for ref in refs], target)
        refs_written = ", ".join(version.ref for version in versions[:10]) + (" …" if len(versions) > 10 else "")
        note(f"{target} ({size(target.stat().st_size)}): {count(len(versions), 'version')}: {refs_written}")
        return
    if len(refs) > 1:
        raise click.UsageError("a directory takes one version; for several, name a bundle: a file that ends in .tar")
    version = version_of(registry, refs[0])
    registry.export(version.ref, target)
    note(f"{version.ref} written to {target}: {', '.join(file.name for file in version.files)}")
