"""registry show: everything about one version."""

import json

import click

from .options import json_option, open_registry
from .output import count, duration, emit_json, local, number, pairs, share, size, table, version_json


@click.command("show")
@click.argument("ref")
@json_option
@click.pass_context
def command(context: click.Context, ref: str, as_json: bool) -> None:
    """Show a version: configuration, files, base, metrics, run, data and environment."""
    registry = open_registry(context)
    version = registry.version(ref)
    run = None if version.run is None else registry.run(version.run)
    if as_json:
        emit_json({**version_json(version), "run": run})
        return
    base = version.base
    pairs(
        [
            ("version", version.ref),
            ("aliases", ", ".join(version.aliases) or "-"),
            ("digest", version.digest),
            ("made", local(version.created_at)),
            ("made from", ", ".join(version.parents) or "-"),
            ("task", f"{version.task['name']}: {version.task['description']}"),
            ("text", ", ".join(version.task["text"])),
            ("labels", ", ".join(version.task["labels"]) or "a score"),
            ("method", version.method),
            ("config", json.dumps(version.config, sort_keys=True)),
            ("max length", f"{version.max_length} tokens"),
            ("parameters", f"{count(version.parameters)} ({share(version.parameters, base.parameters)} of the base's)"),
            ("size", f"{size(version.size)} ({share(version.size, base.size)} of the base's {size(base.size)})"),
            ("base", f"{base.name} ({base.model_type}, {base.layers} layers, hidden {base.hidden_size})"),
            ("base sha256", base.fingerprint),
        ]
    )
    if run is not None:
        settings = {key: value for key, value in run.settings.items() if key != "config"}
        seconds = ((run.ended_at or run.heartbeat_at) - run.started_at).total_seconds()
        click.echo()
        pairs(
            [
                ("run", f"{run.uid} ({run.status}, {duration(seconds)})"),
                ("seed", str(run.seed)),
                ("settings", json.dumps(settings, sort_keys=True)),
                ("data", json.dumps(run.data, sort_keys=True)),
                ("environment", json.dumps(run.environment, sort_keys=True)),
            ]
        )
    click.echo()
    table(["metric", "value"], [(key, number(value)) for key, value in version.metrics.items()], right=("value",))
    click.echo()
    table(
        ["file", "size", "sha256"],
        [(file.name, size(file.size), file.sha256) for file in version.files],
        right=("size",),
    )
