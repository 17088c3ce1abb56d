"""registry tune: search for the best settings in trials."""

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from pointsman.registry.errors import Action, Advice, SettingsError, TrainingError
from pointsman.sdk.core.units import count, number
from pointsman.sdk.tuning.space import Space, format_params, format_value

from .advice import at_home, hint
from .options import device_option, json_option, metric_options, own_rows_options, with_reading
from .output import emit_json, note
from .progress import Watcher
from .runtime import open_registry, quiet_libraries
from .tables import pairs, table
from .train_options import settings_options

if TYPE_CHECKING:
    from pointsman.sdk import Progress
    from pointsman.sdk.tuning.studies import Trial
    from pointsman.sdk.tuning.tune import TuneResult


@click.command("tune", short_help="Search for the best settings.")
@click.argument("task")
@click.option("--trials", type=click.IntRange(min=1), default=20, show_default=True, help="Trials in all.")
@click.option("--base", required=True, help="Base: minilm, a directory, or a name on the Hugging Face hub.")
@click.option("--data", help="Directory with GLUE's data, 'sample', or your own file. [default: the hub]")
@own_rows_options
@metric_options
@click.option("--method", default="seq_bn", show_default=True, help="Method, see 'registry methods'.")
@click.option("--space", "texts", multiple=True, metavar="NAME=VALUES", help="Values to search; may be repeated.")
@click.option("--study", metavar="NAME", help="Study that the trials belong to. [default: TASK-METHOD]")
@click.option("--name", metavar="ADAPTER", help="Adapter to add the versions to. [default: TASK-tune]")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the search and of every training.")
@click.option(
    "--together",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Trials that train together, at most.",
)
@click.option("--no-pruning", is_flag=True, help="Train every trial to its end.")
@settings_options(
    "epochs",
    "max_steps",
    "max_train_rows",
    "max_eval_rows",
    "eval_every",
    "precision",
)
@device_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    task: str,
    trials: int,
    together: int,
    texts: tuple[str, ...],
    no_pruning: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train TASK in trials, and find the settings and the method's configuration that score best.

    Each trial is a run, and each completed trial a version of TASK-tune; TASK-tune@best is the best one. A trial is
    pruned if its best score so far is below the median of the earlier trials at the same step. After Ctrl-C or a crash,
    the same command continues the study; with more --trials, it adds to it. With --together, trials share each pass
    through the base where method, base and device allow it, and each is chosen without the scores of those beside it.

    Without --space, the learning rate and the method's capacity are searched. With it, exactly what it names: settings
    of the training, or fields of the method (see 'registry methods METHOD').

    \b
    --space learning_rate=1e-4..1e-2:log    range, on a logarithmic scale
    --space weight_decay=0..0.1             range
    --space epochs=2..6                     range of integers
    --space reduction_factor=4,8,16         one of these values
    --space batch_size=32                   the same value in every trial
    """
    space = _space(texts)
    registry = open_registry(context, create=True)
    registry.check_writable()  # before the libraries load, which takes seconds
    given = with_reading({key: value for key, value in options.items() if value not in (None, ())})
    note("importing the libraries …")
    quiet_libraries()
    from pointsman.sdk import tune

    with _Teller(trials, together) as teller:
        result = tune(
            task,
            trials=trials,
            space=space,
            together=together,
            pruner=not no_pruning,
            registry=registry,
            report=teller.report,
            on_trial=teller.tell,
            **given,
        )
    again = None if result.best is None else _train_command(task, result, result.best, given)
    if as_json:
        emit_json(_json(result, again))
    else:
        _print(result, again)
    if result.alone is not None:
        note(f"trials trained one after another: {result.alone}")
    if result.exhausted:
        note(f"all {result.space.size} combinations of the space were tried")
    elsewhere = sum(not trial.state.ended for trial in result.trials)
    if elsewhere:
        note(f"{count(elsewhere, 'trial')} still running in another process; the same command shows the result")
    if again is None:
        raise TrainingError(
            f"none of the {len(result.trials)} trials of the study '{result.study}' has a score",
            advice=Advice(Action.LIST_RUNS, {"adapter": result.adapter}),
        )


class _Teller:
    """Reports the start, progress and end of each trial.

    Args:
        trials: The number of trials of the study.
        together: The number of trials that train together.
    """

    def __init__(self, trials: int, together: int) -> None:
        self._trials, self._together = trials, together
        self._watcher = Watcher(alone=False, label=self._label)

    def __enter__(self) -> "_Teller":
        self._watcher.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._watcher.__exit__(kind, *error)
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            note("finished trials are kept; the same command continues the study")

    def tell(self, trial: "Trial") -> None:
        """Report that a trial starts, has ended, or was started elsewhere."""
        self._watcher.forget(trial.run)
        if trial.state == "running":
            note(f"trial {trial.number} was started by another process meanwhile")
        elif not trial.state.ended:
            resumed = " resumes" if trial.run is not None else ""
            note(f"trial {trial.number}{resumed} (of {self._trials}): {format_params(trial.params)}")
        else:
            outcome = f"{number(trial.score)}, {trial.ref}" if trial.error is None else trial.error
            note(f"trial {trial.number} {trial.state}: {outcome}")

    def report(self, progress: "Progress") -> None:
        """Show a training's progress; a training calls it."""
        self._watcher.report(progress)

    def _label(self, progress: "Progress") -> str:
        assert progress.origin is not None  # every trial has one
        return f"trial {progress.origin.item}" if self._together > 1 else ""


