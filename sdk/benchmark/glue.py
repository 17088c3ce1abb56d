"""GLUE as a benchmark: every task with every method and seed, trained into the registry one after another."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pointsman.registry import Registry, Run, RunStatus
from pointsman.registry.errors import ConflictError, DataError, SettingsError, StoreError, TrainingError
from pointsman.registry.refs import check_name

from ..bases.load import LoadedBase, load_base
from ..core.registries import open_registry
from ..data import splits_there
from ..data.source import DataSource
from ..methods import DEFAULT_METHOD
from ..tasks import GLUE
from ..training.checkpoints import Checkpoints
from ..training.loop import Report, quiet
from ..training.request import TrainRequest
from ..training.session import TrainSession
from ..training.settings import TrainSettings
from .cells import Cell, CellResult, GlueResults, collect, current_run, recorded_cells
from .check import is_resumable, is_usable, non_default_settings, request_differences, training_differences
from .choice import chosen_methods, chosen_seeds, chosen_tasks
from .score import TASKS


def glue(
    *,
    base: str,
    tasks: Sequence[str] | None = None,
    methods: Sequence[str] = (DEFAULT_METHOD,),
    seeds: Sequence[int] = (0,),
    data: str | Path | None = None,
    registry: Registry | None = None,
    name: str = "glue",
    report: Report = quiet,
    **options: Any,
) -> GlueResults:
    """Train GLUE's tasks with every method and seed into the registry; ``rows()`` of what comes back is the table.

    Each training is a version of the adapter that is called as its task. Called again with the same arguments, it
    takes what is there as it is, goes on with what was interrupted, and trains the rest: what failed, what was removed,
    and what is new in ``tasks``, ``methods`` or ``seeds``. Nothing is trained before all of it is known to be possible.

    Args:
        base: ``minilm``, a directory, or a name on the Hugging Face hub.
        tasks: Some of GLUE's tasks; by default the nine with training rows, or those of them that a directory has.
        methods: Adapter methods.
        seeds: Seeds, each of which every task is trained with.
        data: A directory in the hub's or GLUE's own layout, ``sample``, or None for the hub.
        registry: Where they are registered; by default the default registry.
        name: The benchmark's: all of one name is trained alike.
        report: As for ``train``, of each training in turn.
        **options: Fields of ``TrainSettings``.

    Returns:
        What every training came to. One that could not go on (TrainingError) is among ``missing``, with the reason.

    Raises:
        ConflictError: The benchmark of that name has been begun otherwise, or a part of it is being trained.
        PointsmanError: Something else that was asked for cannot work; the message says what.
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
            options=options,
        )
        for cell in benchmark.pending:
            benchmark.train(cell, report=report)
        return benchmark.results()


