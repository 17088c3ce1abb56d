"""registry log: who did what, when."""

import json

import click

from .options import json_option
from .output import emit_json, note
from .runtime import open_registry
from .tables import table
from .units import local


@click.command("log", short_help="Who did what, when.")
@click.argument("ref", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@json_option
@click.pass_context
def command(context: click.Context, ref: str | None, limit: int, as_json: bool) -> None:
    """Print the log of changes, newest first: of everything, of an adapter, or of one version (sst2@3).

    Nothing is ever changed in it or taken out of it.
    """
    events = open_registry(context).events(ref, limit=limit)
    if as_json:
        emit_json(events)
    elif events:
        table(
            ["when", "who", "what", "of", "details"],
            [
                (
                    local(event.at),
                    event.actor,
                    event.action,
                    event.subject,
                    ", ".join(f"{key} {_said(value)}" for key, value in event.details.items()) or "-",
                )
                for event in events
            ],
        )
    else:
        note("nothing in the log yet" if ref is None else f"the log tells nothing of {ref}")


def _said(value: object) -> str:
    if value is None or value == []:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)
