"""What servers record of versions: runs of their own, read through the version, and no training for anybody else."""

import os
import signal
from datetime import UTC, datetime

import pytest

from pointsman.registry import Origin, RunStatus
from pointsman.registry.database import backends
from pointsman.registry.errors import BusyError, ConflictError, InvalidNameError, MetricNotFoundError, SettingsError
from pointsman.registry.runs import serving
from pointsman.registry.upkeep import verify

from shapes import FIELDS, RUN

pytestmark = pytest.mark.databases

START = datetime(2026, 11, 30, 12, 0, tzinfo=UTC).timestamp()
MINUTE = int(START // 60)
SETTINGS = {"precision": "fp32"}


def log(recorder, minute, figures):
    recorder.log(figures, since=START + 60 * minute, until=START + 60 * (minute + 1))


def test_figures_are_a_history_of_the_version(registry, add):
    add()
    add()
    server = registry.start_serving(settings=SETTINGS)
    log(server, 0, {"sst2@1": {"serving/requests": 3, "serving/latency/p99": 0.25}, "sst2@2": {"serving/requests": 1}})
    log(server, 1, {"sst2@1": {"serving/requests": 5}})
    server.flush()
    points = registry.history("sst2@1", "serving/requests")
    assert [(point.step, point.value, point.wall_time) for point in points] == [
        (MINUTE + 1, 3, START + 60),
        (MINUTE + 2, 5, START + 120),
    ]
    assert [point.value for point in registry.history("sst2", "serving/requests")] == [1]
    summaries = {summary.key: summary for summary in registry.summaries("sst2@1")}
    assert summaries.keys() == {"serving/requests", "serving/latency/p99"}
    assert (summaries["serving/requests"].count, summaries["serving/requests"].mean) == (2, 4)
    (first,) = registry.runs("origin.name = 'sst2@1'", serving=True)
    assert (first.adapter, first.task, first.method, first.base) == ("sst2", "sst2", "seq_bn", FIELDS["base"])
    assert (first.status, first.served, first.settings) == (RunStatus.RUNNING, "sst2@1", SETTINGS)
    assert first.origin == Origin(
        kind="serving",
        name="sst2@1",
        item=server.server,
        details={
            "digest": registry.version("sst2@1").digest,
            "host": first.origin.details["host"],
            "pid": os.getpid(),
        },
    )
    assert first.started_at == datetime.fromtimestamp(START, UTC)
    server.finish()
    server.finish()
    assert {run.status for run in registry.runs(serving=True)} == {RunStatus.FINISHED}
    assert verify(registry).problems == ()


def test_several_servers_and_starts_are_one_history(registry, add):
    add()
    first, second = registry.start_serving(settings={}), registry.start_serving(settings={})
    for minute in (0, 2):
        log(first, minute, {"sst2@1": {"serving/requests": minute}})
    first.finish()
    for minute in (1, 3):
        log(second, minute, {"sst2@1": {"serving/requests": minute}})
    second.flush()
    again = registry.start_serving(settings={})
    log(again, 4, {"sst2@1": {"serving/requests": 4}})
    again.flush()
    assert [point.value for point in registry.history("sst2@1", "serving/requests")] == [0, 1, 2, 3, 4]
    (summary,) = registry.summaries("sst2@1")
    assert (summary.count, summary.min, summary.max, summary.mean) == (5, 0, 4, 2)
    window = {"first_step": MINUTE + 2, "until": datetime.fromtimestamp(START + 240, UTC)}
    assert [point.value for point in registry.history("sst2@1", "serving/requests", **window)] == [1, 2, 3]
    assert sorted(run.status for run in registry.runs(serving=True)) == ["finished", "running", "running"]


def test_a_long_history_of_several_servers_keeps_its_extremes(registry, add):
    add()
    servers = [registry.start_serving(settings={}) for _ in range(3)]
    for minute in range(300):
        log(servers[minute % 3], minute, {"sst2@1": {"serving/requests": 1000 if minute == 151 else minute}})
    for server in servers:
        server.flush()
    points = registry.history("sst2@1", "serving/requests", max_points=20)
    assert len(points) <= 20
    assert [point.step for point in points] == sorted(point.step for point in points)
    assert (points[0].value, points[-1].value) == (0, 299)
    assert max(point.value for point in points) == 1000


def test_they_are_no_trainings(registry, add):
    with registry.start_run("sst2", **RUN) as recorder:
        recorder.log({"loss": 1}, step=1)
    add(run=recorder.uid)
    server = registry.start_serving(settings={})
    log(server, 0, {"sst2@1": {"serving/requests": 1}})
    server.flush()
    (serving_run,) = registry.runs(serving=True)
    assert [run.uid for run in registry.runs()] == [recorder.uid]
    assert [run.uid for run in registry.runs("status = running", adapter="sst2")] == []
    assert [run.uid for run in registry.runs("status = running", adapter="sst2", serving=True)] == [serving_run.uid]
    assert [summary.key for summary in registry.summaries("sst2@1")] == ["loss", "serving/requests"]
    assert [summary.key for summary in registry.summaries(f"run:{serving_run.uid}")] == ["serving/requests"]
    server.finish()
    with pytest.raises(ConflictError, match="is what a server recorded of sst2@1, and no training"):
        registry.resume_run(serving_run.uid, last_step=-1)
    with pytest.raises(SettingsError, match="the origin kind 'serving' is for the runs of servers"):
        registry.start_run("sst2", origin=Origin(kind="serving", name="sst2@1", item="1"), **RUN)


def test_metrics_that_nothing_recorded(registry, add):
    add()
    with pytest.raises(MetricNotFoundError):
        registry.history("sst2@1", "serving/requests")
    with pytest.raises(MetricNotFoundError, match="was made by no run"):
        registry.summaries("sst2@1")
    server = registry.start_serving(settings={})
    log(server, 0, {"sst2@1": {"serving/requests": 1}})
    server.flush()
    with pytest.raises(MetricNotFoundError, match="serving/requests"):
        registry.history("sst2@1", "serving/request")
    window = {"since": datetime.fromtimestamp(START + 600, UTC)}
    assert registry.history("sst2@1", "serving/requests", **window) == []


def test_a_version_that_was_removed_is_left_out(registry, add):
    add()
    add()
    server = registry.start_serving(settings={})
    log(server, 0, {f"sst2@{number}": {"serving/requests": number} for number in (1, 2)})
    registry.remove("sst2@1")
    server.flush()
    (run,) = registry.runs(serving=True)
    assert run.served == "sst2@2"
    registry.remove("sst2@2")
    log(server, 1, {"sst2@2": {"serving/requests": 7}})  # still in the server's memory
    server.flush()
    assert [summary.count for summary in registry.summaries(f"run:{run.uid}")] == [2]
    server.finish()


def test_many_versions_are_written_in_few_transactions(registry, add, monkeypatch):
    for number in range(250):
        add(f"a{number}")
    begun = []
    writing = registry.database.writing
    monkeypatch.setattr(registry.database, "writing", lambda made=None: begun.append(1) or writing(made))
    server = registry.start_serving(settings={})
    log(server, 0, {f"a{number}@1": {"serving/requests": number} for number in range(250)})
    server.flush()
    assert len(begun) == 3
    assert registry.runs(serving=True).total == 250
    for number in (0, 99, 100, 249):
        assert [point.value for point in registry.history(f"a{number}", "serving/requests")] == [number]


def test_what_cannot_be_written_is_written_later(registry, add, monkeypatch):
    add()
    server = registry.start_serving(settings={})
    monkeypatch.setattr(backends, "BUSY_SECONDS", 0.01)
    with registry.database.writing():
        for minute in range(3):
            log(server, minute, {"sst2@1": {"serving/requests": minute}})
            with pytest.raises(BusyError):
                server.flush()
    server.flush()
    assert [point.value for point in registry.history("sst2@1", "serving/requests")] == [0, 1, 2]


def test_what_waits_is_bounded(registry, add, monkeypatch):
    add()
    monkeypatch.setattr(serving, "MOST_WAITING", 4)
    server = registry.start_serving(settings={})
    for minute in range(5):
        log(server, minute, {"sst2@1": {"serving/requests": minute, "serving/failures": 0}})
    assert server.dropped == 6
    server.flush()
    assert [point.value for point in registry.history("sst2@1", "serving/requests")] == [3, 4]


def test_a_server_that_was_killed_is_interrupted(registry, add, spawn):
    add()
    code = """
import sys
from pointsman.registry import Registry
with Registry(sys.argv[1], database=sys.argv[2]) as registry:
    server = registry.start_serving(settings={})
    server.log({"sst2@1": {"serving/requests": 4}}, since=1_000_000_000, until=1_000_000_060)
    server.flush()
    print("written", flush=True)
    sys.stdin.read()
"""
    backend = registry.database.backend
    database = backend.path if isinstance(backend, backends.Sqlite) else backend.url.render_as_string(False)
    process = spawn(code, registry.home, database)
    assert process.stdout.readline().strip() == "written"
    (run,) = registry.runs(serving=True)
    assert run.status is RunStatus.RUNNING
    process.send_signal(signal.SIGKILL)
    process.wait()
    (run,) = registry.runs("status = interrupted", serving=True)
    assert run.status is RunStatus.INTERRUPTED
    assert [point.value for point in registry.history("sst2@1", "serving/requests")] == [4]
    assert run.ended_at is None


@pytest.mark.parametrize(
    ("ref", "metric", "error"),
    [
        ("sst2", "serving/requests", SettingsError),
        ("sst2@production", "serving/requests", SettingsError),
        ("Sst2@1", "serving/requests", InvalidNameError),
        ("sst2@1", "serving/very good", InvalidNameError),
    ],
)
def test_figures_of_no_version_are_refused(registry, add, ref, metric, error):
    add()
    server = registry.start_serving(settings={})
    with pytest.raises(error):
        log(server, 0, {"sst2@1": {"serving/requests": 1}, ref: {metric: 1}})
    server.flush()
    assert registry.runs(serving=True).total == 0
