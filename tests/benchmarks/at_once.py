"""Two trainings at once on the same cores, each with a thread for every core, as torch has it by default.

A thread without work spins for milliseconds before it sleeps (GNU's OpenMP, which torch has on Linux), so the processes
take the cores from each other for nothing. Ours is one thread for each process, as the documentation advises, the peer
the default. The other fields are seconds, too: ``one_after_another`` of both with the default, ``…_alone`` of one.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROUNDS = 3
SETTINGS = {"default": {}, "one_thread": {"OMP_NUM_THREADS": "1"}}
"""The environment of both processes."""
HERE = Path(__file__).resolve().parent


class Worker:
    """A process that trains once more whenever it is asked."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, HERE / "at_once_worker.py", home],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._asked, self._answers = self._process.stdin, self._process.stdout

    def ask(self) -> None:
        """Begin."""
        print("go", file=self._asked, flush=True)

    def wait(self) -> None:
        """Until it is done."""
        if not self._answers.readline():
            raise RuntimeError(f"the worker ended with {self._process.wait()}")

    def close(self) -> None:
        """End."""
        self._asked.close()
        self._process.wait()


def run(bench: str, data: str) -> dict[str, Any]:
    """Seconds, the medians of rounds in turn."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MKL_"))}
    with tempfile.TemporaryDirectory() as home:
        homes = [Path(home, name) for name in "ab"]
        workers = {name: [Worker(one, {**kept, **set_}) for one in homes] for name, set_ in SETTINGS.items()}
        for worker in (worker for pair in workers.values() for worker in pair):
            worker.wait()  # all import what they need at once
        for worker in (worker for pair in workers.values() for worker in pair):
            seconds([worker])
        alone: dict[str, list[float]] = {name: [] for name in workers}
        both: dict[str, list[float]] = {name: [] for name in workers}
        for _ in range(ROUNDS):
            for name, pair in workers.items():
                alone[name].append(seconds(pair[:1]))
                both[name].append(seconds(pair))
        for pair in workers.values():
            for worker in pair:
                worker.close()
    ours, peer = median(both["one_thread"]), median(both["default"])
    single = {f"{name}_alone": median(times) for name, times in alone.items()}
    return {
        "ours": ours,
        "peer": peer,
        "ratio": peer / ours,
        "unit": "s",
        "one_after_another": 2 * single["default_alone"],
        **single,
    }


def seconds(workers: list[Worker]) -> float:
    """From the start of the work until the last one is done."""
    began = time.perf_counter()
    for worker in workers:
        worker.ask()
    for worker in workers:
        worker.wait()
    return time.perf_counter() - began
