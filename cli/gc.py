"""registry gc: files that no version needs."""

import click

from pointsman.sdk.core.units import ago, count, size

from .options import json_option
from .output import emit_json, note
from .runtime import open_registry
from .tables import table


@click.command("gc", short_help="Find or remove files that no version needs.")
@click.option("--apply", is_flag=True, help="Remove the files. [default: only list them]")
@click.option(
    "--preexisting",
    is_flag=True,
    help="Also files that were in the object store before it became this registry's. Another registry may need them.",
)
@json_option
@click.pass_context
def command(context: click.Context, apply: bool, preexisting: bool, as_json: bool) -> None:
    """List the files that no version needs, left by removed versions or crashes, or remove them with --apply.

    Files written within the last hour are kept: a version may be about to use them.
    """
    registry = open_registry(context)
    from pointsman.registry.upkeep import collect_garbage

    garbage = collect_garbage(registry, apply=apply, preexisting=preexisting)
    if as_json:
        emit_json(
            {
                "removed": apply,
                "size": garbage.size,
                "young": garbage.young,
                "preexisting": garbage.preexisting,
                "files": garbage.files,
                "checkpoints": garbage.checkpoints,
            }
        )
        return
    if garbage.files:
        table(
            ["file", "size", "written"],
            [(file.path, size(file.size), ago(file.modified)) for file in garbage.files],
            right=("size",),
        )
    files = f"{count(len(garbage.files), 'file')}, {size(garbage.size)}"
    done = "removed" if apply else "nothing was removed: --apply does it"
    outcome = done if garbage.files else "nothing to remove"
    young = f"; {garbage.young} more are too young to tell" if garbage.young else ""
    note(f"{files}: {outcome}{young}")
    if garbage.preexisting:
        note(
            f"{count(garbage.preexisting, 'file')} from before the store became this registry's: kept, since another "
            "registry may need them; --preexisting includes them"
        )
    if garbage.checkpoints:
        note(f"{count(len(garbage.checkpoints), 'checkpoint')} of runs that have finished: {done}")
