"""registry show: one version in full, or its lineage."""

from collections.abc import Sequence

import click

from pointsman.registry import Base, Registry, Run, RunStatus, Version
from pointsman.sdk.core.units import count, duration, local, size
from pointsman.sdk.details.fields import Field, composition_text, config_fields, setting_fields
from pointsman.sdk.details.runs import data_rows, environment_rows

from .best import version_of
from .lineage import print_lineage
from .options import json_option
from .output import emit_json, printable, version_json
from .runtime import open_registry
from .summaries import print_metrics, size_rows
from .tables import pairs, table


@click.command("show", short_help="Everything about a version; --tree is its lineage.")
@click.argument("ref")
@click.option("--all", "every", is_flag=True, help="Every field and setting, not only those that differ from defaults.")
@click.option("--tree", is_flag=True, help="What it was made from and what was made from it, in all generations.")
@json_option
@click.pass_context
def command(context: click.Context, ref: str, every: bool, tree: bool, as_json: bool) -> None:
    """Show a version: its task, files, base, metrics and tags, and the run that made it.

    Of the configuration, only the fields that differ from the method's defaults are printed; of the settings, those
    that were requested. --all prints every field of both, and all that is known of the data and the environment.
    """
    registry = open_registry(context)
    if tree:
        print_lineage(registry, ref, as_json=as_json)
        return
    version = version_of(registry, ref)
    run = None if version.run is None else registry.run(version.run)
    servings = registry.runs(f"origin.name = '{version.ref}'", adapter=version.name, serving=True).items
    if as_json:
        emit_json({**version_json(version), "run": run, "servings": servings})
        return
    _print_version(version, every)
    if run is not None:
        _print_run(run, every)
    if version.metrics:
        click.echo()
        if version.evaluation is not None:
            click.echo(f"scored on {count(version.evaluation.rows, 'row')}, {version.evaluation.fingerprint[:12]}")
        print_metrics(version.metrics, version.task)
    if servings:
        _print_servings(registry, version, servings)
    click.echo()
    table(
        ["file", "size", "sha256"],
        [(file.name, size(file.size), file.sha256) for file in version.files],
        right=("size",),
    )


def _print_version(version: Version, every: bool) -> None:
    task, base = version.task, version.base
    composition = composition_text(version)
    pairs(
        [
            ("version", version.ref),
            ("aliases", ", ".join(version.aliases) or "-"),
            ("tags", ", ".join(f"{key}={value}" for key, value in version.tags.items()) or "-"),
            ("note", version.note or "-"),
            ("digest", version.digest),
            ("made", local(version.created_at)),
            ("made from", ", ".join(version.parents) or "-"),
            ("task", ": ".join(task[key] for key in ("name", "description") if task.get(key))),
            ("text", ", ".join(task.get("text", ())) or "-"),
            ("labels", ", ".join(task.get("labels", ())) or "a score"),
            ("method", version.method),
            *([] if composition is None else [("composition", composition)]),
            ("max length", f"{version.max_length} tokens"),
            *size_rows(version),
            ("base", f"{base.name} ({base.model_type}, {base.layers} layers, hidden {base.hidden_size})"),
            ("fingerprint", _fingerprints(base)),
            ("tokenizer", base.tokenizer or "- (an older release did not record it)"),
        ],
        wrap=True,
    )
    if config := config_fields(version):
        others = f"the others are the defaults of {version.method} (--all shows them)"
        _print_fields("configuration", " fields", config, others, every=every)


def _print_servings(registry: Registry, version: Version, servings: Sequence[Run]) -> None:
    """How often servers answered with a version, and since when."""
    answered = {summary.key: summary.mean * summary.count for summary in registry.summaries(version.ref)}
    requests = round(answered.get("serving/requests", 0))
    running = sum(run.status is RunStatus.RUNNING for run in servings)
    click.echo()
    pairs(
        [
            ("served", f"{count(requests, 'request')} since {local(min(run.started_at for run in servings))}"),
            ("servers", f"{count(len(servings))}, of which {running} running"),
        ]
    )


def _fingerprints(base: Base) -> str:
    former = base.former_fingerprint
    return base.fingerprint if former is None else f"{base.fingerprint} (formerly {former})"


def _print_run(run: Run, every: bool) -> None:
    click.echo()
    pairs(
        [
            ("run", f"{run.uid} ({run.status}, {duration(run.seconds)})"),
            ("started", local(run.started_at)),
            ("seed", str(run.seed)),
            *([] if run.origin is None else [("part of", str(run.origin))]),
        ]
    )
    _print_fields("settings", "", setting_fields(run), "the others are defaults (--all shows them)", every=every)
    for title, rows in (("data", data_rows(run, every=every)), ("environment", environment_rows(run, every=every))):
        if rows:
            _print_section(title, rows)


def _print_fields(name: str, noun: str, fields: Sequence[Field], others: str, *, every: bool) -> None:
    """Print the fields that say something beyond the defaults, or, with ``every``, all of them."""
    shown = [field for field in fields if every or field.chosen]
    title = f"{name}: {len(shown)} of {len(fields)}{noun} set; {others}"
    if len(shown) == len(fields):
        title = f"{name}: all {len(fields)}{noun}"
    _print_section(title, [(field.name, field.text) for field in shown])


def _print_section(title: str, rows: Sequence[tuple[str, str]]) -> None:
    click.echo(f"\n{click.style(printable(title), bold=True)}")
    pairs([(f"  {name}", value) for name, value in rows], wrap=True)
