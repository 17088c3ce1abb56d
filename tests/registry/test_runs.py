import contextlib
import math
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pointsman.registry import MetricPoint, Registry, RunStatus
from pointsman.registry.database import backends
from pointsman.registry.errors import (
    Action,
    AdapterNotFoundError,
    Advice,
    BusyError,
    InvalidNameError,
    MetricNotFoundError,
    PrunedError,
    RunNotFoundError,
    SettingsError,
    TrainingError,
)

pytestmark = pytest.mark.databases

INFINITY, NAN = math.inf, math.nan


@pytest.fixture
def path(registry):
    return registry.home / "registry.db"


def execute(path, statement, *parameters):
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement, parameters).fetchall()


def bits(value):
    """The same for the same floats, NaN included."""
    return np.float64(value).tobytes() if not math.isnan(value) else "nan"


@contextlib.contextmanager
def noticed(name):
    """An event that is set when a connection does something of that name; "checkin" comes after its commit."""
    happened = threading.Event()

    def notice(*_):
        happened.set()

    sa.event.listen(sa.Engine, name, notice)
    try:
        yield happened
    finally:
        sa.event.remove(sa.Engine, name, notice)


# History


def test_a_run_is_what_was_given(registry, start, base):
    before = datetime.now(UTC)
    with start() as recorder:
        run = registry.run(recorder.uid)
    assert (run.adapter, run.task, run.method, run.base, run.seed) == ("sst2", "sst2", "seq_bn", base, 42)
    assert (run.settings, run.data, run.environment) == ({"lr": 0.001}, {"rows": 3}, {"python": "3.11"})
    assert (run.status, run.error, run.version, run.ended_at) == (RunStatus.RUNNING, None, None, None)
    assert before <= run.started_at <= run.heartbeat_at <= datetime.now(UTC)
    ended = registry.run(recorder.uid)
    assert ended.status == RunStatus.FINISHED
    assert run.started_at <= ended.ended_at <= datetime.now(UTC)


def test_points_come_back_by_step(registry, start):
    with start() as run:
        run.log({"loss": 0.5, "lr": 0.1}, step=10, epoch=0.5)
        run.log({"loss": 0.25}, step=20, epoch=1)
        run.log({"loss": 1.0}, step=0)
    points = registry.history(f"run:{run.uid}", "loss")
    assert [(point.step, point.value, point.epoch) for point in points] == [
        (0, 1.0, None),
        (10, 0.5, 0.5),
        (20, 0.25, 1.0),
    ]
    assert all(isinstance(point, MetricPoint) and type(point.step) is int for point in points)
    assert points[1].wall_time <= points[2].wall_time <= points[0].wall_time
    assert [point.step for point in registry.history(f"run:{run.uid}", "lr")] == [10]


def test_the_history_of_a_version_is_that_of_its_run(registry, start, add):
    with start() as run:
        run.log({"eval/accuracy": 0.5}, step=1)
    with start(adapter="cola") as other:
        other.log({"eval/accuracy": 0.9}, step=1)
    add(run=run.uid)
    add("cola", run=other.uid)
    assert [point.value for point in registry.history("sst2", "eval/accuracy")] == [0.5]
    assert [point.value for point in registry.history("cola@best", "eval/accuracy")] == [0.9]
    assert [summary.key for summary in registry.summaries("sst2@1")] == ["eval/accuracy"]
    add()
    with pytest.raises(MetricNotFoundError, match="sst2@2 was made by no run"):
        registry.history("sst2", "eval/accuracy")


def test_an_unknown_metric_lists_those_known(registry, start):
    with start() as run:
        run.log({"eval/accuracy": 0.5, "loss": 1}, step=1)
    with start() as other:
        other.log({"eval/f1": 0.5}, step=1)
    for metric in ("eval/acuracy", "eval/f1"):
        with pytest.raises(MetricNotFoundError, match=f"unknown metric '{metric}'; .*known: eval/accuracy, loss"):
            registry.history(f"run:{run.uid}", metric)


