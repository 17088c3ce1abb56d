"""The seeds of a task share its passes in ``glue``: each cell is what it is alone, whatever becomes of another."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry, RunStatus, Version
from pointsman.registry.errors import DataError, SettingsError, TrainingError
from pointsman.sdk import Progress, glue
from pointsman.sdk.benchmark.cells import Cell, CellResult, GlueResults
from pointsman.sdk.benchmark.glue import GlueBenchmark

from same_training import check_same

OPTIONS: dict[str, Any] = {
    "max_train_rows": 48,
    "max_eval_rows": 16,
    "max_length": 24,
    "batch_size": 8,
    "epochs": 1,
    "eval_every": 3,
    "precision": "fp32",
}
STEPS = 6
SEVERAL: dict[str, Any] = {"tasks": ["mrpc", "rte"], "seeds": [0, 1, 2], "data": "sample", **OPTIONS}


@pytest.fixture(scope="module")
def apart(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The cells of ``SEVERAL``, trained one after another. For reading only."""
    with Registry(tmp_path_factory.mktemp("apart") / "home") as registry:
        results = glue(base=str(tiny_base), registry=registry, together=1, **SEVERAL)
        assert results.missing == ()
        yield registry


def _seed(progress: Progress) -> int:
    assert progress.origin is not None
    return Cell.of_item(progress.origin.item).seed


def _versions(results: GlueResults, registry: Registry) -> dict[tuple[str, int], Version]:
    return {(cell.task, cell.seed): registry.version(cell.ref) for cell in results.cells if cell.ref}


def _check_cells(results: GlueResults, registry: Registry, apart: Registry) -> None:
    """Check that all cells are there, and what they are alone."""
    expected = _versions(glue_of(apart), apart)
    found = _versions(results, registry)
    assert found.keys() == expected.keys()
    assert len(found) == 6
    for cell, version in found.items():
        check_same(registry, version, expected[cell], tolerance=1e-5, other_registry=apart)
        run, right = registry.run(str(version.run)), apart.run(str(expected[cell].run))
        settings = {
            **right.settings,
            "checkpoint_every": run.settings["checkpoint_every"],
            "asked": run.settings["asked"],
        }
        assert (run.settings, run.data, run.seed, run.origin) == (settings, right.data, right.seed, right.origin)
        assert not registry.run_directory(run.uid).exists()


def glue_of(registry: Registry) -> GlueResults:
    from pointsman.sdk.benchmark.cells import glue_results

    return glue_results(registry=registry)


@pytest.mark.parametrize("together", [2, 4])
def test_each_cell_is_its_training_alone(together: int, registry: Registry, apart: Registry, tiny_base: Path) -> None:
    events: list[tuple[str, int]] = []

    def report(progress: Progress) -> None:
        events.append((f"step {progress.step}", _seed(progress)))

    options = {"options": OPTIONS, "tasks": SEVERAL["tasks"], "seeds": SEVERAL["seeds"], "data": "sample"}
    benchmark = GlueBenchmark(base=str(tiny_base), registry=registry, together=together, **options)
    assert benchmark.sharing == ("seq_bn",)
    assert [(cell.task, cell.seed) for cell in benchmark.pending] == [
        *(("mrpc", 0), ("mrpc", 1), ("mrpc", 2)),
        *(("rte", 0), ("rte", 1), ("rte", 2)),
    ]
    benchmark.train(
        report=report,
        on_start=lambda cell: events.append((f"{cell.task} starts", cell.seed)),
        on_end=lambda result: events.append((f"{result.task} {result.ref}", result.seed)),
    )
    first = [0, 1, 2][:together]
    assert events[: 2 * len(first)] == [
        *(("mrpc starts", seed) for seed in first),
        *(("step 1", seed) for seed in first),
    ]
    ended = [event for event in events if "@" in event[0]]
    assert ended == [(f"{task} {task}@{seed + 1}", seed) for task in ("mrpc", "rte") for seed in (0, 1, 2)]
    _check_cells(benchmark.results(), registry, apart)
    with pytest.raises(SettingsError, match="together must be an integer of at least 1; found 0"):
        glue(base=str(tiny_base), registry=registry, together=0, **SEVERAL)


