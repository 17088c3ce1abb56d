"""GLUE as a benchmark: every cell once, whatever interrupts it; and a table whose numbers are those of the papers."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pointsman.registry import Registry, Run, RunStatus, Version
from pointsman.registry.database import tables as t
from pointsman.registry.errors import (
    Action,
    Advice,
    BaseNotFoundError,
    ConflictError,
    DataError,
    InvalidNameError,
    MethodNotFoundError,
    PointsmanError,
    RunNotFoundError,
    SettingsError,
    StoreError,
    TaskNotFoundError,
    UnusableBaseError,
)
from pointsman.sdk import Progress, glue, train
from pointsman.sdk.benchmark.cells import Cell, CellResult, GlueResults, glue_results
from pointsman.sdk.benchmark.glue import GlueBenchmark
from pointsman.sdk.benchmark.score import METRICS, TASKS, row, task_score
from pointsman.sdk.data import sample
from pointsman.sdk.tasks import GLUE

from architectures import make_base
from helpers import make_tiny_base

FEW: dict[str, Any] = {
    "max_eval_rows": 16,
    "max_length": 24,
    "batch_size": 8,
    "epochs": 1,
    "eval_every": 3,
    "precision": "fp32",
}
STEPS = 6
FILE = "{}-00000-of-00001.parquet"
TWO: dict[str, Any] = {"tasks": ["mrpc", "stsb"], "seeds": [0, 1]}


@pytest.fixture
def base(tiny_base: Path) -> str:
    return str(tiny_base)


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in the hub's layout with a few rows of every task: making all of the sample's takes longer."""
    path = tmp_path_factory.mktemp("rows")
    for name in TASKS:
        (path / name).mkdir()
        task = GLUE[name]
        for split, made in sample.generate(name, sizes={"train": 48, "validation": 20, "test": 1}).items():
            columns = dict(zip(task.text, zip(*(texts for texts, _ in made), strict=True), strict=True))
            scores = pa.array([score for _, score in made], pa.float32() if task.is_regression else pa.int64())
            pq.write_table(pa.table({**columns, task.label: scores}), path / name / FILE.format(split))
    return path


