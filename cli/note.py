"""registry note: what people want to remember about a version."""

import io
import sys

import click

from .output import note as say
from .output import printable
from .runtime import open_registry


@click.command("note", short_help="Write a note to a version.")
@click.argument("ref")
@click.argument("text", required=False)
@click.option("--remove", is_flag=True, help="Take the note away.")
@click.pass_context
def command(context: click.Context, ref: str, text: str | None, remove: bool) -> None:
    """Write a note to a version, in place of the one it has; without TEXT, print it.

    The TEXT '-' is read from standard input.
    """
    registry = open_registry(context)
    if remove and text is not None:
        raise click.UsageError("--remove takes no text")
    if text == "-":
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape", newline=None)  # the registry says what is no text
        text = sys.stdin.read().rstrip("\n")
    if remove or text is not None:
        version = registry.set_note(ref, None if remove else text)
        say(f"{version.ref} {'has no note any more' if remove else 'has a new note'}")
        return
    version = registry.version(ref)
    if version.note is None:
        say(f"{version.ref} has no note")
    else:
        click.echo("\t".join(map(printable, version.note.split("\t"))))