def test_points_of_one_step_stay_in_order(registry, start):
    values = [3.0, 1.0, NAN, 2.0, 1.0]
    with start() as run:
        for value in values[:3]:
            run.log({"loss": value}, step=7)
        run.flush()
        for value in values[3:]:
            run.log({"loss": value}, step=7)
    points = registry.history(f"run:{run.uid}", "loss")
    assert [point.step for point in points] == [7] * 5
    assert [bits(point.value) for point in points] == [bits(value) for value in values]


def test_any_float_comes_back(registry, start):
    values = [NAN, INFINITY, -INFINITY, 0.0, 5e-324, 1.7976931348623157e308, 0.1, -1e-300, float(2**53 + 2)]
    with start() as run:
        for step, value in enumerate(values):
            run.log({"loss": value}, step=step, epoch=value)
    points = registry.history(f"run:{run.uid}", "loss")
    assert [bits(point.value) for point in points] == [bits(value) for value in values]
    assert points[0].epoch is None
    assert [point.epoch for point in points[1:]] == values[1:]


def test_numbers_of_numpy(registry, start):
    with start() as run:
        run.log({"loss": np.float32(0.5)}, step=np.int64(3), epoch=np.float32(0.25))
    (point,) = registry.history(f"run:{run.uid}", "loss")
    assert (point.step, point.value, point.epoch) == (3, 0.5, 0.25)


def test_the_greatest_step(registry, start):
    with start() as run:
        for step in (2**63 - 1, 2**53 + 1, 0):
            run.log({"loss": 1.0}, step=step)
        for step in (2**63, -1):
            with pytest.raises(SettingsError, match=f"step {step} is not valid"):
                run.log({"loss": 1.0}, step=step)
    assert [point.step for point in registry.history(f"run:{run.uid}", "loss")] == [0, 2**53 + 1, 2**63 - 1]


def test_a_bad_name_logs_nothing(registry, start):
    with start() as run, pytest.raises(InvalidNameError, match="metric name 'a b' is not valid"):
        run.log({"loss": 1.0, "a b": 2.0}, step=1)
    assert registry.summaries(f"run:{run.uid}") == []


def test_a_run_without_points(registry, start):
    with start() as run:
        run.log({}, step=1)
        run.flush()
    assert registry.summaries(f"run:{run.uid}") == []
    with pytest.raises(MetricNotFoundError, match="unknown metric 'loss'; none exists yet"):
        registry.history(f"run:{run.uid}", "loss")


