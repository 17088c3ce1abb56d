"""Eight trainings together against the same eight one after another: the time of everything, each side in a process.

Each is one epoch of 2,000 rows of SST-2 with a seed of its own, its evaluation of all validation rows included. Where
the sides differ in more than rounding, the figure has no use, so their scores are compared.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from pointsman.registry import Registry
from pointsman.sdk import train, train_many

ADAPTERS = 8
ROWS = 2000


def run(bench: str, data: str) -> dict[str, Any]:
    """The figure of the bench."""
    (ours, scores), (peer, peer_scores) = (_apart(side, data) for side in (_together, _one_after_another))
    return {
        "ours": ours,
        "peer": peer,
        "ratio": peer / ours,
        "unit": "s",
        "adapters": ADAPTERS,
        "rows": ROWS,
        "largest_difference_of_accuracy": max(abs(one - other) for one, other in zip(scores, peer_scores, strict=True)),
        "data": "sst2" if data != "sample" else "sample",
    }


def _apart(side: Callable[[str, Registry], list[Any]], data: str) -> tuple[float, list[float]]:
    """The seconds that a side takes in a new process, after one short training, and its scores."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_timed, side, data).result()


def _timed(side: Callable[[str, Registry], list[Any]], data: str) -> tuple[float, list[float]]:
    with tempfile.TemporaryDirectory() as home, Registry(home) as registry:
        # What a first training of a process sets up is there for both sides.
        train("sst2", base="minilm", data=data, registry=registry, name="first", max_steps=1, max_train_rows=ROWS)
        began = time.monotonic()
        versions = side(data, registry)
        return time.monotonic() - began, [version.metrics["eval/accuracy"] for version in versions]


def _together(data: str, registry: Registry) -> list[Any]:
    trainings = [{"seed": seed} for seed in range(ADAPTERS)]
    return train_many(trainings, registry=registry, task="sst2", base="minilm", data=data, **_OPTIONS)


def _one_after_another(data: str, registry: Registry) -> list[Any]:
    return [
        train("sst2", base="minilm", data=data, registry=registry, seed=seed, **_OPTIONS) for seed in range(ADAPTERS)
    ]


_OPTIONS: dict[str, Any] = {"epochs": 1, "max_train_rows": ROWS}
