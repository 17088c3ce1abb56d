"""registry train: train an adapter on a task and register it."""

import time
from typing import Any

import click

from pointsman.registry import Registry, Run, Version
from pointsman.sdk.core.units import duration

from .advice import at_home, hint
from .best import version_of
from .options import device_option, json_option, metric_options, own_rows_options, reading_of
from .output import emit_json, note, version_json
from .progress import Watcher
from .runtime import open_registry, quiet_libraries
from .summaries import score_rows, size_rows
from .tables import pairs
from .train_options import method_fields, settings_of, settings_options


@click.command("train", short_help="Train an adapter and register it as the next version.")
@click.argument("task", required=False)
@click.option("--base", help="Base: minilm, a directory, or a name on the Hugging Face hub.")
@click.option("--data", help="Directory with GLUE's data, 'sample', or your own file. [default: the hub]")
@own_rows_options
@metric_options
@click.option("--name", help="Adapter to add the version to. [default: the task's name]")
@click.option("--method", help="Method, see 'registry methods'; several as lora+seq_bn. [default: seq_bn]")
@click.option("--set", "fields", multiple=True, metavar="FIELD=VALUE", help="Field of the method; the value is JSON.")
@click.option("--resume", "resumed", metavar="RUN", help="Resume a run that crashed or was interrupted.")
@click.option("--like", metavar="REF", help="Repeat the training of a version or run:UID; other options change it.")
@settings_options()
@device_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    task: str | None,
    resumed: str | None,
    like: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train an adapter on TASK and register the best checkpoint as its next version.

    TASK is one of GLUE's (see 'registry tasks'), or a name for your own task, whose rows come from a CSV, TSV, JSON
    lines or parquet file:

    \b
    registry train sst2 --base minilm --data glue/
    registry train reviews --base minilm --data r.csv --text body --label stars
    registry train pairs --base minilm --data pairs.jsonl --text a --text b
    registry train --resume 3fa9             continue after a crash, same result
    registry train --like sst2@3 --seed 1    repeat with another seed
    """
    given = _given(context, options)
    _check_usage(task, resumed, like, given)
    registry = open_registry(context, create=True)
    registry.check_writable()  # before the libraries load, which takes seconds
    began = time.monotonic()
    note("importing the libraries …")
    quiet_libraries()
    from pointsman.sdk.training.train import run_of

    # Before the training, which makes another version the latest.
    if like is not None and not like.startswith("run:"):
        like = version_of(registry, like).ref
    before = None if like is None else run_of(registry, like)
    version = _train(registry, task, before, given) if resumed is None else _resume(registry, resumed)
    seconds = time.monotonic() - began
    if as_json:
        emit_json({**version_json(version), "seconds": seconds})
        return
    summarise(registry, version, seconds)
    if before is not None:
        _compare(registry, before, version)


def _given(context: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """The options that were typed."""
    default = click.core.ParameterSource.DEFAULT
    return {key: value for key, value in options.items() if context.get_parameter_source(key) != default}


def _check_usage(task: str | None, resumed: str | None, like: str | None, given: dict[str, Any]) -> None:
    if resumed is not None:
        if like is not None or task is not None or given:
            flags = {"learning_rate": "--lr", "fields": "--set"}
            typed = [flags.get(key, f"--{key.replace('_', '-')}") for key in given]
            other = [*(["--like"] if like else []), *([task] if task else []), *typed]
            again = at_home(f"registry train --like run:{resumed.removeprefix('run:')} …")
            raise click.UsageError(
                f"--resume continues a run with its own settings and takes nothing else; found {', '.join(other)}. To "
                f"train with other settings: {again}"
            )
    elif like is not None:
        if task is not None:
            raise click.UsageError(f"--like trains the task of {like}: omit '{task}' or --like")
    elif task is None or "base" not in given:
        missing = "TASK" if task is None else "--base"
        raise click.UsageError(f"{missing} is missing: registry train TASK --base BASE, or --resume RUN, or --like REF")


def _train(registry: Registry, task: str | None, like: Run | None, given: dict[str, Any]) -> Version:
    """Train TASK with the given options, or like a run with these changed."""
    from pointsman.sdk import train, train_like

    named = ("base", "method", "name", "data", "validation", "text", "label", "primary", "positive")
    arguments = {
        **{key: given[key] for key in named if key in given},
        **reading_of(given),
        **settings_of(given),
        "overrides": method_fields(given.get("fields", ())),
    }
    with Watcher() as watcher:
        if like is not None:
            return train_like(f"run:{like.uid}", registry=registry, report=watcher.report, **arguments)
        assert task is not None
        return train(task, registry=registry, report=watcher.report, **arguments)


def _resume(registry: Registry, resumed: str) -> Version:
    from pointsman.sdk import resume

    _print_start(registry, resumed)
    with Watcher() as watcher:
        return resume(resumed, registry=registry, report=watcher.report)


def _print_start(registry: Registry, resumed: str) -> None:
    from pointsman.sdk.training.checkpoints import Checkpoints

    uid = registry.check_resumable(resumed.removeprefix("run:")).uid
    directory = registry.run_directory(uid)
    step = Checkpoints(directory).last_step()
    note(
        f"run {uid} has no checkpoint in {directory.parent}: it starts again"
        if step is None
        else f"run {uid} continues from step {step}"
    )


def summarise(registry: Registry, version: Version, seconds: float) -> None:
    """Print the version that a training made, advice on it, and the next command."""
    click.echo()
    pairs(
        [
            ("registered", version.ref),
            *score_rows(version),
            *_positive_row(registry, version),
            *size_rows(version),
            ("time", duration(seconds)),
        ]
    )
    from pointsman.sdk.training.diagnosis import diagnose

    for finding in diagnose(registry, version):
        click.echo(f"\nnote: {finding.text}")
        for advice in finding.advice:
            click.echo(hint(advice))
    example = '"one text" "another"' if len(version.task["text"]) == 2 else '"some text"'
    click.echo(f"\nnext: {at_home(f'registry predict {version.name} {example}')}")


def _positive_row(registry: Registry, version: Version) -> list[tuple[str, str]]:
    """The class that F1 is of, where the caller did not choose it."""
    positive = version.task.get("positive")
    if positive is None or version.run is None or registry.run(version.run).data["given"].get("positive") is not None:
        return []
    return [
        (
            "positive class",
            f"'{positive}': the rarer in the training rows, of two as frequent the second; --positive names another",
        )
    ]


def _compare(registry: Registry, before: Run, version: Version) -> None:
    """Print whether a repeated training made the same weights, and if not, what was different."""
    from pointsman.sdk.formats.native import same_weights
    from pointsman.sdk.training.environment import differences

    if before.version is None or version.run is None:
        return
    first, now = registry.version(before.version), registry.run(version.run)
    if same_weights(*(registry.read_files(one) for one in (first, version))):
        click.echo(f"the weights are those of {first.ref}, bit for bit")
        return
    pairs_of = [
        *((key, before.settings.get(key), now.settings[key]) for key in sorted({*now.settings} - {"asked", "steps"})),
        ("rows", before.data.get("fingerprint", "")[:12], now.data["fingerprint"][:12]),
    ]
    if not before.base.is_same(now.base):
        pairs_of.append(("base", before.base.fingerprint[:12], now.base.fingerprint[:12]))
    changed = [f"{key}: {old}, now {new}" for key, old, new in pairs_of if old != new]
    why = [*changed, *differences(before.environment, now.environment)]
    click.echo(f"the weights are not those of {first.ref}; different: {', '.join(why) or 'nothing that is known'}")