def _space(texts: tuple[str, ...]) -> Space | None:
    try:
        return Space.parse(texts) if texts else None
    except SettingsError as error:
        advice = "" if error.advice is None else f"\n{hint(error.advice)}"
        raise click.UsageError(f"--space: {error}{advice}") from error


def _print(result: "TuneResult", again: str | None) -> None:
    table(
        ["trial", "state", "score", "parameters", "run", "ref"],
        [
            (
                str(trial.number),
                trial.state,
                number(trial.score),
                format_params(trial.params),
                trial.run or "-",
                trial.ref or "-",
            )
            for trial in result.ranked
        ],
        right=("trial", "score"),
    )
    if result.best is None:
        return
    click.echo()
    pairs(
        [
            ("best", result.best.ref or f"trial {result.best.number}, whose version was removed"),
            (f"{result.metric} (primary)", number(result.best.score)),
            *((name, format_value(value)) for name, value in result.best.params.items()),
        ]
    )
    click.echo(f"\nto train with these settings: {again}")


def _json(result: "TuneResult", again: str | None) -> dict[str, Any]:
    trials = [
        {
            "trial": trial.number,
            "state": trial.state,
            "score": trial.score,
            "params": trial.params,
            "run": trial.run,
            "ref": trial.ref,
            "error": trial.error,
        }
        for trial in result.ranked
    ]
    return {
        "study": result.study,
        "adapter": result.adapter,
        "metric": result.metric,
        "space": result.space.texts,
        "trials": trials,
        "best": trials[0] if result.best is not None else None,
        "command": again,
    }


def _train_command(task: str, result: "TuneResult", best: "Trial", given: Mapping[str, Any]) -> str:
    """The command that trains with the best trial's settings, without the search's limits of rows."""
    from pointsman.sdk.tuning.fields import SETTINGS

    words = ["registry", "train", task]
    for name in ("base", "data", "validation", "text", "label", "primary", "positive", "method", "device"):
        values = given.get(name, ())
        for value in values if isinstance(values, tuple) else (values,):
            if (name, value) not in _DEFAULTS:
                words += [f"--{name}", str(value)]
    for name, value in given.get("reading", {}).items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    settings = {key: value for key, value in result.options.items() if key not in _LIMITS}
    for name, value in {**settings, **best.params}.items():
        if name not in SETTINGS:
            words += ["--set", f"{name}={format_value(value)}"]
        elif name != "device" and (name, value) not in _DEFAULTS:
            # The greatest norm that is allowed stands for none; for the other settings, None is the default.
            text = format_value(value) if value is not None else {"max_grad_norm": "1e6"}.get(name)
            words += [] if text is None else [_OPTIONS.get(name, f"--{name.replace('_', '-')}"), text]
    return at_home(shlex.join(words))


_DEFAULTS: Final = {("method", "seq_bn"), ("device", "cpu"), ("seed", 0)}
_LIMITS: Final = {"max_train_rows", "max_eval_rows"}
_OPTIONS: Final = {"learning_rate": "--lr", "class_weights": "--class-weight"}
"""Settings whose option of 'registry train' has another name."""
