"""The peer of the registry's benches: the same things done by MLflow on SQLite. Runs inside MLflow's own environment.

    PYTHON mlflow_peer.py BENCH DIRECTORY

A line on standard input asks for one repetition, a line on standard output answers: the seconds that it took, and how
much it found. The first answer, before any repetition, is MLflow's version. Only MLflow and the standard library are
imported here.
"""

import json
import logging
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

logging.disable(logging.WARNING)

import mlflow  # noqa: E402
from mlflow.entities import Metric, Param, RunTag  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

Act = Callable[[], int]


def main() -> None:
    """Prepare the bench, and repeat it as often as asked."""
    # Whatever a library prints goes elsewhere: standard output is for the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    bench, directory = sys.argv[1:]
    client = MlflowClient(tracking_uri=f"sqlite:///{Path(directory, 'mlflow.db')}")
    experiment = client.create_experiment("bench", artifact_location=str(Path(directory, "artifacts")))
    act = _ACTS[bench](client, experiment)
    print(json.dumps({"mlflow": mlflow.__version__}), file=answers)
    for _ in sys.stdin:
        began = time.perf_counter()
        found = act()
        print(json.dumps({"seconds": time.perf_counter() - began, "found": found}), file=answers)


def _log_batch(client: MlflowClient, experiment: str) -> Act:
    """1,000 points of ten metrics in one call, to a run that has those of the repetitions before."""
    run, batches = client.create_run(experiment).info.run_id, _batches()

    def act() -> int:
        batch = next(batches)
        client.log_batch(run, metrics=batch)
        return len(batch)

    return act


def _log_one(client: MlflowClient, experiment: str) -> Act:
    """One point."""
    run, step = client.create_run(experiment).info.run_id, iter(range(sys.maxsize))

    def act() -> int:
        client.log_metric(run, "train/loss", 0.5, step=next(step))
        return 1

    return act


def _history(count: int) -> Callable[[MlflowClient, str], Act]:
    """All points of one metric."""

    def prepare(client: MlflowClient, experiment: str) -> Act:
        run, now = client.create_run(experiment).info.run_id, int(time.time() * 1000)
        points = [Metric("train/loss", 1 / (step + 1), now + step, step) for step in range(count)]
        for start in range(0, count, 1000):
            client.log_batch(run, metrics=points[start : start + 1000])
        return lambda: len(client.get_metric_history(run, "train/loss"))

    return prepare


def _search(client: MlflowClient, experiment: str) -> Act:
    """The best of 200 runs, each with five metrics, ten parameters and two tags."""
    numbers = random.Random(0)
    for number in range(200):
        run = client.create_run(experiment).info.run_id
        client.log_batch(
            run,
            metrics=[Metric(f"eval/metric{i}", numbers.random(), 0, 0) for i in range(5)],
            params=[Param(f"field{i}", str(number % (i + 1))) for i in range(10)],
            tags=[RunTag("owner", "ann"), RunTag("purpose", "bench")],
        )

    def act() -> int:
        return len(
            client.search_runs(
                [experiment],
                filter_string="metrics.`eval/metric0` > 0.1 and params.field0 = '0'",
                order_by=["metrics.`eval/metric1` DESC"],
                max_results=200,
            )
        )

    return act


def _batches() -> Iterator[list[Any]]:
    for start in range(0, sys.maxsize, 100):
        now = int(time.time() * 1000)
        yield [
            Metric(f"train/metric{number}", 1 / (step + 1), now, step)
            for step in range(start, start + 100)
            for number in range(10)
        ]


_ACTS: dict[str, Callable[[MlflowClient, str], Act]] = {
    "log-batch-1000": _log_batch,
    "log-one": _log_one,
    "history-10000": _history(10_000),
    "history-100": _history(100),
    "search-200": _search,
}

if __name__ == "__main__":
    main()
