import contextlib
import ctypes
import itertools
import os
import signal
import subprocess
import sys

import pytest

from pointsman.registry import PointsmanError, Registry
from pointsman.registry.metrics.points import insert_points
from pointsman.registry.records import LoggedPoint
from pointsman.registry.runs import runs

from shapes import BASE, FIELDS, RUN

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def base():
    return BASE


@pytest.fixture
def fields():
    """What ``add_version`` takes, for tests that change one of it."""
    return dict(FIELDS)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One registry for all examples of a property."""
    with Registry(tmp_path_factory.mktemp("shared")) as opened:
        yield opened


@pytest.fixture(scope="session")
def add_version():
    """Add a version to a registry; keywords change what goes in."""

    def added(registry, name="sst2", **changes):
        return registry.add_version(name, **{**FIELDS, **changes})

    return added


@pytest.fixture
def add(registry, add_version):
    """Add a version of sst2; keywords change what goes in."""
    return lambda name="sst2", **changes: add_version(registry, name, **changes)


@pytest.fixture
def score(add):
    """Add a version of sst2 with this score."""
    return lambda value, name="sst2": add(name, metrics={"eval/accuracy": value})


@pytest.fixture(scope="session")
def start_run():
    """Start a run in a registry; keywords change what goes in."""

    def started(registry, adapter="sst2", **changes):
        return registry.start_run(adapter, **{**RUN, **changes})

    return started


@pytest.fixture
def start(registry, start_run):
    """Start a run of sst2, which ends with the test at the latest; keywords change what goes in."""
    started = []

    def start(**changes):
        started.append(start_run(registry, **changes))
        return started[-1]

    yield start
    for run in started:
        # What the test did to the database may well keep it from being written.
        with contextlib.suppress(PointsmanError):
            run.finish()


@pytest.fixture
def filled(registry):
    """Two versions of one file in common, a parent, an alias, a run with points."""
    with registry.start_run("sst2", **RUN) as run:
        for step in range(100):
            run.log({"loss": 1 / (step + 1)}, step=step)
    registry.add_version("sst2", **FIELDS, run=run.uid)
    registry.add_version("sst2", **{**FIELDS, "files": {"a": b"two", "adapter_config.json": b"{}"}})
    registry.add_version("mix", **FIELDS, parents=[("merged", "sst2@1"), ("merged", "sst2@2")])
    registry.set_alias("sst2@1", "production")
    return registry


@pytest.fixture(scope="session")
def log_points(start_run):
    """Make a run with these points, ``(step, value, epoch, time)``, in flushes of these sizes; returns its ref.

    At once, and at any times: a recorder logs each point at the present one.
    """

    def logged(registry, points, flushes=(), metric="loss", **changes):
        with start_run(registry, **changes) as recorder, registry.database.writing() as connection:
            row = runs.run_id(connection, recorder.uid)
            ends = [*itertools.accumulate(flushes), len(points)]
            for start, end in itertools.pairwise([0, *sorted(set(ends))]):
                batch = points[start:end]
                if batch:
                    insert_points(connection, row, [LoggedPoint(metric, *point) for point in batch])
        return f"run:{recorder.uid}"

    return logged


@pytest.fixture(scope="session")
def spawn():
    """Start Python on a piece of code, with pipes; whatever still runs at the end is killed."""
    processes = []

    def spawned(code, *arguments, **options):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        processes.append(process)
        return process

    yield spawned
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def unprivileged(spawn):
    """Run a piece of code as a user whom permissions bind, as root is not, and return what it printed."""

    def drop():
        libc = ctypes.CDLL(None)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            # Where this fails, there was no privilege to drop.
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)

    def run(code, *arguments):
        process = spawn(code, *arguments, preexec_fn=drop)
        out, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        return out

    return run
