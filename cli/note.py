"""registry note: the note of a version."""

import io
import sys

import click

from .output import note as say
from .output import printable
from .runtime import open_registry


@click.command("note", short_help="Write a note to a version.")
@click.argument("ref")
@click.argument("text", required=False)
@click.option("--remove", is_flag=True, help="Remove the note.")
@click.pass_context
def command(context: click.Context, ref: str, text: str | None, remove: bool) -> None:
    """Write a version's note, which replaces its former one; without TEXT, print it.

    The TEXT '-' reads the note from standard input.
    """
    registry = open_registry(context)
    if remove and text is not None:
        raise click.UsageError("--remove takes no text")
    if text == "-":
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape", newline=None)  # the registry refuses what is not text
        text = sys.stdin.read().rstrip("\n")
    if remove or text is not None:
        version = registry.set_note(ref, None if remove else text)
        say(f"note of {version.ref} {'removed' if remove else 'written'}")
        return
    version = registry.version(ref)
    if version.note is None:
        say(f"{version.ref} has no note")
    else:
        click.echo("\t".join(map(printable, version.note.split("\t"))))
