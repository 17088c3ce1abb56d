import contextlib
import ctypes
import os
import signal
import subprocess
import sys

import pytest

from pointsman.registry import Base, Registry

BASE = Base(
    fingerprint="ab" * 32, name="tiny", model_type="bert", hidden_size=8, layers=2, parameters=1_000, size=4_000
)
FIELDS = {
    "files": {"adapter.safetensors": b"weights", "adapter_config.json": b"{}"},
    "task": {"name": "sst2", "labels": ["negative", "positive"]},
    "method": "seq_bn",
    "config": {"reduction_factor": 16, "non_linearity": "relu"},
    "base": BASE,
    "max_length": 128,
    "parameters": 100,
    "metrics": {"eval/accuracy": 0.5},
    "primary_metric": "eval/accuracy",
}
RUN = {
    "task": "sst2",
    "method": "seq_bn",
    "base": BASE,
    "settings": {"lr": 0.001},
    "data": {"rows": 3},
    "environment": {"python": "3.11"},
    "seed": 42,
}
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def registry(home):
    with Registry(home) as opened:
        yield opened


@pytest.fixture
def base():
    return BASE


@pytest.fixture
def fields():
    """What ``add_version`` takes, for tests that change one of it."""
    return dict(FIELDS)


@pytest.fixture
def add(registry):
    """Add a version of sst2; keywords change what goes in."""

    def added(name="sst2", **changes):
        return registry.add_version(name, **{**FIELDS, **changes})

    return added


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
    """Start a run of sst2; keywords change what goes in."""
    return lambda **changes: start_run(registry, **changes)


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
