"""The cells of a benchmark, read from the registry: their runs, their versions and their scores.

This module imports no heavy library, so that a table is printed at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from pointsman.registry import Base, Origin, Registry, Run, RunStatus, quote
from pointsman.registry.errors import Action, Advice, RunNotFoundError, listed, unknown
from pointsman.registry.refs import check_name

from ..core.registries import open_registry
from .choice import chosen_methods, chosen_seeds, chosen_tasks
from .score import METRICS, TASKS, Row, row, task_score

CELL: Final = "cell"
"""The kind of a cell's origin."""
SETTINGS: Final = "settings"
"""The key of the requested settings in the details of a cell's origin."""


class Cell(NamedTuple):
    """One training of a benchmark."""

    task: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.task}, {self.method}, seed {self.seed}"

    @property
    def item(self) -> str:
        """The item of the origin of its runs."""
        return f"{self.task}/{self.method}/{self.seed}"

    @classmethod
    def of_item(cls, item: str) -> Self:
        """The cell with this item."""
        task, method, seed = item.split("/")
        return cls(task, method, int(seed))

    def origin(self, benchmark: str, settings: Mapping[str, Any]) -> Origin:
        """The origin of its runs."""
        return Origin(kind=CELL, name=benchmark, item=self.item, details={SETTINGS: dict(settings)})


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """The outcome of a cell."""

    task: str
    method: str
    seed: int
    ref: str | None
    """The version; None if there is none."""
    score: float | None
    """The task's score, times 100."""
    metrics: Mapping[str, float]
    """The version's metrics."""
    run: str | None
    """The uid of its run, of the newest one if it was started several times."""
    seconds: float | None
    """From the start of the run to its end, pauses included."""
    trouble: str | None
    """Why there is no version."""


@dataclass(frozen=True, kw_only=True)
class GlueResults:
    """The cells of a benchmark, and its table."""

    name: str
    base: Base | None
    """None if nothing was trained."""
    sources: tuple[str, ...]
    """Where the rows came from, for people."""
    settings: Mapping[str, Any]
    """The requested settings by name; all others were the defaults."""
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    left_out: tuple[str, ...]
    """GLUE tasks that the data lack, if all tasks were requested."""
    cells: tuple[CellResult, ...]
    """Every task with every method and seed."""

    def rows(self, *, with_wnli: bool = False) -> tuple[Row, ...]:
        """The table, one row a method; the module ``score`` defines its numbers.

        Args:
            with_wnli: Include WNLI in the average.
        """
        return tuple(
            row(
                method,
                {
                    (cell.task, cell.seed): cell.score
                    for cell in self.cells
                    if cell.method == method and cell.score is not None
                },
                tasks=self.tasks,
                seeds=self.seeds,
                with_wnli=with_wnli,
            )
            for method in self.methods
        )

    @property
    def missing(self) -> tuple[CellResult, ...]:
        """The cells without a version."""
        return tuple(cell for cell in self.cells if cell.ref is None)


def recorded_benchmarks(registry: Registry) -> dict[str, tuple[str, ...]]:
    """The benchmarks with a run: by name, the newest first, where their rows came from."""
    sources: dict[str, dict[str, None]] = {}
    for run in registry.runs(f"origin.kind = {CELL}"):
        if run.origin is not None:
            sources.setdefault(run.origin.name, {})[_source(run)] = None
    return {name: tuple(found) for name, found in sources.items()}


def recorded_cells(registry: Registry, name: str) -> dict[Cell, list[Run]]:
    """The runs of every recorded cell of a benchmark, newest first."""
    cells: dict[Cell, list[Run]] = {}
    for run in registry.runs(_query(name)).whole():
        if run.task in TASKS:
            cells.setdefault(Cell(run.task, run.method, run.seed), []).append(run)
    return cells


def runs_of_cell(registry: Registry, name: str, cell: Cell) -> list[Run]:
    """The runs of one cell of a benchmark, newest first."""
    return list(registry.runs(f"{_query(name)} and origin.item = {quote(cell.item)}").whole())


def requested_settings(run: Run) -> Mapping[str, Any]:
    """The settings that were requested when a cell was started."""
    settings: Mapping[str, Any] = (run.origin.details.get(SETTINGS) if run.origin else None) or {}
    return settings


def current_run(runs: Sequence[Run]) -> Run:
    """The newest run with a version, or the newest run; ``runs`` are a cell's, newest first."""
    return next((run for run in runs if run.version is not None), runs[0])


