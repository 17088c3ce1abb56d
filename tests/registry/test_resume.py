"""Runs that are taken up again after a crash: whose they are, and what their history says then."""

import json
import math
import os
import random
import signal
import tarfile
import threading
from contextlib import suppress
from datetime import timedelta
from itertools import count

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.registry import RunStatus
from pointsman.registry.database import tables as t
from pointsman.registry.database.events import now
from pointsman.registry.errors import (
    Action,
    Advice,
    ConflictError,
    DatabaseError,
    PrunedError,
    RunNotFoundError,
    SettingsError,
)
from pointsman.registry.metrics import cutting
from pointsman.registry.metrics.points import insert_points
from pointsman.registry.records import LoggedPoint
from pointsman.registry.runs import liveness, runs
from pointsman.registry.upkeep import export_bundle, verify

from helpers import interrupted_before

pytestmark = pytest.mark.databases

NAN, INFINITY = math.nan, math.inf
START = 1_800_000_000.0


def change(registry, uid, /, **values):
    """Change a run's row behind everybody's back."""
    with registry.database.writing() as connection:
        connection.execute(t.run.update().where(t.run.c.uid == uid).values(**values))


def row(registry, uid):
    with registry.database.reading() as connection:
        return connection.execute(sa.select(t.run).where(t.run.c.uid == uid)).one()


def said_by(registry, uid, **changes):
    """The environment of a run whose process is changed so."""
    environment = row(registry, uid).environment
    return {"environment": {**environment, "process": {**environment["process"], **changes}}}


def log(registry, uid, batches):
    """Log batches of ``(metric, step, value, epoch, time)`` at once, whatever the time is."""
    with registry.database.writing() as connection:
        for batch in filter(None, batches):
            insert_points(connection, runs.run_id(connection, uid), [LoggedPoint(*point) for point in batch])


@pytest.fixture
def interrupted(registry, start):
    """Make a run that logged these steps of a loss, and was interrupted by Ctrl-C."""

    def made(steps=range(10), **changes):
        run = start(**changes)
        for step in steps:
            run.log({"loss": float(step)}, step=step)
        run.finish(RunStatus.INTERRUPTED)
        return run.uid

    return made


def steps(registry, uid, metric="loss"):
    return [point.step for point in registry.history(f"run:{uid}", metric)]


# A process that is killed

TRAINING = """
import json, platform, sys
sys.path.insert(0, sys.argv[1])
from pointsman.registry import PointsmanError, Registry
from shapes import RUN

home, database, uid, last = sys.argv[2], sys.argv[3] or None, sys.argv[4], int(sys.argv[5])
if sys.argv[6:]:
    platform.node = lambda: sys.argv[6]
with Registry(home, database=database) as registry:
    try:
        run = registry.resume_run(uid, last_step=last) if uid else registry.start_run("sst2", **RUN)
    except PointsmanError as error:
        print(type(error).__name__, flush=True)
        sys.exit()
    print(run.uid, flush=True)
    for line in sys.stdin:
        try:
            for step in json.loads(line):
                run.log({"loss": step, f"of/{step % 7}": step * 0.1}, step=step)
            run.flush()
        except PointsmanError as error:
            print(type(error).__name__, flush=True)
        else:
            print("flushed", flush=True)
    run.finish()
"""


@pytest.fixture
def training(registry, spawn, pytestconfig):
    """A training in a process of its own, and what it says first: its run, or why there is none."""

    def started(uid="", last=0, machine=None, wait=True):
        more = [] if machine is None else [machine]
        backend = registry.database.backend
        database = backend.url.render_as_string(hide_password=False) if hasattr(backend, "url") else ""
        child = spawn(TRAINING, pytestconfig.rootpath / "tests", registry.home, database, uid, last, *more)
        return child, child.stdout.readline().strip() if wait else None

    return started


def tell(child, steps):
    """Have a training log these steps, and return what became of them."""
    child.stdin.write(json.dumps(list(steps)) + "\n")
    child.stdin.flush()
    return child.stdout.readline().strip()


def kill(child):
    child.kill()
    child.wait(60)


