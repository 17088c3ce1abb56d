"""registry list: what there is."""

import click

from .options import json_option, open_registry
from .output import ago, count, emit_json, note, number, size, table, version_json


@click.command("list")
@click.argument("name", required=False)
@click.option("--task", help="Only adapters of this task.")
@click.option("--base", help="Only those on the base of this name, or whose fingerprint begins so.")
@click.option("--method", help="Only those of this adapter method.")
@click.option("--sort", metavar="METRIC", help="Best first by this metric, as eval/accuracy.")
@click.option("--all", "every", is_flag=True, help="Every version, not only the newest of each adapter.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    name: str | None,
    task: str | None,
    base: str | None,
    method: str | None,
    sort: str | None,
    every: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """List adapters: the newest version of each, or every version of NAME."""
    registry = open_registry(context)
    versions = registry.versions(
        name=name,
        task=task,
        base=base,
        method=method,
        sort=sort,
        newest_only=not every and name is None,
        limit=limit,
    )
    if as_json:
        emit_json([version_json(version) for version in versions])
        return
    if not versions:
        if any(value is not None for value in (name, task, base, method)):
            note("no adapter matches")
        else:
            note(f"no adapters in {registry.home} yet: train one with 'registry train'")
        return
    shown = sort or "score"
    table(
        ["adapter", "task", "method", "base", "metric", shown, "parameters", "size", "aliases", "made"],
        [
            (
                version.ref,
                version.task["name"],
                version.method,
                version.base.name,
                sort or version.primary_metric or "-",
                number(version.metrics.get(sort) if sort else version.score),
                count(version.parameters),
                size(version.size),
                ", ".join(version.aliases) or "-",
                ago(version.created_at),
            )
            for version in versions
        ],
        right=(shown, "parameters", "size"),
    )
