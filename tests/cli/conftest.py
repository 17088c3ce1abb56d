"""Runs the program, in this process or as the installed script, on homes with adapters trained once."""

import ctypes
import io
import json
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
from pointsman.registry import Registry

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
        assert "error:" in self.err.lower()
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


def script(name: str = "registry") -> str:
    return str(Path(sys.executable).parent / name)


def left_behind(home: Path) -> list[str]:
    """What a refused call must not leave in a home: versions, objects, half-written files."""
    if not home.exists():
        return []
    with Registry(home) as registry:
        found = [version.ref for version in registry.versions()]
    files = [path for path in home.rglob("*") if path.is_file()]
    return found + [str(path) for path in files if "objects" in path.parts or path.name.endswith((".tmp", "-journal"))]


@pytest.fixture
def nothing_left(home: Path) -> Callable[[], None]:
    """Checks that the home holds no version and nothing half-written."""

    def check() -> None:
        assert left_behind(home) == []

    return check
