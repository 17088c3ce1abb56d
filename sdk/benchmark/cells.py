"""The cells of a benchmark, as the registry has them: which there are, how each stands, and what they come to.

This module imports nothing heavy, so that a table is there at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pointsman.registry import Base, Origin, Registry, Run, RunStatus, quote
from pointsman.registry.errors import Action, Advice, RunNotFoundError, unknown
from pointsman.registry.refs import check_name

from ..core.registries import open_registry
from .choice import chosen_methods, chosen_seeds, chosen_tasks
from .score import TASKS, Row, row, task_score

CELL: Final = "cell"
"""The kind of a cell's origin."""
SETTINGS: Final = "settings"
"""The key of a cell's origin with the settings that were asked for."""


class Cell(NamedTuple):
    """One training of a benchmark."""

    task: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.task}, {self.method}, seed {self.seed}"

    def origin(self, benchmark: str, settings: Mapping[str, Any]) -> Origin:
        """The origin of its runs."""
        item = f"{self.task}/{self.method}/{self.seed}"
        return Origin(kind=CELL, name=benchmark, item=item, details={SETTINGS: dict(settings)})


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """What a cell came to."""

    task: str
    method: str
    seed: int
    ref: str | None
    """The version, if there is one."""
    score: float | None
    """The task's score, times 100."""
    metrics: Mapping[str, float]
    """The version's."""
    run: str | None
    """The uid of its run; the newest, if several were tried."""
    seconds: float | None
    """From the beginning of the run to its end, and a pause between."""
    trouble: str | None
    """Why there is no version."""


@dataclass(frozen=True, kw_only=True)
class GlueResults:
    """A benchmark's cells, and its table."""

    name: str
    base: Base | None
    """None where nothing was trained."""
    sources: tuple[str, ...]
    """Where the rows came from, in a few words each."""
    settings: Mapping[str, Any]
    """The settings that were asked for, by name; all others were the defaults."""
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    left_out: tuple[str, ...]
    """Tasks of GLUE that the data lack, where all were to be trained."""
    cells: tuple[CellResult, ...]
    """Every task with every method and seed."""

    def rows(self, *, with_wnli: bool = False) -> tuple[Row, ...]:
        """The table, one row a method; ``glue_score`` says what its numbers mean.

        Args:
            with_wnli: Whether WNLI takes part in the average.
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


def recorded_cells(registry: Registry, name: str) -> dict[Cell, list[Run]]:
    """The runs of every cell of a benchmark, newest first."""
    found: dict[Cell, list[Run]] = {}
    for run in registry.runs(f"origin.kind = {CELL} and origin.name = {quote(name)}"):
        if run.task in TASKS:
            found.setdefault(Cell(run.task, run.method, run.seed), []).append(run)
    return found


def asked_settings(run: Run) -> Mapping[str, Any]:
    """The settings that a cell's benchmark was asked for."""
    settings: Mapping[str, Any] = (run.origin.details.get(SETTINGS) if run.origin else None) or {}
    return settings


def current_run(runs: Sequence[Run]) -> Run:
    """Of a cell's runs, newest first: the newest with a version, or else the newest."""
    return next((run for run in runs if run.version is not None), runs[0])


def glue_results(
    *,
    registry: Registry | None = None,
    name: str = "glue",
    tasks: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> GlueResults:
    """What is there of a benchmark, with nothing trained.

    Args:
        registry: Where it is recorded; by default the default registry.
        name: The benchmark's.
        tasks: Only these; by default all that a run of the benchmark was of.
        methods: Only these; by default all that a run was of.
        seeds: Only these; by default all that a run was of.

    Raises:
        RunNotFoundError: Nothing of that name is recorded, or none of what was chosen; the message says what is.
        SettingsError, NotFoundError: As ``glue``.
    """
    check_name(name, "benchmark name")
    asked = (
        None if tasks is None else chosen_tasks(tasks),
        None if methods is None else chosen_methods(methods),
        None if seeds is None else chosen_seeds(seeds),
    )
    with open_registry(registry) as opened:
        return _table(opened, name, *asked)


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
    """What some cells come to.

    Args:
        registry: Where their versions are.
        name: The benchmark's.
        recorded: Their runs.
        tasks: With ``methods`` and ``seeds``, which cells.
        methods: See there.
        seeds: See there.
        left_out: Tasks that the data lack.
        failed: Why cells failed, where no run may say so.
    """
    cells = [Cell(task, method, seed) for task in tasks for method in methods for seed in seeds]
    counting = [current_run(recorded[cell]) for cell in cells if cell in recorded]
    newest = max(counting, key=lambda run: run.started_at, default=None)
    return GlueResults(
        name=name,
        base=None if newest is None else newest.base,
        sources=tuple(dict.fromkeys(run.data["source"] for run in counting)),
        settings={} if newest is None else asked_settings(newest),
        tasks=tasks,
        methods=methods,
        seeds=seeds,
        left_out=left_out,
        cells=tuple(_result(registry, cell, recorded.get(cell, ()), (failed or {}).get(cell)) for cell in cells),
    )


def _table(
    registry: Registry,
    name: str,
    tasks: tuple[str, ...] | None,
    methods: tuple[str, ...] | None,
    seeds: tuple[int, ...] | None,
) -> GlueResults:
    recorded = recorded_cells(registry, name)
    found = [
        cell
        for cell in recorded
        if (tasks is None or cell.task in tasks)
        and (methods is None or cell.method in methods)
        and (seeds is None or cell.seed in seeds)
    ]
    if not found:
        if recorded:
            there = "; ".join(map(str, sorted(recorded)[:20]))
            raise RunNotFoundError(f"the benchmark '{name}' has none of these cells; it has: {there}")
        names = sorted({run.origin.name for run in registry.runs(f"origin.kind = {CELL}") if run.origin})
        raise unknown(RunNotFoundError, "benchmark", name, names, advice=Advice(Action.BENCHMARK))
    return collect(
        registry,
        name,
        recorded,
        tasks=tasks or tuple(task for task in TASKS if any(cell.task == task for cell in found)),
        methods=methods or tuple(dict.fromkeys(cell.method for cell in sorted(found))),
        seeds=seeds or tuple(sorted({cell.seed for cell in found})),
    )


def _result(registry: Registry, cell: Cell, runs: Sequence[Run], failed: str | None) -> CellResult:
    run = current_run(runs) if runs else None
    version = None if run is None or run.version is None else registry.version(run.version)
    return CellResult(
        task=cell.task,
        method=cell.method,
        seed=cell.seed,
        ref=None if version is None else version.ref,
        score=None if version is None else task_score(cell.task, version.metrics),
        metrics={} if version is None else version.metrics,
        run=None if run is None else run.uid,
        seconds=None if run is None else ((run.ended_at or run.heartbeat_at) - run.started_at).total_seconds(),
        trouble=None if version is not None else _trouble(run, failed),
    )


def _trouble(run: Run | None, failed: str | None) -> str:
    """Why a cell has no version."""
    if failed is not None:
        return f"failed: {failed}"
    if run is None:
        return "not trained"
    if run.status is RunStatus.FINISHED:
        return "its version was removed"
    return f"{run.status}: {run.error}" if run.error else str(run.status)
