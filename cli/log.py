"""registry log: who did what, when."""

import json
from contextlib import suppress

import click

from pointsman.registry import Event
from pointsman.registry.errors import Action, Advice, DamagedRowError
from pointsman.sdk.core.units import local

from .advice import hint
from .options import json_option
from .output import emit_json, note
from .runtime import open_registry
from .tables import table


@click.command("log", short_help="Who did what, when.")
@click.argument("ref", required=False)
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="At most N entries."
)
@json_option
@click.pass_context
def command(context: click.Context, ref: str | None, limit: int, as_json: bool) -> None:
    """Print the log of changes, newest first: of the whole registry, of an adapter, or of one version (sst2@3).

    The log is append-only: no entry is ever changed or removed.
    """
    registry = open_registry(context)
    events = registry.events(ref, limit=limit)
    if ref is not None and not events:
        with suppress(DamagedRowError):
            registry.version(ref)  # what has no entry is unknown, unless a version of it exists
    if as_json:
        emit_json(events)
    elif events:
        if any(event.damage is not None for event in events):
            note(f"some rows are damaged; {hint(Advice(Action.VERIFY))}")
        table(
            ["when", "who", "what", "of", "details"],
            [
                (
                    local(event.at),
                    event.actor,
                    event.action,
                    event.subject,
                    _details(event),
                )
                for event in events
            ],
        )
    else:
        note("the log is empty" if ref is None else f"the log has no entries about {ref}")


def _details(event: Event) -> str:
    details = ", ".join(f"{key} {_text(value)}" for key, value in event.details.items()) or "-"
    return details if event.damage is None else f"damaged: {event.damage}"


def _text(value: object) -> str:
    if value is None or value == []:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)