def test_killed_and_taken_up_at_once_again_and_again(registry, training):
    """Checkpoints at every tenth step; each process comes some steps further than its last one."""
    uid, last, done = "", -1, 64
    while last < done - 10:
        child, uid = training(uid, last)
        assert registry.run(uid).status == RunStatus.RUNNING
        assert tell(child, range(last + 1, last + 28)) == "flushed"
        kill(child)
        assert registry.run(uid).status == RunStatus.INTERRUPTED
        assert row(registry, uid).status == "running"
        last += 20
    with registry.resume_run(uid, last_step=last) as run:
        assert run.uid == uid
        assert steps(registry, uid) == list(range(last + 1))
        for step in range(last + 1, done):
            run.log({"loss": step, f"of/{step % 7}": step * 0.1}, step=step)
    points = registry.history(f"run:{uid}", "loss")
    assert [(point.step, point.value) for point in points] == [(step, step) for step in range(done)]
    assert all(steps(registry, uid, f"of/{of}") == list(range(of, done, 7)) for of in range(7))
    assert registry.run(uid).status == RunStatus.FINISHED
    assert [event.details["step"] for event in registry.events("sst2")] == [59, 39, 19]
    assert verify(registry).problems == ()


def test_one_that_is_dead_and_not_buried_is_dead(registry, training):
    child, uid = training()
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert registry.run(uid).status == RunStatus.INTERRUPTED
    registry.resume_run(uid, last_step=0).finish()


def test_a_living_process_of_this_machine_keeps_its_run(registry, training):
    child, uid = training()
    assert tell(child, range(5)) == "flushed"
    for heard in (now(), now() - timedelta(hours=1)):
        # However long it has been silent.
        change(registry, uid, heartbeat_at=heard)
        with pytest.raises(ConflictError, match=f"run {uid} is still running, in the process {child.pid} of this mach"):
            registry.resume_run(uid[:10], last_step=2)
    assert steps(registry, uid) == list(range(5))
    assert registry.events("sst2") == []
    child.communicate(timeout=60)
    assert registry.run(uid).status == RunStatus.FINISHED


def test_a_process_that_was_taken_for_dead_adds_nothing(registry, training):
    """On a machine that was asleep, until another had taken up its run."""
    child, uid = training(machine="elsewhere")
    assert tell(child, range(5)) == "flushed"
    child.send_signal(signal.SIGSTOP)
    with pytest.raises(
        ConflictError, match=r"still running in another process on elsewhere, .*detected 180 seconds after"
    ):
        registry.resume_run(uid, last_step=3)
    change(registry, uid, heartbeat_at=now() - timedelta(seconds=190))
    with registry.resume_run(uid, last_step=3) as run:
        child.send_signal(signal.SIGCONT)
        assert tell(child, [4, 5]) == "ConflictError"
        assert tell(child, [6]) == "ConflictError"
        run.log({"loss": 4.0}, step=4)
        out, error = child.communicate(timeout=60)
        assert (child.returncode, out) == (1, "")
        assert f"ConflictError: run {uid} was taken up by another process, and goes on there: end this one" in error
        assert registry.run(uid).status == RunStatus.RUNNING
    assert steps(registry, uid) == list(range(5))
    assert registry.run(uid).status == RunStatus.FINISHED


def test_who_has_lost_a_run_adds_no_version_and_says_nothing_more(registry, start, add):
    """Also within one process: the run's row counts how often it was taken up."""
    lost = start()
    lost.log({"loss": 1.0}, step=1)
    lost.flush()
    change(registry, lost.uid, status="interrupted")
    with registry.resume_run(lost.uid, last_step=1) as run:
        heard = row(registry, lost.uid).heartbeat_at
        with registry.database.writing_row() as connection:
            assert not runs.beat(connection, runs.run_id(connection, lost.uid), 0)
        assert row(registry, lost.uid).heartbeat_at == heard
        for write in (lambda: add(run=lost), lost.flush, lambda: lost.log({"loss": 2.0}, step=2), lost.finish):
            with pytest.raises(ConflictError, match=f"run {lost.uid} was taken up by another process, and goes on"):
                write()
        assert registry.versions().total == 0
        assert add(run=run).run == run.uid
    assert steps(registry, run.uid) == [1]


def test_a_long_write_does_not_make_a_run_look_dead(registry, start):
    """On a server, a heartbeat waits for no other writer; on one machine, the process itself is looked at."""
    run = start()
    if hasattr(registry.database.backend, "url"):
        change(registry, run.uid, heartbeat_at=now() - timedelta(hours=1))
        with registry.database.writing(), registry.database.writing_row() as connection:
            assert runs.beat(connection, runs.run_id(connection, run.uid), 0)
    assert registry.run(run.uid).status == RunStatus.RUNNING


def test_a_clients_clock_does_not_count_on_a_server(registry, start, monkeypatch):
    if not hasattr(registry.database.backend, "url"):
        pytest.skip("one machine has one clock")
    before = now()
    monkeypatch.setattr("pointsman.registry.database.events.now", lambda: before + timedelta(hours=5))
    run = start()
    found = registry.run(run.uid)
    assert found.status == RunStatus.RUNNING
    assert abs(found.started_at - before) < timedelta(minutes=1)
    run.finish()
    assert abs(registry.run(run.uid).ended_at - before) < timedelta(minutes=1)


