"""registry runs: every training, with or without a version; and what servers recorded."""

from contextlib import suppress

import click

from pointsman.registry import Page, Run
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
@click.option("--serving", is_flag=True, help="What servers recorded of versions, instead of trainings.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="At most N runs.")
@json_option
@click.pass_context
def command(
    context: click.Context, adapter: str | None, where: str | None, serving: bool, limit: int, as_json: bool
) -> None:
    """List trainings, newest first: of all adapters, or of ADAPTER.

    'registry history run:UID' prints the metrics of one. --serving lists instead which servers answered with which
    version: origin.name is the version, origin.item the server.
    """
    registry = open_registry(context)
    runs = registry.runs(where, adapter=adapter, serving=serving, limit=limit)
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
    (_print_servings if serving else _print_trainings)(runs)
    shown = len(runs) + len(runs.damaged)
    if runs.total > shown:
        note(f"1 to {shown} of {count(runs.total)}; more: --limit N")


def _print_trainings(runs: Page[Run]) -> None:
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


def _print_servings(runs: Page[Run]) -> None:
    table(
        ["run", "version", "status", "server", "started", "took"],
        [
            (
                run.uid,
                run.served or "-",
                run.status,
                _server(run),
                local(run.started_at),
                duration(run.seconds),
            )
            for run in runs
        ],
        right=("took",),
    )


def _server(run: Run) -> str:
    """The server that recorded a run: its machine, and its id."""
    if run.origin is None:
        return "-"
    host = run.origin.details.get("host")
    return run.origin.item if host is None else f"{host} {run.origin.item}"
