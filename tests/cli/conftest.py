"""Runs the program, in this process or as the installed script, on homes with adapters: trained once, or made up."""

import ctypes
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pointsman.cli.main import main
from pointsman.registry import Base, Registry, Version

TINY = Base(
    fingerprint="ab" * 32,
    former_fingerprint="ba" * 32,
    name="tiny",
    model_type="bert",
    hidden_size=8,
    layers=2,
    parameters=1_000,
    size=4_000,
    tokenizer="fe" * 32,
)
OTHER = Base(
    fingerprint="cd" * 32,
    former_fingerprint="dc" * 32,
    name="other",
    model_type="bert",
    hidden_size=8,
    layers=2,
    parameters=2_000,
    size=8_000,
    tokenizer="ef" * 32,
)
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


@dataclass(frozen=True)
class Outcome:
    """What a call of the program came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def refused(self, *said: str, code: int = 1) -> str:
        """Check that it was refused as users should see it, and return the message."""
        assert self.code == code, self.err
        assert sum(line.lower().startswith("error:") for line in self.err.splitlines()) == 1
        assert "Traceback" not in self.err + self.out
        assert all(text in self.err for text in said), self.err
        return self.err


Run = Callable[..., Outcome]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, which the program finds by the environment."""
    path = tmp_path / "home"
    monkeypatch.setenv("POINTSMAN_HOME", str(path))
    return path


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run the program in this process; a home of its own unless one is given."""
    monkeypatch.setenv("COLUMNS", "80")

    def called(*arguments: object, home: Path | None = None, stdin: str | bytes = "") -> Outcome:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        chosen = [] if home is None else ["--home", home]
        monkeypatch.setattr("sys.argv", ["registry", *map(str, [*chosen, *arguments])])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Outcome(ended.value.code, out, err)

    before = signal.getsignal(signal.SIGTERM)
    yield called
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the installed script, with pipes; whatever still runs at the end is killed."""
    processes = []

    def started(*arguments: object, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [script(), *map(str, arguments)],
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
            text=True,
        )
        processes.append(process)
        return process

    yield started
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def execute(start: Callable[..., subprocess.Popen[str]]) -> Run:
    """Run the installed script to its end."""

    def executed(*arguments: object, **options: Any) -> Outcome:
        process = start(*arguments, **options)
        out, err = process.communicate(timeout=120)
        return Outcome(process.returncode, out, err)

    return executed


@pytest.fixture
def on_a_terminal() -> Callable[..., str]:
    """What the installed script writes to a terminal that knows colours; keywords go into its environment."""

    def written(*arguments: object, **environment: str) -> str:
        leader, follower = pty.openpty()
        plain = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
        process = subprocess.Popen(
            [script(), *map(str, arguments)],
            stdout=follower,
            stderr=follower,
            stdin=subprocess.DEVNULL,
            env={**plain, "TERM": "xterm-256color", **environment},
        )
        os.close(follower)
        text = b""
        try:
            while piece := os.read(leader, 65_536):
                text += piece
        except OSError:  # the end of a terminal, on Linux
            pass
        os.close(leader)
        assert process.wait() == 0
        return text.decode()

    return written


@pytest.fixture
def bound_by_permissions() -> Callable[[], None]:
    """Called in a new process, makes permissions bind it, which they do not bind root."""
    libc = ctypes.CDLL(None)

    def drop() -> None:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            # Where this fails, there was no privilege to drop.
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)

    return drop


