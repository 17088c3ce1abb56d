"""registry list: adapters and their versions, with search."""

from contextlib import suppress
from pathlib import Path

import click

from pointsman.registry import Page, Version
from pointsman.registry.errors import DamagedRowError
from pointsman.sdk.core.units import ago, count, number, size
from pointsman.sdk.details.texts import short_base

from .advice import tell_damaged
from .best import scored_rows
from .options import json_option
from .output import emit_csv, emit_json, note, version_json
from .runtime import open_registry
from .tables import table

TABLE_ROWS = 100
"""Rows of a table by default."""


@click.command(
    "list",
    short_help="Adapters and their versions; --where searches.",
    epilog="\n".join(
        (
            "\b",
            "A query for --where:",
            "  task in (sst2, cola) and best(eval/accuracy) >= 0.85 and config.r = 8",
            "  created > 7d ago and (alias = production or tags.owner = ann)",
            "  not name like 'test%' and parent is null",
            "",
            "\b",
            "  AND OR NOT ( )   = != < <= > >=   IN (...)   LIKE '%...'   IS [NOT] NULL",
            "  name number (version) task method base fingerprint digest run seed parent",
            "  alias note parameters size max_length score primary_metric evaluation",
            "  evaluation_rows created",
            "  tags.KEY  config.FIELD  settings.FIELD",
            "  eval/accuracy: its own score; metrics.NAME for a name without /",
            "  last(M) best(M) first(M) min(M) max(M) mean(M) count(M): M in its run",
        )
    ),
)
@click.argument("name", required=False)
@click.option("--where", metavar="QUERY", help="Only versions that match a query (see below), not only the newest.")
@click.option("--task", help="Only adapters of this task.")
@click.option("--base", help="Only adapters on the base with this name or fingerprint prefix.")
@click.option("--method", help="Only adapters of this method.")
@click.option(
    "--sort",
    metavar="FIELD",
    default="name",
    show_default=True,
    help="name (a to z), or greatest first: created, score, parameters, size, a metric as eval/accuracy.",
)
@click.option("--reverse", is_flag=True, help="Reverse the order.")
@click.option("--all", "every", is_flag=True, help="Every version, not only the newest of each adapter.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="At most N versions. [default: 100 in a table, else all]"
)
@click.option(
    "--page",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    show_default=True,
    help="Page to show, of --limit versions each.",
)
@click.option("--count", "only_count", is_flag=True, help="Print only the number of matches.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    name: str | None,
    where: str | None,
    task: str | None,
    base: str | None,
    method: str | None,
    sort: str,
    reverse: bool,
    every: bool,
    limit: int | None,
    page: int,
    only_count: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """List the newest version of each adapter, every version of NAME, or all that match a query."""
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    registry = open_registry(context)
    if limit is None and not as_json and not as_csv:
        limit = TABLE_ROWS
    if limit is None and page > 1:
        raise click.UsageError("--page needs --limit, the length of a page")
    versions = registry.versions(
        where,
        name=name,
        task=task,
        base=base,
        method=method,
        sort=sort,
        reverse=reverse,
        newest_only=not every and name is None and where is None,
        limit=1 if only_count else limit,
        offset=0 if only_count or limit is None else (page - 1) * limit,
    )
    if name is not None and not versions.total:
        with suppress(DamagedRowError):
            registry.version(name)  # an unknown adapter is an error, whatever else was asked for
    if only_count:
        click.echo(versions.total)
        return
    if as_json:
        emit_json([version_json(version) for version in versions])
    elif as_csv:
        emit_csv(
            [
                "ref",
                "task",
                "method",
                "base",
                "metric",
                "score",
                "parameters",
                "size",
                "aliases",
                "created",
                "rows",
                "evaluation",
            ],
            [
                (
                    version.ref,
                    version.task["name"],
                    version.method,
                    version.base.name,
                    version.primary_metric,
                    version.score,
                    version.parameters,
                    version.size,
                    " ".join(version.aliases),
                    version.created_at.isoformat(),
                    None if version.evaluation is None else version.evaluation.rows,
                    None if version.evaluation is None else version.evaluation.fingerprint,
                )
                for version in versions
            ],
        )
    elif versions:
        metric = sort if "/" in sort else None
        score = metric or "score"
        # Where the table is sorted by a metric, its name heads the column and no row repeats it.
        named = [] if metric else ["metric"]
        # Where versions are sorted by their scores, what these are of stands in place of the size.
        by_score = bool(metric) or sort == "score"
        rows = scored_rows(versions) if by_score and any(version.evaluation for version in versions) else {}
        after = ["rows", "parameters"] if rows else ["parameters", "size"]
        table(
            ["adapter", "task", "method", "base", *named, score, *after, "aliases", "made"],
            [
                (
                    version.ref,
                    version.task["name"],
                    version.method,
                    short_base(version.base.name),
                    *(version.primary_metric or "-" for _ in named),
                    number(version.metrics.get(metric) if metric else version.score),
                    *([rows[version.ref]] if rows else []),
                    count(version.parameters),
                    *([] if rows else [size(version.size)]),
                    ", ".join(version.aliases) or "-",
                    ago(version.created_at),
                )
                for version in versions
            ],
            right=(score, *after),
        )
        if len({*rows.values()} - {"-"}) > 1:
            note("scores can be compared where the metric and the rows are the same")
    else:
        filtered = any(value is not None for value in (name, where, task, base, method))
        _tell_nothing(versions, page, filtered=filtered, home=registry.home)
    tell_damaged(versions.damaged)
    shown = len(versions) + len(versions.damaged)
    if shown and limit is not None and versions.total > shown:
        last = versions.offset + shown
        more = f"; more: --page {page + 1}, --limit N" if last < versions.total else ""
        note(f"{versions.offset + 1} to {last} of {count(versions.total)}{more}")


def _tell_nothing(versions: Page[Version], page: int, *, filtered: bool, home: Path) -> None:
    """Say why a table has no rows."""
    if versions.damaged:
        return  # each is told of by itself
    if versions.total:
        note(f"page {page} is empty: {count(versions.total, 'version')} in all")
    elif filtered:
        note("no adapter matches")
    else:
        note(f"no adapters in {home} yet: train one with 'registry train'")
