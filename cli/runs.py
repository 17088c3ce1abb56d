"""registry runs: every training, with or without a version."""

from contextlib import suppress

import click

from pointsman.registry.errors import DamagedRowError
from pointsman.sdk.core.units import count, duration, local

from .advice import tell_damaged
from .options import json_option
from .output import emit_json, note
from .runtime import open_registry
from .tables import table


@click.command(
    "runs",
    short_help="Every training, with or without a version.",
    epilog="\n".join(
        (
            "\b",
            "A query for --where:",
            "  status in (failed, interrupted) and started > 7d ago",
            "  origin.kind = trial and best(eval/accuracy) >= 0.85",
            "",
            "\b",
            "  run adapter task method base fingerprint error status version seed",
            "  started ended  origin.kind origin.name origin.item origin.FIELD",
            "  settings.FIELD data.FIELD",
            "  last(M) best(M) first(M) min(M) max(M) mean(M) count(M): M in the run",
        )
    ),
)
@click.argument("adapter", required=False)
@click.option("--where", metavar="QUERY", help="Only runs that match a query, see below.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="At most N runs.")
@json_option
@click.pass_context
def command(context: click.Context, adapter: str | None, where: str | None, limit: int, as_json: bool) -> None:
    """List trainings, newest first: of all adapters, or of ADAPTER.

    'registry history run:UID' prints the metrics of one.
    """
    registry = open_registry(context)
    runs = registry.runs(where, adapter=adapter, limit=limit)
    if adapter is not None and not runs.total:
        with suppress(DamagedRowError):
            registry.version(adapter)  # an adapter that has neither runs nor versions is unknown
    tell_damaged(runs.damaged)
    if as_json:
        emit_json(list(runs))
        return
    if not runs:
        if runs.damaged:
            return
        note("no run matches" if where is not None or adapter is not None else "no runs yet")
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
                duration(run.seconds),
                run.error or "-",
            )
            for run in runs
        ],
        right=("took",),
    )
    shown = len(runs) + len(runs.damaged)
    if runs.total > shown:
        note(f"1 to {shown} of {count(runs.total)}; more: --limit N")