def test_many_threads_log_into_one_run(registry, start):
    with start() as run:
        threads = [
            threading.Thread(target=lambda: [run.log({"loss": step, "lr": step}, step=step) for step in range(250)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for _ in range(5):
            run.flush()
        for thread in threads:
            thread.join()
    for key in ("loss", "lr"):
        points = registry.history(f"run:{run.uid}", key)
        assert [point.step for point in points] == [step for step in range(250) for _ in range(8)]
    assert [summary.count for summary in registry.summaries(f"run:{run.uid}")] == [2000, 2000]


@pytest.mark.sqlite
def test_points_are_seen_by_other_processes_while_the_run_goes_on(registry, start, spawn):
    code = """
import sys
from pointsman.registry import Registry
registry = Registry(sys.argv[1])
for line in sys.stdin:
    points = registry.history(f"run:{sys.argv[2]}", "loss")
    print(registry.run(sys.argv[2]).status, [point.step for point in points], flush=True)
"""
    with start() as run:
        reader = spawn(code, registry.home, run.uid)
        for step in range(3):
            run.log({"loss": 1.0}, step=step)
            run.flush()
            reader.stdin.write("\n")
            reader.stdin.flush()
            assert reader.stdout.readline() == f"running {list(range(step + 1))}\n"
    out, error = reader.communicate("\n", timeout=60)
    assert (out, error) == ("finished [0, 1, 2]\n", "")


def test_points_arrive_without_a_flush(registry, start):
    """The recorder writes by itself, from its own thread."""
    with start() as run, noticed("checkin") as written:
        run.log({"loss": 1.0}, step=1)
        assert written.wait(30)
        assert [point.step for point in registry.history(f"run:{run.uid}", "loss")] == [1]


# Summaries


def summary_by_numpy(points):
    """What a summary has to be, from all points at once, in the order they were logged in."""
    steps = [step for step, _ in points]
    values = np.array([value for _, value in points])
    numbers = values[~np.isnan(values)]
    with np.errstate(all="ignore"):
        expected = {
            "count": len(values),
            "nan_count": int(np.isnan(values).sum()),
            "first": values[0],
            "last": values[-1],
            "min": numbers.min(initial=np.inf) if len(numbers) else NAN,
            "max": numbers.max(initial=-np.inf) if len(numbers) else NAN,
            "mean": numbers.mean() if len(numbers) else NAN,
            "first_step": steps[0],
            "last_step": steps[-1],
        }
    # Not nanargmin, which takes a NaN for an infinity.
    where = np.flatnonzero(~np.isnan(values))
    expected["min_step"] = steps[where[numbers.argmin()]] if len(numbers) else None
    expected["max_step"] = steps[where[numbers.argmax()]] if len(numbers) else None
    return expected


values = st.one_of(
    st.floats(-1e6, 1e6), st.sampled_from([NAN, INFINITY, -INFINITY, 0.0, 1.0]), st.floats(-1e100, 1e100)
)
batches = st.lists(
    st.lists(st.tuples(st.integers(0, 2**63 - 1), values), min_size=1, max_size=6), min_size=1, max_size=5
)


@settings(max_examples=60, deadline=None)
@given(batches)
@example([[(1, INFINITY)], [(2, -INFINITY)], [(3, 1.0)]])
@example([[(1, INFINITY), (2, -INFINITY)], [(3, NAN)]])
@example([[(1, NAN)], [(2, NAN)], [(3, INFINITY)]])
@example([[(1, 2.0)], [(2, 2.0), (3, 2.0)]])
@example([[(1, INFINITY)], [(2, INFINITY)]])
@example([[(1, -INFINITY), (2, NAN)], [(3, 1e100)]])
def test_summaries_are_those_of_numpy(shared, start_run, batches):
    with start_run(shared) as run:
        for batch in batches:
            for step, value in batch:
                run.log({"loss": value}, step=step)
            run.flush()
    points = [point for batch in batches for point in batch]
    (summary,) = shared.summaries(f"run:{run.uid}")
    expected = summary_by_numpy(points)
    scale = max((abs(value) for _, value in points if math.isfinite(value)), default=0)
    assert summary.mean == pytest.approx(expected.pop("mean"), rel=1e-12, abs=1e-12 * scale, nan_ok=True)
    for name, value in expected.items():
        found = getattr(summary, name)
        assert found == value or (math.isnan(found) and math.isnan(value)), name


def test_a_mean_over_both_infinities_is_nan(registry, start):
    with start() as run:
        run.log({"loss": INFINITY}, step=1)
        run.flush()
        run.log({"loss": -INFINITY}, step=2)
        run.flush()
        run.log({"loss": 5.0}, step=3)
    (summary,) = registry.summaries(f"run:{run.uid}")
    assert math.isnan(summary.mean)
    assert (summary.min, summary.max, summary.min_step, summary.max_step) == (-INFINITY, INFINITY, 2, 1)


def test_a_mean_over_many_batches_stays_exact(registry, start):
    rng = np.random.default_rng(0)
    values = rng.normal(1e6, 1, 500)
    with start() as run:
        for step, value in enumerate(values):
            run.log({"loss": value}, step=step)
            if step % 10 == 0:
                run.flush()
    (summary,) = registry.summaries(f"run:{run.uid}")
    assert summary.mean == pytest.approx(values.mean(), rel=1e-13)


# How a run ends


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (None, "finished", None),
        (ValueError("too bad"), "failed", "too bad"),
        (ValueError(), "failed", "ValueError"),
        (TrainingError("diverged"), "failed", "diverged"),
        (PrunedError("not promising"), "pruned", "not promising"),
        (PrunedError(), "pruned", "PrunedError"),
        (OSError("cannot open '\udcff'"), "failed", "cannot open '\\udcff'"),
        (KeyboardInterrupt(), "interrupted", None),
        (SystemExit(1), "interrupted", None),
        (GeneratorExit(), "interrupted", None),
    ],
    ids=repr,
)
def test_how_a_run_ends(registry, start, error, status, message):
    run = start()
    try:
        with run:
            run.log({"loss": 1.0}, step=1)
            if error is not None:
                raise error
    except BaseException as raised:
        assert raised is error  # noqa: PT017  (GeneratorExit and SystemExit must not be swallowed by the test either)
    found = registry.run(run.uid)
    assert (found.status, found.error) == (status, message)
    assert found.ended_at is not None
    assert [point.step for point in registry.history(f"run:{run.uid}", "loss")] == [1]


def test_nothing_is_logged_after_the_end(registry, start):
    with start() as run:
        run.log({"loss": 1.0}, step=1)
    with pytest.raises(SettingsError, match=f"run {run.uid} has ended: start another"):
        run.log({"loss": 2.0}, step=2)
    run.flush()
    run.finish(RunStatus.FAILED, "a second end")
    assert registry.run(run.uid).status == RunStatus.FINISHED
    (summary,) = registry.summaries(f"run:{run.uid}")
    assert summary.count == 1


def test_the_end_of_a_run_ends_its_thread(start):
    before = threading.active_count()
    with start():
        assert threading.active_count() == before + 2
    assert threading.active_count() == before


@pytest.mark.sqlite
@pytest.mark.parametrize(("silent", "status"), [(170, "running"), (190, "interrupted")])
def test_a_silent_run_counts_as_interrupted(registry, start, path, silent, status):
    run = start()
    heard = (datetime.now(UTC) - timedelta(seconds=silent)).replace(tzinfo=None)
    execute(path, "UPDATE run SET heartbeat_at = ?", str(heard))
    assert registry.run(run.uid).status == status
    assert [found.status for found in registry.runs()] == [status]
    assert execute(path, "SELECT status FROM run") == [("running",)]
    run.finish()
    assert registry.run(run.uid).status == RunStatus.FINISHED


# Finding runs


def test_runs_are_listed_newest_first(registry, start):
    uids = [start(adapter=name).uid for name in ("a", "b", "a")]
    assert [run.uid for run in registry.runs()] == uids[::-1]
    assert [run.uid for run in registry.runs(limit=2)] == uids[:0:-1]
    assert [run.uid for run in registry.runs(adapter="a")] == [uids[2], uids[0]]
    assert list(registry.runs(adapter="nobody")) == []


@pytest.mark.sqlite
def test_a_run_is_found_by_the_beginning_of_its_uid(registry, start, path):
    recorders = [start() for _ in range(3)]
    for recorder, uid in zip(recorders, ("abc000000001", "abd000000002", "e00000000003"), strict=True):
        recorder.finish()
        execute(path, "UPDATE run SET uid = ? WHERE uid = ?", uid, recorder.uid)
    assert registry.run("abc").uid == "abc000000001"
    assert registry.run("e").uid == "e00000000003"
    assert registry.run("abd000000002").uid == "abd000000002"
    with pytest.raises(RunNotFoundError, match="run 'ab' is ambiguous: abc000000001, abd000000002"):
        registry.run("ab")
    with pytest.raises(RunNotFoundError, match=r"unknown run 'abf000000001'; did you mean abc000000001.*; known: e000"):
        registry.run("abf000000001")


@pytest.mark.sqlite
@pytest.mark.parametrize("text", ["", "_", "%", "b", "0" * 10_000])
def test_what_is_no_beginning_of_a_uid_finds_no_run(registry, start, path, text):
    start().finish()
    execute(path, "UPDATE run SET uid = 'abc000000001'")
    for look_up in (registry.run, lambda uid: registry.summaries(f"run:{uid}")):
        with pytest.raises(RunNotFoundError) as error:
            look_up(text)
        assert len(str(error.value)) < 300


@pytest.mark.parametrize("name", ["", "..", "A"])
def test_a_bad_adapter_name_starts_no_run(registry, start, name):
    with pytest.raises(InvalidNameError):
        start(adapter=name)
    assert list(registry.runs()) == []


# A database that others hold


@pytest.fixture
def held(registry, monkeypatch, home):
    """A function that takes the write lock of a registry whose own patience is short, and one that gives it back."""
    registry.close()
    monkeypatch.setattr(backends, "BUSY_SECONDS", 0.05)
    with Registry(home) as impatient, closing(sqlite3.connect(home / "registry.db", isolation_level=None)) as other:
        yield impatient, lambda: other.execute("BEGIN IMMEDIATE"), lambda: other.execute("ROLLBACK")


def test_a_busy_database_loses_no_point_and_doubles_none(held, start_run):
    registry, take, give_back = held
    with start_run(registry) as run:
        run.log({"loss": 0.0}, step=0)
        take()
        with pytest.raises(BusyError):
            run.flush()
        run.log({"loss": 1.0}, step=1)
        with pytest.raises(BusyError):
            run.flush()
        give_back()
        run.flush()
        run.log({"loss": 2.0}, step=2)
    assert [point.value for point in registry.history(f"run:{run.uid}", "loss")] == [0.0, 1.0, 2.0]
    assert registry.summaries(f"run:{run.uid}")[0].count == 3


def test_a_recorder_says_once_that_it_cannot_write(held, start_run, monkeypatch, caplog):
    registry, take, give_back = held
    monkeypatch.setattr("pointsman.registry.runs.recorder.FLUSH_SECONDS", 0.001)
    with start_run(registry) as run:
        again, well = threading.Semaphore(0), threading.Event()

        def write(*arguments, write=run._write, **options):
            try:
                write(*arguments, **options)
            except BusyError:
                again.release()
                raise
            well.set()

        take()
        monkeypatch.setattr(run, "_write", write)
        run.log({"loss": 0.0}, step=0)
        for _ in range(3):
            assert again.acquire(timeout=30)
        give_back()
        well.clear()
        assert well.wait(30)
    said = [record.getMessage() for record in caplog.records if run.uid in record.getMessage()]
    assert len(said) == 2
    assert "cannot be written, and are kept until they can: " in said[0]
    assert said[1].endswith("are written again")
    assert [point.step for point in registry.history(f"run:{run.uid}", "loss")] == [0]


def test_an_end_that_fails_can_be_tried_again(held, start_run):
    registry, take, give_back = held
    run = start_run(registry)
    run.log({"loss": 0.0}, step=0)
    take()
    with pytest.raises(BusyError):
        run.finish()
    assert registry.run(run.uid).status == RunStatus.RUNNING
    give_back()
    run.finish()
    assert registry.run(run.uid).status == RunStatus.FINISHED
    assert [point.step for point in registry.history(f"run:{run.uid}", "loss")] == [0]


@pytest.mark.sqlite
def test_logging_does_not_wait_for_the_database(registry, start, path):
    """A training goes on while the recorder waits for its turn to write."""
    with start() as run, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        run.log({"loss": 0.0}, step=0)
        flusher = threading.Thread(target=run.flush)
        with noticed("before_cursor_execute") as begun:
            flusher.start()
            assert begun.wait(30)
        logger = threading.Thread(target=lambda: run.log({"loss": 1.0}, step=1))
        logger.start()
        logger.join(5)
        stuck, waiting = logger.is_alive(), flusher.is_alive()
        other.execute("ROLLBACK")
        flusher.join()
        logger.join()
        assert (stuck, waiting) == (False, True)
    assert [point.step for point in registry.history(f"run:{run.uid}", "loss")] == [0, 1]


def test_an_error_while_the_database_is_busy_is_not_hidden(held, start_run):
    registry, take, give_back = held
    run = start_run(registry)

    def fail():
        with run:
            take()
            raise ValueError("too bad")

    with pytest.raises(BusyError) as raised:
        fail()
    causes, error = [], raised.value
    while error is not None:
        causes.append(type(error))
        error = error.__context__
    assert causes[-1] is ValueError
    give_back()
    run.finish()


def test_an_adapter_without_a_version_has_a_run_to_look_at(registry, start_run):
    with start_run(registry, "sst2") as run:
        advice = Advice(Action.SHOW_HISTORY, {"run": run.uid})
    with pytest.raises(AdapterNotFoundError, match="unknown adapter 'sst2'") as error:
        registry.history("sst2", "train/loss")
    assert error.value.advice == advice