def test_a_server_that_drops_its_connections_loses_no_point_and_doubles_none(registry, start):
    """As one that is restarted does, in the midst of logging."""
    if not hasattr(registry.database.backend, "url"):
        pytest.skip("a file has no server")
    run = start()
    for step in range(400):
        run.log({"loss": float(step)}, step=step)
        if step % 40 == 0:
            with registry.database.reading() as connection:
                others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                connection.exec_driver_sql(f"{others} AND pid <> pg_backend_pid()")
        if step % 10 == 0:
            with suppress(DatabaseError):
                run.flush()
    run.finish()
    assert steps(registry, run.uid) == list(range(400))
    assert verify(registry).problems == ()


def test_of_two_processes_at_once_one_succeeds(registry, interrupted, training):
    uid = interrupted()
    both = [training(uid, 5, wait=False)[0] for _ in range(2)]
    said = [child.stdout.readline().strip() for child in both]
    assert sorted(said) == sorted([uid, "ConflictError"])
    for child in both:
        child.communicate(timeout=60)
    assert [event.action for event in registry.events("sst2")] == ["resume"]
    assert steps(registry, uid) == list(range(6))


def test_of_many_threads_at_once_one_succeeds(registry, interrupted):
    uid = interrupted()
    ready, recorders, refused = threading.Barrier(6), [], []

    def resume():
        ready.wait()
        try:
            recorders.append(registry.resume_run(uid, last_step=5))
        except ConflictError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=resume) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (recorder,) = recorders
    assert refused == [f"run {uid} is still running, in this process: wait for it or stop it"] * 5
    recorder.finish()


# What a process is known by


def test_who_is_alive():
    here = liveness.this_process()
    assert json.loads(json.dumps(here)) == here
    assert liveness.alive(here) is True
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    assert liveness.alive({**here, "pid": dead}) is False
    # Its number was given to another process.
    assert liveness.alive({**here, "started": here["started"] - 1}) is False
    # Nothing is told of when it was started.
    assert liveness.alive({**here, "started": None}) is None
    assert liveness.alive({**here, "pid": dead, "started": None}) is False


@pytest.mark.parametrize(
    "process",
    [
        None,
        "me",
        [],
        {},
        *({**liveness.this_process(), name: "another"} for name in ("host", "boot", "namespace")),
        *({**liveness.this_process(), "pid": pid} for pid in (None, "1", 0, -1, True, 1.0, 2**31, 2**80)),
    ],
    ids=lambda process: None,
)
def test_of_what_cannot_be_known_nothing_is_said(process):
    assert liveness.alive(process) is None


@pytest.mark.parametrize(
    "changes",
    [{"environment": {"python": "3.11"}}, {"host": "elsewhere"}, {"boot": "another"}, {"started": None}],
    ids=repr,
)
def test_where_nothing_is_known_of_the_process_its_last_word_counts(registry, start, changes):
    """A run of an older release, of another machine, of this one before it was started anew."""
    uid = start().uid
    change(registry, uid, **changes if "environment" in changes else said_by(registry, uid, **changes))
    assert registry.run(uid).status == RunStatus.RUNNING
    for heard in (now() - timedelta(seconds=170), now() + timedelta(seconds=170)):
        change(registry, uid, heartbeat_at=heard)
        with pytest.raises(ConflictError, match="is still running in another process"):
            registry.resume_run(uid, last_step=0)
    # After a clock was set back, a run's last word lies in the future.
    silent = (now() - timedelta(seconds=190), now() + timedelta(seconds=190))
    for heard in silent:
        change(registry, uid, heartbeat_at=heard)
        assert registry.run(uid).status == RunStatus.INTERRUPTED
    registry.resume_run(uid, last_step=0).finish()
    assert row(registry, uid).environment["process"] == liveness.this_process()


def test_a_number_that_was_given_anew_is_another_process(registry, start):
    uid = start().uid
    change(registry, uid, **said_by(registry, uid, started=1))
    assert registry.run(uid).status == RunStatus.INTERRUPTED
    registry.resume_run(uid, last_step=0).finish()


