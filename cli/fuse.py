"""registry fuse: learn how to listen to several adapters at once."""

import time
from typing import Any

import click

from .options import device_option, json_option, own_rows_options
from .output import emit_json, note, version_json
from .progress import Watcher
from .runtime import open_registry, quiet_libraries
from .train import summarise
from .train_options import method_fields, settings_of, settings_options


@click.command("fuse", short_help="Train attention over several adapters.")
@click.argument("name")
@click.option("--of", "members", required=True, metavar="REF,REF,…", help="The adapters to listen to.")
@click.option("--task", required=True, help="What to learn: one of GLUE's tasks, or one of your own.")
@click.option("--base", help="Where to load the base from, if not from where it was at their training.")
@click.option("--data", help="A directory with GLUE's data, 'sample', or a file of your own. [default: the hub]")
@own_rows_options
@click.option("--set", "fields", multiple=True, metavar="FIELD=VALUE", help="A field of the fusion layer, as JSON.")
@settings_options()
@device_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    name: str,
    members: str,
    task: str,
    fields: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Train AdapterFusion over several adapters, and register the best checkpoint as the next version of NAME.

    For every token, and at every place where the members are, a fusion layer learns how much to listen to each of them
    (Pfeiffer et al. 2021). Members may be of any tasks, but all bottlenecks on one base; they stay as they are. Trained
    are the fusion layer and a new head. 'registry attention NAME' shows which member a text listens to.

    \b
    registry fuse rte-fused --of rte,mnli@2,sst2 --task rte --data glue/
    registry train --resume RUN              after a crash: as if it had not been
    registry train --like rte-fused          the same once more
    """
    refs = [ref.strip() for ref in members.split(",") if ref.strip()]
    given = {key: value for key, value in options.items() if value not in (None, ())}
    overrides = method_fields(fields)
    registry = open_registry(context)
    registry.check_writable()  # before the seconds that the libraries take to load
    began = time.monotonic()
    note(f"loading {given.get('base', 'the base')} …")
    quiet_libraries()
    from pointsman.sdk import fuse

    named = {key: given[key] for key in ("base", "data", "text", "label", "validation") if key in given}
    with Watcher() as watcher:
        version = fuse(
            name,
            refs,
            task,
            overrides=overrides,
            registry=registry,
            report=watcher.report,
            **named,
            **settings_of(given),
        )
    seconds = time.monotonic() - began
    if as_json:
        emit_json({**version_json(version), "seconds": seconds})
        return
    summarise(registry, version, seconds)
