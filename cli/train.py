"""registry train: learn a task, and register what was learned."""

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from pointsman.registry import Registry, Version

from .options import device_option, json_option, open_registry, quiet_libraries
from .output import count, duration, emit_json, note, number, pairs, share, size, version_json

if TYPE_CHECKING:
    from pointsman.sdk import Progress


@click.command("train", short_help="Train an adapter and register it as the next version.")
@click.argument("task")
@click.option("--base", required=True, help="minilm, a directory, or a name on the Hugging Face hub.")
@click.option("--data", help="A directory with GLUE's data, 'sample', or a file of your own. [default: the hub]")
@click.option("--text", multiple=True, metavar="COLUMN", help="Text column of your own file; twice for pairs.")
@click.option("--label", default="label", show_default=True, metavar="COLUMN", help="Label column of your own file.")
@click.option("--validation", type=click.Path(dir_okay=False), help="A file of validation rows of your own.")
@click.option("--name", help="The adapter to make a version of. [default: the task's name]")
@click.option("--method", default="seq_bn", show_default=True, help="See 'registry methods'.")
@click.option("--set", "fields", multiple=True, metavar="FIELD=VALUE", help="A field of the method, as JSON.")
@click.option("--epochs", type=float, help="Passes over the rows. [default: by their number, 2 to 6]")
@click.option("--lr", "learning_rate", type=float, help="Learning rate after warm-up. [default: 0.001]")
@click.option("--batch-size", type=int, help="Rows a step. [default: 16]")
@click.option("--max-length", type=int, help="Tokens that a row is cut to. [default: 128, or the base's most]")
@click.option("--seed", type=int, help="[default: 0]")
@click.option("--max-train-rows", type=int, help="Train on so many rows, drawn by the seed.")
@click.option("--max-eval-rows", type=int, help="Evaluate on the first so many rows.")
@click.option("--eval-every", type=int, metavar="STEPS", help="Evaluate so often. [default: after every epoch]")
@click.option("--patience", type=int, metavar="N", help="Stop after N evaluations without gain.")
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32"]), help="Of training. [default: auto]")
@device_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    task: str,
    base: str,
    data: str | None,
    text: tuple[str, ...],
    label: str,
    validation: str | None,
    name: str | None,
    method: str,
    fields: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Train an adapter on TASK and register the best checkpoint as its next version.

    TASK is one of GLUE's (see 'registry tasks'), or a name for a task of your own, whose rows come from a CSV, TSV,
    JSON lines or parquet file:

    \b
    registry train sst2 --base minilm --data glue/
    registry train reviews --base minilm --data r.csv --text body --label stars
    registry train pairs --base minilm --data pairs.jsonl --text a --text b
    """
    registry = open_registry(context)
    registry.check_writable()  # before the seconds that the libraries take to load
    overrides = _overrides(fields)
    note(f"loading {base} …")
    quiet_libraries()
    from pointsman.sdk import train

    began = time.monotonic()
    with Watcher() as watcher:
        version = train(
            task,
            base=base,
            method=method,
            overrides=overrides,
            data=data,
            validation=validation,
            text=text,
            label=label,
            name=name,
            registry=registry,
            report=watcher.report,
            **{key: value for key, value in options.items() if value is not None},
        )
    if as_json:
        emit_json({**version_json(version), "seconds": time.monotonic() - began})
    else:
        summarise(registry, version, time.monotonic() - began)


class Watcher:
    """Shows a training's progress: a live bar on a terminal, plain lines elsewhere, on standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        self._console = Console(stderr=True, highlight=False)
        self._bar = Bar(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[metric]}"),
            TextColumn("{task.fields[speed]}/s"),
            TextColumn("{task.fields[left]} left"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, epoch="-", loss="-", metric="", speed="-", left="?")
        self._scores = ""
        self._said = 0.0

    def __enter__(self) -> "Watcher":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    @property
    def report(self) -> "Callable[[Progress], None]":
        """What a training calls."""
        return self._on_terminal if self._console.is_terminal else self._in_lines

    def _on_terminal(self, progress: "Progress") -> None:
        if progress.metrics is not None:
            self._scores = _first(progress)
        self._bar.update(
            self._task,
            total=progress.steps,
            completed=progress.step,
            epoch=f"{progress.epoch:.2f}",
            loss=f"{progress.loss:.3f}",
            speed=f"{progress.samples_per_second:.0f}",
            left=duration(progress.seconds_left),
            metric=self._scores,
        )

    def _in_lines(self, progress: "Progress") -> None:
        done = progress.step / progress.steps
        if progress.metrics is None and done - self._said < 0.1:
            return
        self._said = done
        scores = "" if progress.metrics is None else f"  {_first(progress)}"
        note(
            f"step {progress.step}/{progress.steps}  epoch {progress.epoch:.2f}  loss {progress.loss:.3f}  "
            f"{progress.samples_per_second:.0f} rows/s  {duration(progress.seconds_left)} left{scores}"
        )


def summarise(registry: Registry, version: Version, seconds: float) -> None:
    """Print what came out of a training, and what to type next."""
    base = version.base
    scores = [
        (f"{key} (primary)" if key == version.primary_metric else key, number(value))
        for key, value in version.metrics.items()
    ]
    click.echo()
    pairs(
        [
            ("registered", version.ref),
            *scores,
            ("parameters", f"{count(version.parameters)} ({share(version.parameters, base.parameters)} of the base's)"),
            ("size", f"{size(version.size)} ({share(version.size, base.size)} of the base's {size(base.size)})"),
            ("time", duration(seconds)),
        ]
    )
    example = '"one text" "another"' if len(version.task["text"]) == 2 else '"some text"'
    click.echo(f"\nnext: registry predict {version.name} {example}")


def _first(progress: "Progress") -> str:
    assert progress.metrics is not None
    return "  ".join(f"{key} {value:.4f}" for key, value in progress.metrics.items() if not key.endswith("/loss"))


def _overrides(fields: tuple[str, ...]) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not name or not equals:
            raise click.UsageError(f"--set takes FIELD=VALUE, as reduction_factor=8; found '{field}'")
        try:
            overrides[name] = json.loads(value)
        except ValueError:
            overrides[name] = value  # a word: --set non_linearity=gelu
    return overrides