def test_the_process_is_no_part_of_the_environment(registry, start, add, tmp_path):
    """What is shown, compared and exported is what was given."""
    with pytest.raises(SettingsError, match=r"the environment has the key 'process'.*: use another key"):
        start(environment={"process": "mine"})
    run = start()
    run.finish(RunStatus.FAILED, "too bad")
    with registry.resume_run(run.uid, last_step=0) as again:
        assert row(registry, run.uid).environment == {"python": "3.11", "process": liveness.this_process()}
    add(run=again.uid)
    assert registry.run(run.uid).environment == {"python": "3.11"}
    assert "environment.process.pid" not in [field.name for field in registry.compare(["sst2"])]
    export_bundle(registry, ["sst2"], tmp_path / "bundle.tar")
    with tarfile.open(tmp_path / "bundle.tar") as tar:
        (found,) = json.load(tar.extractfile("bundle.json"))["runs"]
    assert found["environment"] == {"python": "3.11"}


# What becomes of the run


@pytest.mark.parametrize("status", [RunStatus.INTERRUPTED, RunStatus.FAILED])
def test_a_run_that_is_taken_up_is_running_again(registry, start, status):
    run = start()
    run.log({"loss": 1.0}, step=1)
    run.finish(status, "too bad")
    before = registry.run(run.uid)
    assert (before.status, before.error) == (status, "too bad")
    with registry.resume_run(run.uid[:8], last_step=1) as again:
        found = registry.run(run.uid)
        assert (again.uid, found.status, found.error, found.ended_at) == (run.uid, "running", None, None)
        assert found.started_at == before.started_at
        assert before.ended_at < found.heartbeat_at <= now()
    (event,) = registry.events("sst2")
    assert (event.action, event.subject, event.details) == ("resume", "sst2", {"run": run.uid, "step": 1})


def test_a_run_that_has_made_a_version_is_refused(registry, interrupted, add):
    uid = interrupted()
    add(run=uid)
    with pytest.raises(ConflictError, match=f"^run {uid} has made sst2@1 and cannot be resumed$") as refused:
        registry.resume_run(uid, last_step=5)
    assert refused.value.advice == Advice(Action.TRAIN_LIKE, {"ref": f"run:{uid}"})
    assert steps(registry, uid) == list(range(10))
    registry.remove("sst2@1")
    registry.resume_run(uid, last_step=5).finish()
    assert steps(registry, uid) == list(range(6))


@pytest.mark.parametrize("pruned", [False, True])
def test_a_run_that_has_finished_is_refused(registry, start, pruned):
    run = start()
    try:
        with run:
            run.log({"loss": 1.0}, step=7)
            if pruned:
                raise PrunedError("not promising")
    except PrunedError:
        assert pruned
    assert registry.run(run.uid).error == ("not promising" if pruned else None)
    how = "was pruned" if pruned else "has finished"
    with pytest.raises(ConflictError, match=f"^run {run.uid} {how} and cannot be resumed$") as refused:
        registry.resume_run(run.uid, last_step=5)
    assert refused.value.advice == Advice(Action.TRAIN_LIKE, {"ref": f"run:{run.uid}"})
    assert steps(registry, run.uid) == [7]
    assert registry.events("sst2") == []


def test_a_run_that_is_not_there_is_refused(registry, interrupted):
    for uid in ("abc000000001", "abc000000002"):
        change(registry, interrupted(), uid=uid)
    with pytest.raises(RunNotFoundError, match="unknown run 'abd'"):
        registry.resume_run("abd", last_step=0)
    with pytest.raises(RunNotFoundError, match="run 'abc' is ambiguous"):
        registry.resume_run("abc", last_step=0)


def test_a_step_that_is_none_is_refused(registry, interrupted):
    uid = interrupted()
    for step in (-2, 2**63):
        with pytest.raises(SettingsError, match=f"last_step {step} is not valid"):
            registry.resume_run(uid, last_step=step)
    with pytest.raises(TypeError):
        registry.resume_run(uid, last_step=1.5)
    assert registry.run(uid).status == RunStatus.INTERRUPTED


# What becomes of the history


@pytest.mark.parametrize("last", [-1, 4, 2**63 - 1])
def test_points_of_the_last_step_stay(registry, interrupted, last):
    uid = interrupted()
    registry.resume_run(uid, last_step=last).finish()
    assert [summary.key for summary in registry.summaries(f"run:{uid}")] == (["loss"] if last >= 0 else [])
    if last >= 0:
        assert steps(registry, uid) == list(range(min(last, 9) + 1))
    assert verify(registry).problems == ()