@pytest.fixture
def own_rows(rows: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return Path(shutil.copytree(rows, tmp_path / "glue"))


@pytest.fixture
def few(rows: Path) -> dict[str, Any]:
    return {**FEW, "data": rows}


def cells_of(results: GlueResults) -> dict[tuple[str, str, int], str | None]:
    return {(cell.task, cell.method, cell.seed): cell.ref for cell in results.cells}


def contents(version: Version) -> list[tuple[str, str]]:
    return [(file.name, file.sha256) for file in version.files]


def steps(registry: Registry, uid: str, metric: str) -> list[int]:
    return [point.step for point in registry.history(f"run:{uid}", metric)]


def stopping_at(count: int, error: type[BaseException] = KeyboardInterrupt) -> Callable[[Progress], None]:
    """A report that raises when it is called for the so manieth time."""
    left = [count]

    def report(_: Progress) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise error("stopped")

    return report


# The score: expected numbers are worked out by hand from GLUE's definition


@pytest.mark.parametrize(
    ("task", "metrics", "expected"),
    [
        ("cola", {"eval/matthews_correlation": 0.5, "eval/loss": 9.0}, 50.0),
        ("cola", {"eval/matthews_correlation": -0.125}, -12.5),
        ("sst2", {"eval/accuracy": 0.75}, 75.0),
        ("mrpc", {"eval/accuracy": 0.5, "eval/f1": 0.75}, 62.5),
        ("stsb", {"eval/pearson": 0.875, "eval/spearmanr": 0.625}, 75.0),
        ("qqp", {"eval/accuracy": 0.875, "eval/f1": 0.75}, 81.25),
        ("mnli", {"eval/accuracy": 0.5, "eval_mismatched/accuracy": 1.0, "eval_mismatched/loss": 3.0}, 75.0),
        ("qnli", {"eval/accuracy": 0.25}, 25.0),
        ("rte", {"eval/accuracy": 1.0}, 100.0),
        ("wnli", {"eval/accuracy": 0.0}, 0.0),
    ],
)
def test_a_tasks_score(task: str, metrics: dict[str, float], expected: float) -> None:
    assert task_score(task, metrics) == expected


def test_the_average_and_its_spread() -> None:
    scores = {
        **{("rte", 0): 60.0, ("rte", 1): 62.0, ("rte", 2): 67.0},
        **{("mrpc", 0): 80.0, ("mrpc", 1): 90.0, ("mrpc", 2): 85.0},
        **{("wnli", 0): 10.0, ("wnli", 1): 10.0, ("wnli", 2): 10.0},
    }
    tasks, seeds = ("mrpc", "rte", "wnli"), (0, 1, 2)
    found = row("lora", scores, tasks=tasks, seeds=seeds)
    assert (found.scores["rte"].mean, found.scores["rte"].seeds) == (63.0, (0, 1, 2))
    assert found.scores["rte"].std == pytest.approx(math.sqrt((3**2 + 1**2 + 4**2) / 2))
    assert found.scores["wnli"].std == 0.0
    # The seeds' averages are 70, 76 and 76: their spread, and not that of the tasks' means.
    assert found.averaged == ("mrpc", "rte")
    assert found.average is not None
    assert found.average.mean == 74.0
    assert found.average.std == pytest.approx(math.sqrt((4**2 + 2**2 + 2**2) / 2))
    assert found.incomplete == {}
    both = row("lora", scores, tasks=tasks, seeds=seeds, with_wnli=True)
    assert both.averaged == ("mrpc", "rte", "wnli")
    assert both.average is not None
    assert both.average.mean == pytest.approx((50 + 54 + 54) / 3)  # 150, 162 and 162 over three tasks


def test_only_seeds_that_have_every_task_count_in_the_average() -> None:
    scores = {("rte", 0): 60.0, ("rte", 1): 62.0, ("mrpc", 0): 80.0, ("mrpc", 2): 85.0}
    found = row("lora", scores, tasks=("mrpc", "rte", "wnli"), seeds=(0, 1, 2))
    assert found.scores["rte"].seeds == (0, 1)
    assert found.scores["rte"].std == pytest.approx(math.sqrt(2))
    assert "wnli" not in found.scores
    assert found.average is not None
    assert (found.average.mean, found.average.std, found.average.seeds) == (70.0, None, (0,))
    assert found.incomplete == {1: ("mrpc",), 2: ("rte",)}
    nothing = row("lora", {("wnli", 0): 50.0}, tasks=("wnli",), seeds=(0,))
    assert (nothing.average, nothing.averaged, nothing.incomplete) == (None, (), {})
    assert nothing.scores["wnli"].std is None


def test_a_score_that_is_no_number_stays_one() -> None:
    found = row("lora", {("stsb", 0): math.nan, ("stsb", 1): 80.0}, tasks=("stsb",), seeds=(0, 1))
    assert found.average is not None
    assert math.isnan(found.average.mean)
    assert found.average.std is not None
    assert math.isnan(found.average.std)


def test_the_metrics_are_those_that_glue_asks_for() -> None:
    assert set(TASKS) == {name for name, task in GLUE.items() if task.trainable}
    assert len(TASKS) == 9
    for task, keys in METRICS.items():
        asked = set(GLUE[task].metrics)
        assert {key.partition("/")[2] for key in keys} == asked
        assert len(keys) == len(asked) * len(GLUE[task].validation)


# Training


def test_all_of_glue(registry: Registry, base: str, few: dict[str, Any]) -> None:
    results = glue(base=base, registry=registry, **few | {"epochs": None, "max_steps": 1})
    assert results.tasks == ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")
    assert results.left_out == ()
    assert results.missing == ()
    assert cells_of(results) == {(task, "seq_bn", 0): f"{task}@1" for task in results.tasks}
    (found,) = results.rows()
    expected = {}
    for task in results.tasks:
        version = registry.version(f"{task}@best")
        assert version.task["name"] == task
        values = [value for key, value in version.metrics.items() if not key.endswith("loss")]
        expected[task] = 100 * sum(values) / len(values)  # every metric that is logged counts the same
        assert found.scores[task].mean == pytest.approx(expected[task], nan_ok=True)
    assert found.average is not None
    without = [value for task, value in expected.items() if task != "wnli"]
    assert len(without) == 8
    assert found.average.mean == pytest.approx(sum(without) / 8, nan_ok=True)
    (found,) = results.rows(with_wnli=True)
    assert found.average is not None
    assert found.average.mean == pytest.approx(sum(expected.values()) / 9, nan_ok=True)


def test_interrupted_anywhere_it_goes_on_as_if_it_had_not_been(
    registry: Registry, base: str, tmp_path: Path, few: dict[str, Any]
) -> None:
    """Ctrl-C in the middle of the second cell, then of the third; then a call with nothing left to do."""
    few |= {"checkpoint_every": 2, "together": 1, **TWO}
    with Registry(tmp_path / "whole") as other:
        whole = glue(base=base, registry=other, **few)
        expected = {cell: contents(other.version(str(ref))) for cell, ref in cells_of(whole).items()}
    assert len(expected) == 4

    with pytest.raises(KeyboardInterrupt):
        glue(base=base, registry=registry, report=stopping_at(STEPS + 4), **few)
    second, first = registry.runs()
    assert (first.task, first.version, first.status) == ("mrpc", "mrpc@1", RunStatus.FINISHED)
    assert (second.task, second.version, second.status) == ("stsb", None, RunStatus.INTERRUPTED)

    options = {key: value for key, value in few.items() if key not in ("data", "together", *TWO)}
    benchmark = GlueBenchmark(base=base, data=few["data"], registry=registry, options=options, together=1, **TWO)
    assert benchmark.cells == tuple(Cell(task, "seq_bn", seed) for seed in (0, 1) for task in ("mrpc", "stsb"))
    assert benchmark.pending == benchmark.cells[1:]
    assert benchmark.interrupted == benchmark.cells[1:2]
    started: list[Cell] = []
    ended: list[CellResult] = []
    went_on: list[int] = []

    def report(progress: Progress) -> None:
        if ended:
            raise KeyboardInterrupt
        went_on.append(progress.step)

    with pytest.raises(KeyboardInterrupt):
        benchmark.train(report=report, on_start=started.append, on_end=ended.append)
    assert started == [*benchmark.pending[:2]]
    assert [(result.run, result.ref) for result in ended] == [(second.uid, "stsb@1")]
    assert went_on == [3, 4, 5, 6]  # from the checkpoint of step 2
    assert steps(registry, second.uid, "train/loss") == [1, 2, 3, 4, 5, 6]
    assert steps(registry, second.uid, "eval/pearson") == [3, 6]

    results = glue(base=base, registry=registry, **few)
    assert {cell: contents(registry.version(str(ref))) for cell, ref in cells_of(results).items()} == expected
    assert results.rows() == whole.rows()
    assert {run.uid for run in registry.runs()} == {cell.run for cell in results.cells}
    assert len(registry.runs()) == 4
    again = glue(base=base, registry=registry, report=stopping_at(1), **few)  # it trains nothing
    assert again == results


def test_what_is_new_is_added(registry: Registry, base: str, few: dict[str, Any]) -> None:
    glue(base=base, registry=registry, **few, tasks=["rte"])
    results = glue(base=base, registry=registry, **few, tasks=["rte", "mrpc"], methods=["lora", "pfeiffer"])
    assert cells_of(results) == {
        ("mrpc", "lora", 0): "mrpc@1",
        ("mrpc", "seq_bn", 0): "mrpc@2",
        ("rte", "lora", 0): "rte@2",
        ("rte", "seq_bn", 0): "rte@1",
    }
    assert [found.method for found in results.rows()] == ["lora", "seq_bn"]
    other = glue(base=base, registry=registry, **{**few, "epochs": 0.5}, tasks=["rte"], name="other")
    assert cells_of(other) == {("rte", "seq_bn", 0): "rte@3"}


def test_a_version_that_was_removed_is_trained_anew(registry: Registry, base: str, few: dict[str, Any]) -> None:
    few |= {"tasks": ["rte"], "seeds": [0, 1]}
    glue(base=base, registry=registry, **few)
    registry.remove("rte@1")
    there = glue_results(registry=registry)
    assert [(cell.task, cell.seed, cell.trouble) for cell in there.missing] == [("rte", 0, "its version was removed")]
    results = glue(base=base, registry=registry, **few)
    assert cells_of(results) == {("rte", "seq_bn", 0): "rte@3", ("rte", "seq_bn", 1): "rte@2"}


def test_a_version_of_the_same_name_that_is_no_cell_is_left_alone(
    registry: Registry, base: str, few: dict[str, Any]
) -> None:
    train("rte", base=base, registry=registry, **few)
    results = glue(base=base, registry=registry, **few, tasks=["rte"])
    assert cells_of(results) == {("rte", "seq_bn", 0): "rte@2"}


def test_a_later_attempt_that_came_to_nothing_takes_no_version_away(
    registry: Registry, base: str, few: dict[str, Any]
) -> None:
    """As when two processes were at the same cell, and the second was stopped."""
    results = glue(base=base, registry=registry, **few, tasks=["rte"])
    (run,) = registry.runs()
    recorded = {name: getattr(run, name) for name in ("task", "method", "base", "settings", "data", "environment")}
    registry.start_run("rte", seed=0, origin=run.origin, if_newest=run.uid, **recorded).finish(RunStatus.INTERRUPTED)
    assert glue(base=base, registry=registry, report=stopping_at(1), **few, tasks=["rte"]) == results


@pytest.fixture
def broken(tmp_path: Path) -> str:
    """A base that answers NaN to whatever has the word film: what sst2's sample is full of, and rte's has nowhere."""
    from adapters import AutoAdapterModel
    from transformers import AutoTokenizer

    path = make_tiny_base(tmp_path / "broken", seed=3)
    model = AutoAdapterModel.from_pretrained(path)
    with torch.no_grad():
        word = AutoTokenizer.from_pretrained(path).vocab["film"]
        # Finite, as a base must be; what the layers compute of it is not.
        spoilt = model.base_model.embeddings.word_embeddings.weight[word]
        spoilt.copy_(torch.where(torch.arange(len(spoilt)) % 3 == 0, 3e38, -3e38))
    model.base_model.save_pretrained(path)
    return str(path)


def test_a_cell_that_fails_is_told_of_and_the_rest_goes_on(
    registry: Registry, broken: str, few: dict[str, Any]
) -> None:
    results = glue(base=broken, registry=registry, **few, tasks=["sst2", "rte"])
    assert cells_of(results) == {("sst2", "seq_bn", 0): None, ("rte", "seq_bn", 0): "rte@1"}
    (failed,) = results.missing
    assert failed.trouble is not None
    assert failed.trouble.startswith("failed: the loss became nan")
    (found,) = results.rows()
    assert (found.average, found.incomplete) == (None, {0: ("sst2",)})
    (there,) = glue_results(registry=registry).missing
    assert there == failed
    again = glue(base=broken, registry=registry, **few, tasks=["sst2", "rte"])
    assert cells_of(again) == cells_of(results)
    assert [run.task for run in registry.runs()] == ["sst2", "rte", "sst2"]  # it was tried anew


def test_what_failed_binds_nobody(registry: Registry, base: str, broken: str, few: dict[str, Any]) -> None:
    glue(base=broken, registry=registry, **few, tasks=["sst2"])
    results = glue(base=base, registry=registry, **{**few, "epochs": 0.5}, tasks=["sst2"])
    assert results.missing == ()


# What is refused


@pytest.fixture(scope="module")
def _begun(tiny_base: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("begun") / "home"
    asked: dict[str, Any] = {"base": str(tiny_base), "data": rows, **FEW}
    with Registry(home) as registry:
        glue(registry=registry, tasks=["rte"], **asked)
        with pytest.raises(KeyboardInterrupt):
            glue(registry=registry, report=stopping_at(5), tasks=["mrpc"], checkpoint_every=2, **asked)
    return home


@pytest.fixture
def begun(_begun: Path, tmp_path: Path) -> Registry:
    """A registry where rte is there, and mrpc was interrupted after step 4."""
    shutil.copytree(_begun, tmp_path / "begun")
    return Registry(tmp_path / "begun")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 3}, ["epochs (1 then, 3 now)"]),
        ({"epochs": None, "max_steps": 4}, ["epochs (1 then, not given now)", "max_steps (not given then, 4 now)"]),
        ({"learning_rate": 0.01}, ["learning_rate (not given then, 0.01 now)"]),
        ({"max_eval_rows": None}, ["max_eval_rows (16 then, not given now)"]),
        ({"schedule": "cosine", "precision": "bf16"}, ["schedule (constant then", "precision (fp32 then, bf16 now)"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("task", ["rte", "sst2"])
def test_other_options_under_the_same_name(
    changes: dict[str, Any], said: list[str], task: str, *, begun: Registry, base: str, few: dict[str, Any]
) -> None:
    """Also for cells of which nothing is there."""
    with pytest.raises(ConflictError) as refused:
        glue(base=base, registry=begun, **few | changes, tasks=[task])
    assert all(text in str(refused.value) for text in [*said, "'glue'"])
    assert refused.value.advice == Advice(Action.SET_ARGUMENTS, {"name": None})
    assert len(begun.runs()) == 2


def test_another_base_under_the_same_name(begun: Registry, base: str, other_base: Path, few: dict[str, Any]) -> None:
    with pytest.raises(ConflictError, match=r"base \(.*tiny-bert, .* then, .*other-bert, .* now\)"):
        glue(base=str(other_base), registry=begun, **few, tasks=["sst2"])
    assert len(begun.runs()) == 2


def test_other_rows_under_the_same_name(begun: Registry, base: str, own_rows: Path, few: dict[str, Any]) -> None:
    few["data"] = own_rows
    shutil.copy(own_rows / "rte" / FILE.format("validation"), own_rows / "rte" / FILE.format("train"))
    said = r"the rows of rte \(then from directory \(hub layout\) .*, other rows now\)"
    with pytest.raises(ConflictError, match=said):
        glue(base=base, registry=begun, **few, tasks=["rte"])
    assert glue(base=base, registry=begun, **few, tasks=["sst2"]).missing == ()
    assert len(begun.runs()) == 3


def test_a_default_that_was_another_when_it_was_begun(begun: Registry, base: str, few: dict[str, Any]) -> None:
    """As after an upgrade: cells that were trained otherwise are not to be compared."""
    (run,) = begun.runs(adapter="rte")
    with begun.database.writing() as connection:
        settings = {**run.settings, "learning_rate": 0.5}
        connection.execute(t.run.update().where(t.run.c.uid == run.uid).values(settings=settings))
    with pytest.raises(ConflictError, match=r"see rte@1 .*learning_rate \(0.5 then, "):
        glue(base=base, registry=begun, **few, tasks=["rte"])
    assert glue(base=base, registry=begun, **few, tasks=["sst2"]).missing == ()


def test_what_says_where_and_not_what_may_change(begun: Registry, base: str, few: dict[str, Any]) -> None:
    changes = {"device": "cpu:0", "checkpoint_every": 50}
    assert glue(base=base, registry=begun, **few | changes, tasks=["rte"]).missing == ()
    # But a run goes on where it was.
    with pytest.raises(ConflictError, match=r"device \(cpu then, cpu:0 now\)"):
        glue(base=base, registry=begun, **few | changes, tasks=["mrpc"])
    assert len(begun.runs()) == 2


def test_a_cell_that_is_being_trained(begun: Registry, base: str, few: dict[str, Any]) -> None:
    run = interrupted(begun)
    with begun.resume_run(run.uid, last_step=4):
        (missing,) = glue(base=base, registry=begun, **few, tasks=["rte", "mrpc"]).missing
        assert (missing.task, missing.trouble) == ("mrpc", f"running in another process (run {run.uid})")
        assert glue(base=base, registry=begun, **few, tasks=["rte"]).missing == ()
        assert len(begun.runs()) == 2


def test_a_checkpoint_that_is_damaged(begun: Registry, base: str, few: dict[str, Any]) -> None:
    run = interrupted(begun)
    index = begun.run_directory(run.uid) / "checkpoint.json"
    index.write_bytes(index.read_bytes()[:-20])
    with pytest.raises(StoreError, match=r"mrpc, seq_bn, seed 0 cannot be resumed: .*remove "):
        glue(base=base, registry=begun, **few, tasks=["sst2", "mrpc"])
    assert len(begun.runs()) == 2
    shutil.rmtree(begun.run_directory(run.uid))
    results = glue(base=base, registry=begun, **few, tasks=["mrpc"])
    assert [(cell.run, cell.ref) for cell in results.cells] == [(run.uid, "mrpc@1")]
    assert steps(begun, run.uid, "train/loss") == list(range(1, STEPS + 1))


def interrupted(registry: Registry) -> Run:
    (run,) = registry.runs(adapter="mrpc")
    assert run.status is RunStatus.INTERRUPTED
    return run


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"tasks": ["sst3"]}, TaskNotFoundError, ["sst3", "did you mean", "sst2", "wnli"]),
        ({"tasks": ["ax"]}, SettingsError, ["ax", "mnli"]),
        ({"tasks": []}, SettingsError, ["tasks is empty"]),
        ({"tasks": "rte"}, SettingsError, ["list", "'rte'"]),
        ({"tasks": ["rte", "mrpc", "rte"]}, SettingsError, ["duplicate 'rte'"]),
        ({"methods": ["lore"]}, MethodNotFoundError, ["lore", "lora"]),
        ({"methods": []}, SettingsError, ["methods is empty"]),
        ({"methods": ["seq_bn", "pfeiffer"]}, SettingsError, ["duplicate 'seq_bn'"]),
        ({"seeds": []}, SettingsError, ["seeds is empty"]),
        ({"seeds": [0, -1]}, SettingsError, ["seed", "-1"]),
        ({"seeds": [3, 3]}, SettingsError, ["duplicate 3"]),
        ({"seeds": 3}, SettingsError, ["seeds must be a list"]),
        ({"seed": 3}, SettingsError, ["seeds=["]),
        ({"name": "No Good"}, InvalidNameError, ["benchmark name", "No Good"]),
        ({"base": "./nowhere"}, BaseNotFoundError, ["nowhere"]),
        ({"data": "nowhere"}, DataError, ["nowhere"]),
        ({"device": "cuda:99"}, UnusableBaseError, ["cuda:99"]),
        ({"epochs": 0}, SettingsError, ["epochs"]),
        ({"nonsense": 1}, SettingsError, ["nonsense", "learning_rate"]),
        ({"batch_size": 49}, SettingsError, ["49", "48"]),
        ({"max_length": 65}, SettingsError, ["65"]),
        ({"class_weights": {"equivalent": 2.0}, "tasks": ["mrpc", "rte"]}, SettingsError, ["equivalent", "rte"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_refused_before_anything_is_trained(
    asked: dict[str, Any],
    error: type[PointsmanError],
    said: list[str],
    *,
    registry: Registry,
    base: str,
    few: dict[str, Any],
) -> None:
    with pytest.raises(error) as refused:
        glue(**{"base": base, "registry": registry, "tasks": ["mrpc", "rte"], **few, **asked})
    assert all(text in str(refused.value) for text in said), refused.value
    assert list(registry.runs()) == []


def test_a_method_that_the_base_does_not_take(registry: Registry, tmp_path: Path, few: dict[str, Any]) -> None:
    base = make_base(tmp_path / "modern", "modernbert")
    with pytest.raises(SettingsError, match="prompt_tuning does not work on a modernbert base"):
        glue(base=str(base), registry=registry, **few, tasks=["rte"], methods=["lora", "prompt_tuning"])
    assert list(registry.runs()) == []


# Data


def test_tasks_that_a_directory_lacks_are_left_out(
    registry: Registry, base: str, own_rows: Path, few: dict[str, Any]
) -> None:
    few["data"] = own_rows
    for task in set(TASKS) - {"rte", "wnli", "stsb"}:
        shutil.rmtree(own_rows / task)
    results = glue(base=base, registry=registry, **few)
    assert results.tasks == ("stsb", "rte", "wnli")
    assert results.left_out == ("cola", "sst2", "mrpc", "qqp", "mnli", "qnli")
    assert results.missing == ()
    (found,) = results.rows()
    assert found.averaged == ("stsb", "rte")
    with pytest.raises(DataError, match="no files of cola"):
        glue(base=base, registry=registry, **few, tasks=["rte", "cola"])
    (own_rows / "rte" / FILE.format("validation")).unlink()
    with pytest.raises(DataError, match="validation"):
        glue(base=base, registry=registry, **few, name="other")
    shutil.rmtree(own_rows)
    own_rows.mkdir()
    with pytest.raises(DataError, match=r"no files of GLUE's tasks \(cola, .*wnli\)"):
        glue(base=base, registry=registry, **few, name="other")
    assert len(registry.runs()) == 3


def test_it_goes_on_with_the_same_rows_and_base_wherever_they_are(
    registry: Registry, tiny_base: Path, own_rows: Path, tmp_path: Path, few: dict[str, Any]
) -> None:
    first = shutil.copytree(tiny_base, tmp_path / "first")
    few["tasks"] = ["rte"]
    with pytest.raises(KeyboardInterrupt):
        glue(base=str(first), registry=registry, report=stopping_at(5), **few | {"data": own_rows})
    second = first.rename(tmp_path / "second")
    moved = own_rows.rename(tmp_path / "moved")
    (cell,) = glue(base=str(second), registry=registry, **few | {"data": moved}).cells
    assert cell.ref == "rte@1"
    assert [run.uid for run in registry.runs()] == [cell.run]


# The table alone


def test_the_table_alone(begun: Registry) -> None:
    results = glue_results(registry=begun)
    assert (results.tasks, results.methods, results.seeds) == (("mrpc", "rte"), ("seq_bn",), (0,))
    assert cells_of(results) == {("mrpc", "seq_bn", 0): None, ("rte", "seq_bn", 0): "rte@1"}
    assert [cell.trouble for cell in results.missing] == ["interrupted"]
    (source,) = results.sources
    assert source.startswith("directory (hub layout) rows")
    assert results.settings == FEW
    chosen = glue_results(registry=begun, tasks=["rte", "sst2"], seeds=[0, 7])
    assert [(cell.task, cell.seed, cell.trouble) for cell in chosen.cells] == [
        ("sst2", 0, "not trained"),
        ("sst2", 7, "not trained"),
        ("rte", 0, None),
        ("rte", 7, "not trained"),
    ]
    with pytest.raises(RunNotFoundError, match="unknown benchmark 'other'; known: glue"):
        glue_results(registry=begun, name="other")
    with pytest.raises(RunNotFoundError, match="none of these cells; known: mrpc, seq_bn, seed 0; rte, seq_bn"):
        glue_results(registry=begun, methods=["lora"])
    with pytest.raises(TaskNotFoundError, match="sst3"):
        glue_results(registry=begun, tasks=["sst3"])
