"""registry runs: every training, with or without a version."""

import click

from .options import json_option
from .output import emit_json, note
from .runtime import open_registry
from .tables import table
from .units import duration, local


@click.command("runs", short_help="Every training, with or without a version.")
@click.argument("adapter", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="At most N runs.")
@json_option
@click.pass_context
def command(context: click.Context, adapter: str | None, limit: int, as_json: bool) -> None:
    """List trainings, newest first: of all adapters, or of ADAPTER.

    'registry history run:UID' prints the metrics of one.
    """
    runs = open_registry(context).runs(adapter=adapter, limit=limit)
    if as_json:
        emit_json(list(runs))
        return
    if not runs:
        note("no runs yet")
        return
    table(
        ["run", "adapter", "method", "status", "version", "started", "took", "error"],
        [
            (
                run.uid,
                run.adapter,
                run.method,
                run.status,
                run.version or "-",
                local(run.started_at),
                duration(((run.ended_at or run.heartbeat_at) - run.started_at).total_seconds()),
                run.error or "-",
            )
            for run in runs
        ],
        right=("took",),
    )