def kept(registry, uid):
    """All that is kept of a run's history, NaN and infinities included: points, buckets, thin histories, summaries."""
    found = {}
    with registry.database.reading() as connection:
        for table in (t.metric_point, t.metric_bucket):
            columns = [column for column in table.c if column.name not in ("run_id", "key_id")]
            found[table.name] = connection.execute(
                sa.select(t.metric_key.c.name, *columns)
                .join(t.metric_key, table.c.key_id == t.metric_key.c.id)
                .join(t.run, table.c.run_id == t.run.c.id)
                .where(t.run.c.uid == uid)
                .order_by(t.metric_key.c.name, *(column for column in columns if column.primary_key))
            ).all()
    summaries = registry.summaries(f"run:{uid}")
    for most in (None, 8, 30, 500):
        for summary in summaries:
            points = registry.history(f"run:{uid}", summary.key, max_points=most)
            found[summary.key, most] = [str(point) for point in points]
    means = [summary.mean for summary in summaries]
    found["summaries"] = [{**vars(summary), "mean": None} for summary in summaries]
    return {name: str(values) for name, values in found.items()}, means


@st.composite
def logged(draw):
    """Batches of points of a few metrics, of a training that may have gone back now and then; and a step to cut at."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    metrics = ["loss", "lr", "eval/f1"][: draw(st.integers(1, 3))]
    order = draw(st.sampled_from(["rising", "repeated", "resumed", "any"]))
    odd = draw(st.sampled_from([0.0, 0.1, 1.0]))
    clock = count()

    def points(number, first):
        for place in range(number):
            step = {
                "rising": first + place,
                "repeated": first + place // 5,
                "resumed": first + place - (number // 2 if place > 2 * number // 3 else 0),
                "any": rng.randrange(30),
            }[order]
            for metric in metrics:
                if rng.random() < 0.8:
                    value = rng.choice([NAN, INFINITY, 0.0, -5.0]) if rng.random() < odd else rng.gauss(0, 1)
                    epoch = None if rng.random() < 0.1 else place / 100
                    yield metric, max(step, 0), value, epoch, START + next(clock) / 4

    def batches(number, first):
        rest = list(points(number, first))
        while rest:
            size = rng.choice([1, 7, 64, 500])
            yield rest[:size]
            rest = rest[size:]

    number = draw(st.one_of(st.integers(0, 40), st.sampled_from([64, 200, 1_100])))
    last = draw(st.integers(-1, max(number, 1)))
    return list(batches(number, 0)), last, list(batches(draw(st.integers(0, 80)), last + 1))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(logged(), st.sampled_from([3, 64, 10_000]))
def test_what_was_cut_off_was_never_logged(registry, start_run, case, chunk):
    before, last, after = case
    crashed = start_run(registry)
    log(registry, crashed.uid, before)
    crashed.finish(RunStatus.INTERRUPTED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "_CHUNK", chunk)
        recorder = registry.resume_run(crashed.uid, last_step=last)
    whole = start_run(registry)
    stay = [[point for point in batch if point[1] <= last] for batch in before]
    log(registry, whole.uid, stay)
    for more in ([], after):
        if more:
            log(registry, recorder.uid, more)
            log(registry, whole.uid, more)
        (found, means), (expected, expected_means) = kept(registry, recorder.uid), kept(registry, whole.uid)
        assert found == expected
        # Means are sums over batches, and these were others.
        assert means == pytest.approx(expected_means, rel=1e-12, abs=1e-12, nan_ok=True)
    recorder.finish()
    whole.finish()


def test_metrics_without_later_points_are_left_as_they_are(registry, start):
    """To the last bit of a mean; and so are other runs."""
    run, other = start(), start()
    for recorder in (run, other):
        for step in range(20):
            recorder.log({"loss": step / 3, "late": step / 7}, step=step if step < 10 else step + 100)
            if step < 10:
                recorder.log({"lr": 0.1 / (step + 1)}, step=step)
            if step % 3 == 0:
                recorder.flush()
        recorder.finish(RunStatus.INTERRUPTED)
    before = {summary.key: summary for summary in registry.summaries(f"run:{run.uid}")}
    untouched = kept(registry, other.uid)
    registry.resume_run(run.uid, last_step=50).finish()
    after = {summary.key: summary for summary in registry.summaries(f"run:{run.uid}")}
    assert after["lr"] == before["lr"]
    assert after["loss"].count == after["late"].count == 10
    assert kept(registry, other.uid) == untouched


def test_interrupted_at_any_statement_all_of_it_happens_or_nothing(registry, interrupted):
    uid = interrupted()
    before = kept(registry, uid), row(registry, uid)
    for number in count(1):
        with suppress(KeyboardInterrupt), interrupted_before(number):
            registry.resume_run(uid, last_step=3)
        if row(registry, uid).status == "running":
            break
        assert (kept(registry, uid), row(registry, uid)) == before
        assert registry.events("sst2") == []
    assert number > 15
    assert steps(registry, uid) == [0, 1, 2, 3]
    assert verify(registry).problems == ()