class GlueBenchmark:
    """The cells of a benchmark, to be trained in any order; ``glue`` is all of it in one call.

    When it is made, all that was asked for is checked: the data are read, the base is loaded once, and what is recorded
    under the name is compared.

    Args:
        base: As for ``glue``, as is all else.
        tasks: See there.
        methods: See there.
        seeds: See there.
        data: See there.
        registry: See there.
        name: See there.
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
        options: Mapping[str, Any] | None = None,
    ) -> None:
        registry.check_writable()
        self.name = check_name(name, "benchmark name")
        self.methods, self.seeds = chosen_methods(methods), chosen_seeds(seeds)
        chosen = None if tasks is None else chosen_tasks(tasks)
        if "seed" in (options or {}):
            raise SettingsError("a benchmark takes a list of seeds; found the setting 'seed': give seeds=[…]")
        settings = TrainSettings.of(options or {})
        self._settings = {seed: replace(settings, seed=seed) for seed in self.seeds}
        self._registry, self._base, self._source = registry, base, DataSource.of(data, None, (), "label")
        there = _tasks_there(self._source.data)
        self.tasks = chosen or there
        self.left_out: tuple[str, ...] = () if chosen else tuple(task for task in TASKS if task not in there)
        """Tasks of GLUE that the data lack, where all were to be trained."""
        self.cells = tuple(
            Cell(task, method, seed) for seed in self.seeds for method in self.methods for task in self.tasks
        )
        """All of them, in the order to train them in: the table of the first seed is whole first."""
        self._failed: dict[Cell, str] = {}
        self._check(load_base(base))
        present = {cell: current_run(runs) for cell, runs in recorded_cells(registry, self.name).items()}
        self.pending = tuple(cell for cell in self.cells if cell not in present or present[cell].version is None)
        """Those that are to be trained."""
        self.interrupted = tuple(cell for cell in self.pending if cell in present and is_resumable(present[cell]))
        """Those of them that go on where they were interrupted."""

    def train(self, cell: Cell, *, report: Report = quiet) -> CellResult:
        """Train one cell, or go on with it; one that is there by now is taken as it is.

        Args:
            cell: One of ``cells``.
            report: As for ``train``.

        Returns:
            What it came to. A training that could not go on (TrainingError) has no version, but a reason.

        Raises:
            ConflictError: Another process is training it.
            PointsmanError: Whatever else stops more than this one training.
        """
        runs = recorded_cells(self._registry, self.name).get(cell)
        run = None if runs is None else current_run(runs)
        self._failed.pop(cell, None)
        if run is None or run.version is None:
            request, resumed = replace(self._request(cell), if_newest=runs[0].uid if runs else None), None
            if run is not None and is_usable(run):
                # The rows and the base are the same, wherever they are by now.
                was = TrainRequest.of_run(run)
                request, resumed = replace(was, base=self._base, source=self._source), run
            try:
                TrainSession(request, registry=self._registry, report=report, resumed=resumed).run()
            except TrainingError as error:
                self._failed[cell] = str(error)
        (result,) = self._collect((cell.task,), (cell.method,), (cell.seed,)).cells
        return result

    def results(self) -> GlueResults:
        """What all cells have come to by now."""
        return self._collect(self.tasks, self.methods, self.seeds)

    def _collect(self, tasks: tuple[str, ...], methods: tuple[str, ...], seeds: tuple[int, ...]) -> GlueResults:
        return collect(
            self._registry,
            self.name,
            recorded_cells(self._registry, self.name),
            tasks=tasks,
            methods=methods,
            seeds=seeds,
            left_out=self.left_out,
            failed=self._failed,
        )

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

    def _check(self, base: LoadedBase) -> None:
        """Refuse what cannot be trained, and what was begun otherwise."""
        recorded = recorded_cells(self._registry, self.name)
        present = {cell: run for cell, runs in recorded.items() if is_usable(run := current_run(runs))}
        settings = self._settings[self.seeds[0]]
        for cell, run in present.items():
            self._refuse(cell, run, request_differences(run, base=base.record, settings=settings))
        for task in self.tasks:
            data = self._source.load(task)
            for method in self.methods:
                request = self._request(Cell(task, method, self.seeds[0]))
                # Made to be checked, and for its settings.
                completed = TrainSession(request, registry=self._registry, report=quiet).settings
                for seed in self.seeds:
                    cell = Cell(task, method, seed)
                    if cell in present:
                        otherwise = training_differences(
                            present[cell],
                            settings=completed,
                            config=request.config,
                            fingerprint=data.fingerprint,
                        )
                        self._refuse(cell, present[cell], otherwise)
                        self._check_standing(cell, present[cell])

    def _refuse(self, cell: Cell, run: Run, otherwise: Sequence[str]) -> None:
        if otherwise:
            raise ConflictError(
                f"the benchmark '{self.name}' was begun otherwise, see {run.version or f'run {run.uid}'} ({cell}): "
                f"{'; '.join(otherwise)}. Ask for the same, or choose another name (--name)"
            )

    def _check_standing(self, cell: Cell, run: Run) -> None:
        """Refuse what is being trained, and what cannot go on."""
        if run.version is None and run.status is RunStatus.RUNNING:
            raise ConflictError(f"{cell} is being trained, in run {run.uid}: wait for it, or stop it")
        if is_resumable(run):
            directory = self._registry.run_directory(run.uid)
            try:
                Checkpoints(directory).load()
            except StoreError as error:
                raise StoreError(
                    f"{cell} cannot go on: {error}, under another name (--name); or remove {directory}, and its run "
                    "begins anew"
                ) from error


def _tasks_there(data: str | Path | None) -> tuple[str, ...]:
    """The tasks that a directory has files of; elsewhere, all.

    Raises:
        DataError: It has files of none.
    """
    if data is None or data == "sample" or not Path(data).is_dir():
        return TASKS
    found = tuple(task for task in TASKS if _has(task, data))
    if not found:
        raise DataError(
            f"{data} has files of none of GLUE's tasks ({', '.join(TASKS)}): give a directory with a folder for each, "
            "in the hub's or GLUE's own layout, or 'sample'"
        )
    return found


def _has(task: str, directory: str | Path) -> bool:
    try:
        splits_there(GLUE[task], directory)
    except DataError:
        return False
    return True
