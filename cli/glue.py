"""registry glue: train adapters on all of GLUE and print the scores."""

import itertools
from typing import TYPE_CHECKING, Any

import click

from pointsman.registry import Registry
from pointsman.sdk.core.plain import plain
from pointsman.sdk.core.units import count, duration, number

from .options import device_option, json_option
from .output import emit_json, note
from .progress import Watcher
from .runtime import open_registry, quiet_libraries
from .tables import table
from .train_options import settings_options

if TYPE_CHECKING:
    from pointsman.sdk import Progress
    from pointsman.sdk.benchmark.cells import CellResult, GlueResults
    from pointsman.sdk.benchmark.glue import GlueBenchmark
    from pointsman.sdk.benchmark.score import Row, Spread


@click.command("glue", short_help="Train all of GLUE and print the scores.")
@click.option("--base", help="Base: minilm, a directory, or a name on the Hugging Face hub.")
@click.option("--data", help="Directory with GLUE's data, or 'sample'. [default: the hub]")
@click.option("--task", "tasks", multiple=True, help="Task to train; may be repeated. [default: all nine]")
@click.option("--method", "methods", multiple=True, help="Method; may be repeated. [default: seq_bn]")
@click.option("--seed", "seeds", multiple=True, type=int, help="Seed; may be repeated. [default: 0]")
@click.option(
    "--together",
    type=click.IntRange(min=1),
    metavar="N",
    help="Seeds of a task that train together, at most; 1: none do. [default: 4]",
)
@click.option("--name", default="glue", show_default=True, help="Benchmark; all its trainings have the same settings.")
@settings_options(
    "epochs",
    "max_steps",
    "learning_rate",
    "schedule",
    "warmup",
    "average",
    "batch_size",
    "gradient_accumulation",
    "weight_decay",
    "max_grad_norm",
    "max_length",
    "max_train_rows",
    "max_eval_rows",
    "eval_every",
    "patience",
    "checkpoint_every",
    "precision",
)
@click.option("--table", "only_table", is_flag=True, help="Print the scores so far, and train nothing.")
@click.option("--details", is_flag=True, help="Also print every training, with all its metrics.")
@click.option("--with-wnli", is_flag=True, help="Include WNLI in the average.")
@device_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    base: str | None,
    data: str | None,
    tasks: tuple[str, ...],
    methods: tuple[str, ...],
    seeds: tuple[int, ...],
    together: int | None,
    name: str,
    only_table: bool,
    details: bool,
    with_wnli: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train GLUE's tasks with each METHOD and SEED, and print a row of scores for each method, times 100.

    Each training makes a version of the adapter with its task's name; 'registry submit' uses TASK@best by default.
    The seeds of a task share each pass through the base where method, base and device allow it. After Ctrl-C or a
    crash, the same command continues and repeats no finished training.

    A task's score is the mean of its metrics on the validation rows (mrpc, qqp: accuracy and F1; stsb: both
    correlations; mnli: matched and mismatched). The average is the mean over the tasks without wnli, as in papers.
    Several seeds give mean ± sample standard deviation.
    """
    registry = open_registry(context, create=True)
    chosen: dict[str, Any] = {
        key: value for key, value in (("tasks", tasks), ("methods", methods), ("seeds", seeds)) if value
    }
    if only_table:
        from pointsman.sdk.benchmark.cells import glue_results

        results = glue_results(registry=registry, name=name, **chosen)
    else:
        if base is None:
            raise click.UsageError("--base is missing: registry glue --base BASE, or --table for the scores so far")
        given = {key: value for key, value in options.items() if value is not None}
        sharing = {} if together is None else {"together": together}
        results = _train(registry, {"base": base, "data": data, "name": name, "options": given, **chosen, **sharing})
    if as_json:
        emit_json(_json(results, with_wnli=with_wnli))
    else:
        _print(results, details=details, with_wnli=with_wnli)
    _explain(results, with_wnli=with_wnli)
    if results.missing and not only_table:
        context.exit(1)


def _train(registry: Registry, arguments: dict[str, Any]) -> "GlueResults":
    """Train the cells of the benchmark that have no version yet."""
    registry.check_writable()  # before the libraries load, which takes seconds
    note("importing the libraries …")
    quiet_libraries()
    from pointsman.sdk.benchmark.cells import Cell
    from pointsman.sdk.benchmark.glue import GlueBenchmark

    benchmark = GlueBenchmark(registry=registry, **arguments)
    _announce(benchmark)
    numbers = itertools.count(1)

    def start(cell: Cell) -> None:
        resumed = " (resumed)" if cell in benchmark.interrupted else ""
        note(f"training {next(numbers)} of {len(benchmark.pending)}: {cell}{resumed}")

    def label(progress: "Progress") -> str:
        assert progress.origin is not None  # every cell has one
        cell = Cell.of_item(progress.origin.item)
        return f"seed {cell.seed}" if cell.method in benchmark.sharing else ""

    with Watcher(alone=False, label=label) as watcher:

        def end(result: "CellResult") -> None:
            watcher.forget(result.run)
            if result.ref is None:
                note(_no_version(result))
            else:
                note(f"{result.ref} registered: score {_plain_score(result.score)}")

        try:
            benchmark.train(report=watcher.report, on_start=start, on_end=end)
        except KeyboardInterrupt:
            note("finished trainings are kept; the same command continues")
            raise
    return benchmark.results()


def _announce(benchmark: "GlueBenchmark") -> None:
    """Print what will be trained."""
    if benchmark.left_out:
        note(f"left out, without files in the data: {', '.join(benchmark.left_out)}")
    sizes = [(benchmark.tasks, "task"), (benchmark.methods, "method"), (benchmark.seeds, "seed")]
    product = " × ".join(count(len(values), noun) for values, noun in sizes)
    finished = len(benchmark.cells) - len(benchmark.pending)
    interrupted = f", {len(benchmark.interrupted)} to resume" if benchmark.interrupted else ""
    note(f"{product}: {count(len(benchmark.cells), 'training')}, {finished} finished{interrupted}")
    if benchmark.pending and benchmark.sharing:
        at_once = min(benchmark.together, len(benchmark.seeds))
        note(f"{', '.join(benchmark.sharing)}: {at_once} seeds at a time share each pass through the base")
    if benchmark.pending and len(benchmark.seeds) > 1 and benchmark.together > 1:
        for method, reason in benchmark.alone.items():
            note(f"{method}, one seed after another: {reason}")


def _print(results: "GlueResults", *, details: bool, with_wnli: bool) -> None:
    from pointsman.sdk.benchmark.score import TASKS

    tasks = [task for task in TASKS if task in results.tasks or task in results.left_out]
    rows = results.rows(with_wnli=with_wnli)
    cells = [[row.method, *(_score(row.scores.get(task)) for task in tasks), _score(row.average)] for row in rows]
    table(["method", *tasks, "avg"], cells, right=(*tasks, "avg"))
    if details:
        click.echo()
        _print_details(results.cells)


def _print_details(cells: "tuple[CellResult, ...]") -> None:
    headers = ["task", "method", "seed", "score", "ref", "run", "time", "metrics"]
    rows = [
        (
            cell.task,
            cell.method,
            str(cell.seed),
            _plain_score(cell.score),
            cell.ref or "-",
            cell.run or "-",
            "-" if cell.seconds is None else duration(cell.seconds),
            cell.trouble or "  ".join(f"{key} {number(value)}" for key, value in cell.metrics.items()),
        )
        for cell in cells
    ]
    table(headers, rows, right=("seed", "score", "time"))


def _explain(results: "GlueResults", *, with_wnli: bool) -> None:
    """Print what the scores were measured on, and what is missing."""
    from pointsman.sdk.benchmark.score import TASKS, averaged_tasks
    from pointsman.sdk.tasks import SYNTHETIC

    settings = ", ".join(
        f"{key} {f'{value:g}' if isinstance(value, float) else value}" for key, value in results.settings.items()
    )
    base = "" if results.base is None else f" of {results.base.name}"
    note(f"scores{base} on the validation rows × 100, from {', '.join(results.sources) or 'nothing yet'}")
    if settings:
        note(f"trained with {settings}; the others are defaults")
    if SYNTHETIC in results.sources:
        note("these rows are synthetic: their scores say nothing about GLUE")
    if "max_eval_rows" in results.settings:
        note("scored on part of the validation rows: not comparable with published scores")
    every = averaged_tasks(TASKS, with_wnli=with_wnli)
    averaged = averaged_tasks(results.tasks, with_wnli=with_wnli)
    if averaged != every:
        over = ", ".join(averaged) or "no task"
        note(f"avg is over {over} ({len(averaged)} of {len(every)}); missing: {', '.join(_without(every, averaged))}")
    for row in results.rows(with_wnli=with_wnli):
        _explain_seeds(row)
    for cell in results.missing:
        note(_no_version(cell))


def _no_version(cell: "CellResult") -> str:
    return f"no version of {cell.task}, {cell.method}, seed {cell.seed}: {cell.trouble}"


def _explain_seeds(row: "Row") -> None:
    if not row.incomplete:
        return
    missing = "; ".join(f"seed {seed} lacks {', '.join(tasks)}" for seed, tasks in row.incomplete.items())
    over = "no seed does" if row.average is None else f"it is over seed {', '.join(map(str, row.average.seeds))}"
    note(f"the avg of {row.method} counts only seeds that have every task; {over}: {missing}")


def _json(results: "GlueResults", *, with_wnli: bool) -> dict[str, Any]:
    """The results as one object, with the table as ``rows``."""
    return {**plain(results), "rows": plain(results.rows(with_wnli=with_wnli))}


def _score(spread: "Spread | None") -> str:
    """A score to one decimal: 83.2, or over several seeds 83.2±0.4."""
    if spread is None:
        return "-"
    return f"{spread.mean:.1f}" + ("" if spread.std is None else f"±{spread.std:.1f}")


def _plain_score(score: float | None) -> str:
    return "-" if score is None else f"{score:.1f}"


def _without(tasks: tuple[str, ...], some: tuple[str, ...]) -> list[str]:
    return [task for task in tasks if task not in some]
