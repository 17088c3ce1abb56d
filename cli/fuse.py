"""registry fuse: train a fusion layer over several adapters."""

import time
from typing import Any

import click

from pointsman.sdk.core.refs import parse_ref

from .best import version_of
from .options import device_option, json_option, metric_options, own_rows_options, reading_of
from .output import emit_json, note, version_json
from .progress import Watcher
from .runtime import open_registry, quiet_libraries
from .train import summarise
from .train_options import method_fields, settings_of, settings_options


@click.command("fuse", short_help="Train attention over several adapters.")
@click.argument("name")
@click.option("--of", "members", required=True, metavar="REF,REF,…", help="Adapters to fuse.")
@click.option("--task", required=True, help="Task to learn: one of GLUE's, or your own.")
@click.option("--base", help="Where to load the base from. [default: where it was at training]")
@click.option("--data", help="Directory with GLUE's data, 'sample', or your own file. [default: the hub]")
@own_rows_options
@metric_options
@click.option(
    "--set", "fields", multiple=True, metavar="FIELD=VALUE", help="Field of the fusion layer; the value is JSON."
)
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

    At every place where the members have modules, a fusion layer learns attention weights over them for each token
    (Pfeiffer et al. 2021). Members may be of different tasks, but must be bottleneck adapters on one base. The fusion
    layer and a new head are trained, the members are not. 'registry attention NAME' shows the attention weights.

    \b
    registry fuse rte-fused --of rte,mnli@2,sst2 --task rte --data glue/
    registry train --resume RUN              continue after a crash, same result
    registry train --like rte-fused          repeat the training
    """
    named_refs = [ref.strip() for ref in members.split(",") if ref.strip()]
    given = {key: value for key, value in options.items() if value not in (None, ())}
    overrides = method_fields(fields)
    registry = open_registry(context)
    registry.check_writable()  # before the libraries load, which takes seconds
    refs = [version_of(registry, parse_ref(ref)).ref for ref in named_refs]
    began = time.monotonic()
    note("importing the libraries …")
    quiet_libraries()
    from pointsman.sdk import fuse

    names = ("base", "data", "text", "label", "validation", "primary", "positive")
    named: dict[str, Any] = {key: given[key] for key in names if key in given}
    named |= reading_of(given)
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
