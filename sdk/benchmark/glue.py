"""``glue``: train every GLUE task with every method and seed into the registry."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

from pointsman.registry import Registry, Run, RunStatus, Version
from pointsman.registry.errors import (
    Action,
    Advice,
    ConflictError,
    DataError,
    PointsmanError,
    SettingsError,
    StoreError,
    TrainingError,
)
from pointsman.registry.refs import check_name

from ..bases.load import LoadedBase, load_base, read_base
from ..core.registries import open_registry
from ..data import available_splits
from ..data.source import DataSource
from ..data.splits import TaskData
from ..methods import DEFAULT_METHOD
from ..tasks import GLUE
from ..training.checkpoints import Checkpoints
from ..training.prepare import PreparedTraining, prepare
from ..training.progress import Report, quiet
from ..training.request import TrainRequest
from ..training.run_many import check_at_once, run_many
from ..training.settings import TrainSettings
from ..training.together import ignore, why_alone
from .cells import Cell, CellResult, GlueResults, cell_result, collect, current_run, recorded_cells, runs_of_cell
from .check import is_resumable, is_usable, non_default_settings, request_differences, training_differences
from .choice import chosen_methods, chosen_seeds, chosen_tasks
from .score import TASKS

TOGETHER: Final = 4
"""Seeds that share a pass, at most: each more gains less, and takes memory for its own activations."""


def glue(
    *,
    base: str,
    tasks: Sequence[str] | None = None,
    methods: Sequence[str] = (DEFAULT_METHOD,),
    seeds: Sequence[int] = (0,),
    data: str | Path | None = None,
    registry: Registry | None = None,
    name: str = "glue",
    together: int = TOGETHER,
    report: Report = quiet,
    **options: Any,
) -> GlueResults:
    """Train GLUE's tasks with every method and seed into the registry; ``rows()`` of the result is the table.

    Each training makes a version of the adapter with the task's name. The seeds of a task and method train together, as
    in ``train_many``, where the method, base and device allow it, and one after another elsewhere.

    The same call again keeps what was trained, resumes what was interrupted, and trains the rest: what failed, what was
    removed, and what is new in ``tasks``, ``methods`` or ``seeds``. Everything is checked before the first training
    starts. Several processes may do so at once; no cell is trained twice, and each process returns when there is
    nothing left for it to start.

    Args:
        base: ``minilm``, a directory, or a name on the Hugging Face hub.
        tasks: GLUE tasks; by default the nine with training rows, or those of them that a directory has.
        methods: Adapter methods.
        seeds: Seeds.
        data: A directory in the hub's or GLUE's own layout, ``sample``, or None for the hub.
        registry: Where the versions are registered; by default the default registry.
        name: The benchmark's name; all its cells are trained with the same settings.
        together: The number of seeds that train together, at most; 1: one after another.
        report: As for ``train``, for each training, which ``Progress.origin`` tells apart.
        **options: Fields of ``TrainSettings``.

    Returns:
        The result of every cell. A training that failed (TrainingError), or that another process is still running, is
        among ``missing``, with the reason.

    Raises:
        ConflictError: The benchmark was started with other settings, another base or other rows.
        PointsmanError: Something else in the request cannot work; the message says what.

    Examples:
        >>> glue(base="minilm", data="glue/", methods=["seq_bn", "lora"], seeds=[0, 1, 2]).rows()
    """
    with open_registry(registry) as opened:
        benchmark = GlueBenchmark(
            base=base,
            tasks=tasks,
            methods=methods,
            seeds=seeds,
            data=data,
            registry=opened,
            name=name,
            together=together,
            options=options,
        )
        benchmark.train(report=report)
        return benchmark.results()


class GlueBenchmark:
    """The cells of a benchmark, checked and ready to be trained; ``glue`` does both in one call.

    The constructor checks the whole request: it reads each task's rows once, loads the base once, and compares what is
    recorded under the name.

    Args:
        base: As for ``glue``.
        tasks: As for ``glue``.
        methods: As for ``glue``.
        seeds: As for ``glue``.
        data: As for ``glue``.
        registry: Where the versions are registered.
        name: As for ``glue``.
        together: As for ``glue``.
        options: Fields of ``TrainSettings``.

    Raises:
        ConflictError, PointsmanError: As ``glue``.
    """

    def __init__(
        self,
        *,
        base: str,
        tasks: Sequence[str] | None = None,
        methods: Sequence[str] = (DEFAULT_METHOD,),
        seeds: Sequence[int] = (0,),
        data: str | Path | None = None,
        registry: Registry,
        name: str = "glue",
        together: int = TOGETHER,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        registry.check_writable()
        self.name, self.together = check_name(name, "benchmark name"), check_at_once(together)
        self.methods, self.seeds = chosen_methods(methods), chosen_seeds(seeds)
        chosen = None if tasks is None else chosen_tasks(tasks)
        if "seed" in (options or {}):
            raise SettingsError("a benchmark takes a list of seeds; found the setting 'seed', give seeds=[…]")
        settings = TrainSettings.of(options or {})
        self._settings = {seed: replace(settings, seed=seed) for seed in self.seeds}
        self._registry, self._base, self._source = registry, base, DataSource.of(data, None, (), "label")
        available = _available_tasks(self._source.data)
        self.tasks = chosen or available
        self.left_out: tuple[str, ...] = () if chosen else tuple(task for task in TASKS if task not in available)
        """GLUE tasks that the data lack, if all tasks were requested."""
        self.cells = tuple(
            Cell(task, method, seed) for seed in self.seeds for method in self.methods for task in self.tasks
        )
        """All cells, those of the first seed first."""
        self.alone: dict[str, str] = {}
        """Methods whose trainings share no pass, and why."""
        self._failed: dict[Cell, str] = {}
        self._error: PointsmanError | None = None
        self._chosen: dict[PreparedTraining, tuple[Cell, list[Run]]] = {}
        """The cells in training, with the runs that each had before."""
        self._base_files = read_base(base, known=registry.base_names())
        self._data: dict[str, TaskData] = {}
        recorded = {cell: current_run(runs) for cell, runs in recorded_cells(registry, self.name).items()}
        self._check(load_base(base), {cell: run for cell, run in recorded.items() if is_usable(run)})
        self.pending = tuple(
            cell for cell in self._side_by_side() if cell not in recorded or recorded[cell].version is None
        )
        """The cells without a version, in the order to train them in: the table of the first seed is complete first,
        but for the seeds that share its passes."""
        self.interrupted = tuple(cell for cell in self.pending if cell in recorded and is_resumable(recorded[cell]))
        """Those of them that are resumed."""

    @property
    def sharing(self) -> tuple[str, ...]:
        """The methods whose seeds train together."""
        if self.together == 1 or len(self.seeds) == 1:
            return ()
        return tuple(method for method in self.methods if method not in self.alone)

    def train(
        self,
        *,
        report: Report = quiet,
        on_start: Callable[[Cell], None] = ignore,
        on_end: Callable[[CellResult], None] = ignore,
    ) -> None:
        """Train or resume the ``pending`` cells, but those that another process has trained or is training.

        A training that failed (TrainingError) has no version, but a reason.

        Args:
            report: As for ``glue``.
            on_start: Called with each cell before it starts or resumes.
            on_end: Called with the result of each cell when it has ended.

        Raises:
            PointsmanError: An error that concerns more than one training; those that run with it go on to their end.
        """
        self._error = None
        run_many(
            self._choose(on_end),
            at_once=self.together,
            registry=self._registry,
            started=lambda prepared: on_start(self._chosen[prepared][0]),
            ended=lambda prepared, outcome: self._settle(*self._chosen.pop(prepared), outcome, on_end),
            report=report,
        )
        if self._error is not None:
            raise self._error

    def results(self) -> GlueResults:
        """The results of all cells, as they are recorded now."""
        return collect(
            self._registry,
            self.name,
            recorded_cells(self._registry, self.name),
            tasks=self.tasks,
            methods=self.methods,
            seeds=self.seeds,
            left_out=self.left_out,
            failed=self._failed,
        )

    def _choose(self, on_end: Callable[[CellResult], None]) -> Iterator[PreparedTraining]:
        """The training of each pending cell, until an error concerns more than one of them."""
        for cell in self.pending:
            if self._error is not None:
                return
            runs = runs_of_cell(self._registry, self.name, cell)
            run = current_run(runs) if runs else None
            self._failed.pop(cell, None)
            if run is not None and (run.version or run.status is RunStatus.RUNNING):
                on_end(cell_result(self._registry, cell, runs))
                continue
            try:
                prepared = self._prepare(cell, runs, run if run is not None and is_resumable(run) else None)
            except PointsmanError as error:
                self._settle(cell, runs, error, on_end)
            else:
                self._chosen[prepared] = cell, runs
                yield prepared

    def _prepare(self, cell: Cell, runs: Sequence[Run], resumed: Run | None) -> PreparedTraining:
        request = replace(self._request(cell), if_newest=runs[0].uid if runs else None)
        if resumed is not None:
            # The rows and the base are the recorded ones, which may have moved to other places since.
            request = replace(TrainRequest.of_run(resumed, base=self._base), source=self._source)
        data = self._rows(cell.task)
        return prepare(request, registry=self._registry, data=data, base_files=self._base_files, resumed=resumed)

    def _settle(
        self,
        cell: Cell,
        before: Sequence[Run],
        outcome: Version | PointsmanError,
        on_end: Callable[[CellResult], None],
    ) -> None:
        """Note the outcome of a cell that had the runs ``before``."""
        runs = runs_of_cell(self._registry, self.name, cell)
        if isinstance(outcome, TrainingError):
            self._failed[cell] = str(outcome)
        # A conflict with a process that has started or resumed the cell meanwhile is none of this process.
        elif isinstance(outcome, PointsmanError) and not (isinstance(outcome, ConflictError) and runs != before):
            self._error = self._error or outcome
            return
        on_end(cell_result(self._registry, cell, runs, self._failed.get(cell)))

    def _side_by_side(self) -> Iterator[Cell]:
        """All cells in their order, but those that share a pass behind the first of them."""
        passes: dict[tuple[Any, ...], list[Cell]] = {}
        for cell in self.cells:
            together = cell.method in self.sharing
            passes.setdefault((cell.task, cell.method) if together else cell, []).append(cell)
        return chain.from_iterable(passes.values())

    def _request(self, cell: Cell) -> TrainRequest:
        settings = self._settings[cell.seed]
        return TrainRequest.of(
            cell.task,
            base=self._base,
            method=cell.method,
            overrides=None,
            source=self._source,
            name=cell.task,
            settings=settings,
            origin=cell.origin(self.name, non_default_settings(settings)),
        )

    def _rows(self, task: str) -> TaskData:
        """A task's rows, loaded once."""
        if task not in self._data:
            self._data[task] = self._source.load(task)
        return self._data[task]

    def _check(self, base: LoadedBase, recorded: Mapping[Cell, Run]) -> None:
        """Refuse what cannot be trained, and what differs from the recorded cells."""
        settings = self._settings[self.seeds[0]]
        for cell, run in recorded.items():
            self._refuse(cell, run, request_differences(run, base=base.record, settings=settings))
        for task in self.tasks:
            data = self._rows(task)
            for method in self.methods:
                request = self._request(Cell(task, method, self.seeds[0]))
                prepared = prepare(request, registry=self._registry, data=data, base_files=self._base_files)
                if (reason := why_alone(prepared)) is not None:
                    self.alone[method] = reason
                for seed in self.seeds:
                    cell = Cell(task, method, seed)
                    if cell in recorded:
                        differences = training_differences(
                            recorded[cell],
                            settings=prepared.settings.to_dict(),
                            config=request.config,
                            fingerprint=data.fingerprint,
                        )
                        self._refuse(cell, recorded[cell], differences)
                        self._check_checkpoint(cell, recorded[cell])

    def _refuse(self, cell: Cell, run: Run, differences: Sequence[str]) -> None:
        if differences:
            raise ConflictError(
                f"the benchmark '{self.name}' was started with other settings, see {run.version or f'run {run.uid}'} "
                f"({cell}): {'; '.join(differences)}; request the same, or use another name",
                advice=Advice(Action.SET_ARGUMENTS, {"name": None}),
            )

    def _check_checkpoint(self, cell: Cell, run: Run) -> None:
        """Refuse an interrupted cell whose checkpoint is damaged."""
        if is_resumable(run):
            directory = self._registry.run_directory(run.uid)
            try:
                Checkpoints(directory).load()
            except StoreError as error:
                raise StoreError(
                    f"{cell} cannot be resumed: {error}; use another name, or remove {directory} to start it again",
                    advice=Advice(Action.SET_ARGUMENTS, {"name": None}),
                ) from error


def _available_tasks(data: str | Path | None) -> tuple[str, ...]:
    """The tasks that a directory has files of; for other sources, all.

    Raises:
        DataError: The directory has files of no task.
    """
    if data is None or data == "sample" or not Path(data).is_dir():
        return TASKS
    tasks = tuple(task for task in TASKS if _is_available(task, data))
    if not tasks:
        raise DataError(
            f"{data} has no files of GLUE's tasks ({', '.join(TASKS)}); give a directory with a folder for each, in "
            "the hub's or GLUE's own layout, or 'sample'"
        )
    return tasks


def _is_available(task: str, directory: str | Path) -> bool:
    try:
        available_splits(GLUE[task], directory)
    except DataError:
        return False
    return True