@pytest.fixture(scope="session")
def trained(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with sst2@1, sst2@2 (compacter), mrpc@1 and stsb@1. For reading only: see ``own``."""
    from pointsman.sdk import train

    path = tmp_path_factory.mktemp("trained") / "home"
    settings: dict[str, Any] = {
        "data": "sample",
        "max_train_rows": 64,
        "batch_size": 32,
        "max_eval_rows": 32,
        "max_length": 32,
        "epochs": 1,
    }
    with Registry(path) as registry:
        for task, method in (("sst2", "seq_bn"), ("sst2", "compacter"), ("mrpc", "seq_bn"), ("stsb", "seq_bn")):
            train(task, base=str(tiny_base), method=method, registry=registry, **settings)
    return path


@pytest.fixture
def own(trained: Path, home: Path) -> Path:
    """A copy of the trained home, to change."""
    shutil.copytree(trained, home)
    return home


def recorded(registry: Registry, adapter: str = "sst2", *, accuracy: float = 0.5, seed: int = 1, **changes: Any) -> str:
    """Record a run of 50 points a metric; returns its uid. Keywords change what goes in."""
    fields: dict[str, Any] = {
        "task": "sst2",
        "method": "seq_bn",
        "base": TINY,
        "settings": {"lr": 0.001},
        "data": {"source": "sample", "fingerprint": "ef" * 32, "rows": {"train": 64}},
        "environment": {"python": "3.11"},
        "seed": seed,
    }
    with registry.start_run(adapter, **fields | changes) as recorder:
        for step in range(1, 51):
            loss, score = 2 / (step + seed), accuracy - 0.1 / step
            recorder.log({"train/loss": loss, "eval/accuracy": score}, step=step, epoch=step / 10)
    return recorder.uid


def versioned(registry: Registry, name: str = "sst2", **changes: Any) -> Version:
    """Add a version that no model was trained for; keywords change what goes in."""
    fields: dict[str, Any] = {
        "files": {"adapter.safetensors": f"weights of {name}".encode(), "adapter_config.json": b"{}"},
        "task": {"name": "sst2", "description": "is it good", "text": ["text"], "labels": ["bad", "good"]},
        "method": "seq_bn",
        "config": {"reduction_factor": 16, "non_linearity": "relu"},
        "base": TINY,
        "max_length": 128,
        "parameters": 100,
    }
    return registry.add_version(name, **fields | changes)


def scored(value: float, metric: str = "eval/accuracy") -> dict[str, Any]:
    """The keywords of a version with this score."""
    return {"metrics": {metric: value}, "primary_metric": metric}


@pytest.fixture
def add_version() -> Callable[..., Version]:
    """Add a version to a registry; keywords change what goes in."""
    return versioned


@pytest.fixture
def add_run() -> Callable[..., str]:
    """Record a run in a registry; keywords change what goes in."""
    return recorded


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with five versions that no model was trained for. For reading only: see ``mine``.

    sst2@1, 2 (lora, of 1, production) and 3 (the average of both, of no run, staging); cola@1 on another base; mix@1 of
    sst2@3 and cola@1, without a score.
    """
    path = tmp_path_factory.mktemp("ready") / "home"
    with Registry(path) as registry:
        versioned(
            registry, files={"adapter.safetensors": b"one"}, run=recorded(registry, accuracy=0.7, seed=1), **scored(0.7)
        )
        versioned(
            registry,
            files={"adapter.safetensors": b"two, longer"},
            method="lora",
            config={"r": 8, "dropout": 0.0, "bias": False},
            parameters=1_600,
            run=recorded(registry, accuracy=0.9, seed=2, method="lora", settings={"lr": 0.00002}),
            parents=[("init", "sst2@1")],
            tags={"owner": "ann", "stage": "canary"},
            **scored(0.9),
        )
        versioned(
            registry,
            files={"adapter.safetensors": b"three", "adapter_config.json": b"{}"},
            config={"reduction_factor": 4, "non_linearity": "relu"},
            parents=[("average", "sst2@1"), ("average", "sst2@2")],
            note="the average",
            **scored(0.8),
        )
        versioned(
            registry,
            "cola",
            task={"name": "cola", "description": "is it English", "text": ["sentence"], "labels": ["no", "yes"]},
            base=OTHER,
            run=recorded(registry, "cola", task="cola", base=OTHER, seed=3),
            **scored(0.5, "eval/matthews_correlation"),
        )
        versioned(registry, "mix", method="fusion", parents=[("part", "sst2@3"), ("part", "cola@1")])
        registry.set_alias("sst2@2", "production")
        registry.set_alias("sst2@3", "staging")
    return path


@pytest.fixture
def mine(ready: Path, home: Path) -> Path:
    """A copy of the made-up home, to change, which the program finds by the environment."""
    shutil.copytree(ready, home)
    return home


def script(name: str = "registry") -> str:
    return str(Path(sys.executable).parent / name)


def left_behind(home: Path) -> list[str]:
    """What a refused call must not leave in a home: versions, objects, half-written files."""
    if not home.exists():
        return []
    with Registry(home) as registry:
        found = [version.ref for version in registry.versions()]
    files = [path for path in home.rglob("*") if path.is_file()]
    return found + [str(path) for path in files if "objects" in path.parts or path.name.endswith(".tmp")]


@pytest.fixture
def nothing_left(home: Path) -> Callable[[], None]:
    """Checks that the home holds no version and nothing half-written."""

    def check() -> None:
        assert left_behind(home) == []

    return check