def test_a_cell_that_fails_leaves_the_others(registry: Registry, apart: Registry, tiny_base: Path) -> None:
    """It is told of, and trained anew by the next call, alone."""
    stops = [("mrpc", 1)]

    def report(progress: Progress) -> None:
        assert progress.origin is not None
        cell = Cell.of_item(progress.origin.item)
        if (cell.task, cell.seed) in stops and progress.step == 4:
            raise TrainingError("the loss became nan")

    results = glue(base=str(tiny_base), registry=registry, report=report, **SEVERAL)
    assert [(cell.task, cell.seed, cell.trouble) for cell in results.missing] == [
        ("mrpc", 1, "failed: the loss became nan")
    ]
    finished = {version.ref for version in _versions(results, registry).values()}
    assert finished == {"mrpc@1", "mrpc@2", "rte@1", "rte@2", "rte@3"}
    stops.clear()
    results = glue(base=str(tiny_base), registry=registry, report=report, **SEVERAL)
    assert len(registry.runs()) == 7
    _check_cells(results, registry, apart)


def test_an_error_of_more_than_one_cell_is_raised_when_its_pass_has_ended(registry: Registry, tiny_base: Path) -> None:
    def report(progress: Progress) -> None:
        if _seed(progress) == 0 and progress.step == 4:
            raise DataError("the rows are gone")

    with pytest.raises(DataError, match="the rows are gone"):
        glue(base=str(tiny_base), registry=registry, report=report, **SEVERAL)
    assert {run.seed: run.status for run in registry.runs()} == {
        0: RunStatus.FAILED,
        1: RunStatus.FINISHED,
        2: RunStatus.FINISHED,
    }


def test_a_cell_of_another_process_leaves_the_pass(registry: Registry, tiny_base: Path) -> None:
    """It is started there after this process has looked, and before it starts it here."""
    options = {"options": OPTIONS, "tasks": ["rte"], "seeds": SEVERAL["seeds"], "data": "sample"}
    benchmark = GlueBenchmark(base=str(tiny_base), registry=registry, **options)
    ended: list[CellResult] = []

    def start(cell: Cell) -> None:
        if cell.seed == 1:
            (like, *_) = registry.runs()
            recorded = {
                key: getattr(like, key) for key in ("task", "method", "base", "settings", "data", "environment")
            }
            origin = cell.origin("glue", {})
            others.append(registry.start_run("rte", seed=1, origin=origin, if_newest=None, **recorded))

    others: list[Any] = []
    benchmark.train(on_start=start, on_end=ended.append)
    (other,) = others
    other.finish(RunStatus.INTERRUPTED)
    assert [(result.seed, result.ref, result.trouble) for result in ended] == [
        (1, None, f"running in another process (run {other.uid})"),
        (0, "rte@1", None),
        (2, "rte@2", None),
    ]


KILLED = """
import os, signal, sys
import torch
from pointsman.registry import Registry
from pointsman.sdk import glue

torch.set_num_threads(1)

def report(progress):
    if progress.origin.item.startswith("rte") and progress.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

glue(base=sys.argv[1], registry=Registry(sys.argv[2]), report=report, checkpoint_every=2, **eval(sys.argv[3]))
"""


@pytest.mark.slow
def test_after_a_kill_only_what_is_missing_is_trained(registry: Registry, apart: Registry, tiny_base: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tiny_base), str(registry.home), repr(SEVERAL)]
    killed = subprocess.run(command, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    before = {run.uid: run for run in registry.runs()}
    assert sorted((run.task, run.status, run.seed) for run in before.values()) == [
        *(("mrpc", RunStatus.FINISHED, seed) for seed in (0, 1, 2)),
        *(("rte", RunStatus.INTERRUPTED, seed) for seed in (0, 1, 2)),
    ]
    started: list[Cell] = []
    steps: list[tuple[int, int]] = []

    def report(progress: Progress) -> None:
        steps.append((progress.step, _seed(progress)))

    options = {"options": OPTIONS, "tasks": SEVERAL["tasks"], "seeds": SEVERAL["seeds"], "data": "sample"}
    benchmark = GlueBenchmark(base=str(tiny_base), registry=registry, **options)
    assert benchmark.pending == benchmark.interrupted
    benchmark.train(report=report, on_start=started.append)
    assert [(cell.task, cell.seed) for cell in started] == [("rte", seed) for seed in (0, 1, 2)]
    # From the checkpoint of step 4 on, in passes that they share.
    assert steps == [(step, seed) for step in (5, 6) for seed in (0, 1, 2)]
    assert {run.uid for run in registry.runs()} == before.keys()
    for uid in before:
        assert [point.step for point in registry.history(f"run:{uid}", "train/loss")] == list(range(1, STEPS + 1))
    _check_cells(benchmark.results(), registry, apart)
