"""The registry against MLflow on SQLite: logging, histories, search, start-up.

Both sides do each thing in turn, ours in this process, MLflow in one of its own, from its own environment. Every
point is committed to a file on the same disk when the call that is timed returns, on both sides.
"""

import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pointsman.registry import Base, Registry, RunRecorder

HERE = Path(__file__).resolve().parent
VARIABLE = "POINTSMAN_MLFLOW"
"""The environment variable that names the Python interpreter of MLflow's environment."""
PYTHON = HERE.parents[1] / ".venv-mlflow" / "bin" / "python"
ROUNDS = {
    "log-batch-1000": 15,
    "log-one": 51,
    "history-10000": 15,
    "history-100": 51,
    "search-200": 21,
    "cli-start-mlflow": 5,
}
BASE = Base(fingerprint="0" * 64, name="none", model_type="bert", hidden_size=1, layers=1, parameters=1, size=1)

Act = Callable[[], int]


def run(bench: str, data: str) -> dict[str, Any]:
    """Milliseconds of both, the medians of rounds in turn."""
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if bench == "cli-start-mlflow":
            ours, peer, version = _starts(home, ROUNDS[bench])
        else:
            act = _ACTS[bench](stack.enter_context(Registry(home / "ours")), stack)
            ours, peer, version = _in_turn(bench, act, home, ROUNDS[bench])
    if not peer:
        return {
            "ours": statistics.median(ours) * 1000,
            "peer": None,
            "ratio": None,
            "unit": "ms",
            "note": f"MLflow is not installed: 'make peers' makes its environment, or set {VARIABLE} to the Python "
            "interpreter of one",
        }
    seconds, other = statistics.median(ours), statistics.median(peer)
    return {"ours": seconds * 1000, "peer": other * 1000, "ratio": other / seconds, "unit": "ms", "mlflow": version}


# Ours


def _log_batch(registry: Registry, stack: contextlib.ExitStack) -> Act:
    recorder, first = _recorder(registry, stack), iter(range(0, sys.maxsize, 100))

    def act() -> int:
        start = next(first)
        for step in range(start, start + 100):
            recorder.log({f"train/metric{number}": 1 / (step + 1) for number in range(10)}, step=step)
        recorder.flush()
        return 1000

    return act


def _log_one(registry: Registry, stack: contextlib.ExitStack) -> Act:
    recorder, step = _recorder(registry, stack), iter(range(sys.maxsize))

    def act() -> int:
        recorder.log({"train/loss": 0.5}, step=next(step))
        recorder.flush()
        return 1

    return act


def _history(count: int) -> Callable[[Registry, contextlib.ExitStack], Act]:
    def prepare(registry: Registry, stack: contextlib.ExitStack) -> Act:
        recorder = _recorder(registry, stack)
        for step in range(count):
            recorder.log({"train/loss": 1 / (step + 1)}, step=step)
        recorder.flush()
        ref = f"run:{recorder.uid}"
        return lambda: len(registry.history(ref, "train/loss"))

    return prepare


def _search(registry: Registry, stack: contextlib.ExitStack) -> Act:
    numbers = random.Random(0)
    for number in range(200):
        registry.add_version(
            "bench",
            files={"weights": str(number).encode()},
            task={"name": "none"},
            method="seq_bn",
            config={f"field{i}": str(number % (i + 1)) for i in range(10)},
            base=BASE,
            max_length=8,
            parameters=1,
            metrics={f"eval/metric{i}": numbers.random() for i in range(5)},
            tags={"owner": "ann", "purpose": "bench"},
        )
    query = "eval/metric0 > 0.1 and config.field0 = '0'"
    return lambda: len(registry.versions(query, sort="eval/metric1", limit=200))


_ACTS: dict[str, Callable[[Registry, contextlib.ExitStack], Act]] = {
    "log-batch-1000": _log_batch,
    "log-one": _log_one,
    "history-10000": _history(10_000),
    "history-100": _history(100),
    "search-200": _search,
}


def _recorder(registry: Registry, stack: contextlib.ExitStack) -> RunRecorder:
    return stack.enter_context(
        registry.start_run(
            "bench", task="none", method="seq_bn", base=BASE, settings={}, data={}, environment={}, seed=0
        )
    )


# Both


def _in_turn(bench: str, act: Act, home: Path, rounds: int) -> tuple[list[float], list[float], str | None]:
    """Seconds of ours and of MLflow, after one of each that does not count, and MLflow's version."""
    ours: list[float] = []
    peer: list[float] = []
    with _peer(bench, home) as (version, other):
        for _ in range(rounds + 1):
            began = time.perf_counter()
            found = act()
            ours.append(time.perf_counter() - began)
            if other is not None:
                seconds, others = other()
                if found != others:
                    raise RuntimeError(f"{bench} found {found} with the registry, and {others} with MLflow")
                peer.append(seconds)
    return ours[1:], peer[1:], version


@contextlib.contextmanager
def _peer(bench: str, home: Path) -> Iterator[tuple[str | None, Callable[[], tuple[float, int]] | None]]:
    """MLflow's version, and what does one repetition there and says its seconds and what it found."""
    python = _interpreter()
    if python is None:
        yield None, None
        return
    log = home / "mlflow.log"
    with log.open("wb") as errors:
        # -P: the modules beside the script are ours, and are none of MLflow's business.
        process = subprocess.Popen(
            [python, "-P", HERE / "mlflow_peer.py", bench, home],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=_environment(),
        )
    assert process.stdin is not None
    assert process.stdout is not None
    with process, process.stdin as questions, process.stdout as answers:

        def answer() -> dict[str, Any]:
            line = answers.readline()
            if not line:
                raise RuntimeError(f"MLflow's side of {bench} ended early:\n{log.read_text()[-2000:]}")
            found: dict[str, Any] = json.loads(line)
            return found

        def repeat() -> tuple[float, int]:
            print(file=questions, flush=True)
            found = answer()
            return found["seconds"], found["found"]

        yield answer()["mlflow"], repeat


def _starts(home: Path, rounds: int) -> tuple[list[float], list[float], str | None]:
    """Whole processes: `registry list` over ten versions, and the command of MLflow's that is done first."""
    with Registry(home) as registry:
        for name in "abcdefghij":
            registry.add_version(
                name, files={"a": b"a"}, task={"name": "none"}, method="seq_bn", config={}, base=BASE, max_length=8,
                parameters=1,
            )  # fmt: skip
    program = Path(sys.executable).parent / "registry"
    python = _interpreter()
    ours: list[float] = []
    others: dict[str, list[float]] = {"--version": [], "--help": []}
    version = None
    for _ in range(rounds + 1):
        ours.append(_seconds([program, "--home", home, "list"])[0])
        if python is not None:
            for option, seconds in others.items():
                taken, printed = _seconds([python.with_name("mlflow"), option])
                seconds.append(taken)
                if option == "--version":
                    version = printed.split()[-1]
    return ours[1:], min((seconds[1:] for seconds in others.values()), key=statistics.median), version


def _seconds(command: list[str | Path]) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment())
    return time.perf_counter() - began, done.stdout


def _interpreter() -> Path | None:
    named = os.environ.get(VARIABLE)
    if named and not Path(named).is_file():
        raise RuntimeError(f"{VARIABLE} has to be a Python interpreter; there is no {named}")
    python = Path(named) if named else PYTHON
    return python if python.is_file() else None


def _environment() -> dict[str, str]:
    """What MLflow runs with: without a server's address, and silent."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return kept | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"}