def glue_results(
    *,
    registry: Registry | None = None,
    name: str = "glue",
    tasks: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> GlueResults:
    """Read a benchmark's results; nothing is trained.

    Args:
        registry: Where it is recorded; by default the default registry.
        name: The benchmark's name.
        tasks: Only these tasks; by default all with a run.
        methods: Only these methods; by default all with a run.
        seeds: Only these seeds; by default all with a run.

    Raises:
        RunNotFoundError: The benchmark is unknown, or has none of the chosen cells; the message lists what it has.
        SettingsError, NotFoundError: As ``glue``.
    """
    check_name(name, "benchmark name")
    choice = (
        None if tasks is None else chosen_tasks(tasks),
        None if methods is None else chosen_methods(methods),
        None if seeds is None else chosen_seeds(seeds),
    )
    with open_registry(registry) as opened:
        return _table(opened, name, *choice)


def collect(
    registry: Registry,
    name: str,
    recorded: Mapping[Cell, Sequence[Run]],
    *,
    tasks: tuple[str, ...],
    methods: tuple[str, ...],
    seeds: tuple[int, ...],
    left_out: tuple[str, ...] = (),
    failed: Mapping[Cell, str] | None = None,
) -> GlueResults:
    """Collect the results of every task with every method and seed.

    Args:
        registry: Where the versions are.
        name: The benchmark's name.
        recorded: The runs by cell, newest first.
        tasks: The tasks.
        methods: The methods.
        seeds: The seeds.
        left_out: Tasks that the data lack.
        failed: Why cells failed, for those whose run does not say so.
    """
    cells = [Cell(task, method, seed) for task in tasks for method in methods for seed in seeds]
    current = [current_run(recorded[cell]) for cell in cells if cell in recorded]
    newest = max(current, key=lambda run: run.started_at, default=None)
    return GlueResults(
        name=name,
        base=None if newest is None else newest.base,
        sources=tuple(dict.fromkeys(map(_source, current))),
        settings={} if newest is None else requested_settings(newest),
        tasks=tasks,
        methods=methods,
        seeds=seeds,
        left_out=left_out,
        cells=tuple(cell_result(registry, cell, recorded.get(cell, ()), (failed or {}).get(cell)) for cell in cells),
    )


def cell_result(registry: Registry, cell: Cell, runs: Sequence[Run], failed: str | None = None) -> CellResult:
    """The result of one cell.

    Args:
        registry: Where its version is.
        cell: The cell.
        runs: Its runs, newest first.
        failed: Why it failed, if its run does not say so.
    """
    run = current_run(runs) if runs else None
    version = None if run is None or run.version is None else registry.version(run.version)
    score = None
    if version is not None and version.metrics.keys() >= {*METRICS[cell.task]}:  # a stranger's bundle may lack some
        score = task_score(cell.task, version.metrics)
    return CellResult(
        task=cell.task,
        method=cell.method,
        seed=cell.seed,
        ref=None if version is None else version.ref,
        score=score,
        metrics={} if version is None else version.metrics,
        run=None if run is None else run.uid,
        seconds=None if run is None else run.seconds,
        trouble=None if version is not None else _trouble(run, failed),
    )


def _source(run: Run) -> str:
    """Where its rows came from, which a run of a stranger's bundle may not say."""
    return str(run.data.get("source", "unknown"))


def _query(name: str) -> str:
    return f"origin.kind = {CELL} and origin.name = {quote(name)}"


def _table(
    registry: Registry,
    name: str,
    tasks: tuple[str, ...] | None,
    methods: tuple[str, ...] | None,
    seeds: tuple[int, ...] | None,
) -> GlueResults:
    recorded = recorded_cells(registry, name)
    chosen = [
        cell
        for cell in recorded
        if (tasks is None or cell.task in tasks)
        and (methods is None or cell.method in methods)
        and (seeds is None or cell.seed in seeds)
    ]
    if not chosen:
        if recorded:
            known = listed(sorted(recorded), "; ")
            raise RunNotFoundError(f"the benchmark '{name}' has none of these cells; known: {known}")
        names = sorted(recorded_benchmarks(registry))
        raise unknown(RunNotFoundError, "benchmark", name, names, advice=Advice(Action.BENCHMARK))
    return collect(
        registry,
        name,
        recorded,
        tasks=tasks or tuple(task for task in TASKS if any(cell.task == task for cell in chosen)),
        methods=methods or tuple(dict.fromkeys(cell.method for cell in sorted(chosen))),
        seeds=seeds or tuple(sorted({cell.seed for cell in chosen})),
    )


def _trouble(run: Run | None, failed: str | None) -> str:
    """Why a cell has no version."""
    if failed is not None:
        return f"failed: {failed}"
    if run is None:
        return "not trained"
    if run.status is RunStatus.FINISHED:
        return "its version was removed"
    if run.status is RunStatus.RUNNING:
        return f"running in another process (run {run.uid})"
    return f"{run.status}: {run.error}" if run.error else str(run.status)
