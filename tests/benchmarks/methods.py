"""Every method beside the others: parameters, size, scores, speed of training; and which learning rate suits it.

    python tests/benchmarks/methods.py [--what scores|speed|rates] [--method M …] [--figures DIR] [--glue DIR]

MiniLM, every setting its default but for these: ``scores`` are of 10,000 rows of SST-2 for one epoch and of all of MRPC
for three; ``speed`` is of 100 batches of SST-2, on a machine that does nothing else; ``rates`` are 3,000 rows of SST-2
for one epoch at each of four learning rates. Each training appends a line to a file of DIR, and those that are there
are not made again. At the end a table is printed; README's is that of scores and speed.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from figures import DIRECTORY, GLUE, append, read
from train import speed_of

from pointsman.registry import Registry
from pointsman.sdk import train
from pointsman.sdk.methods import METHODS

SCORES: dict[str, dict[str, Any]] = {"sst2": {"epochs": 1, "max_train_rows": 10_000}, "mrpc": {"epochs": 3}}
SPEED: dict[str, Any] = {"max_steps": 100, "max_train_rows": 3_000, "max_eval_rows": 64}
RATES = (5e-4, 1e-3, 3e-3, 1e-2)
RATE_RUN: dict[str, Any] = {"epochs": 1, "max_train_rows": 3_000}


def main() -> None:
    """Make what is not there, and print the table."""
    parser = argparse.ArgumentParser(description="Compare adapter methods.")
    parser.add_argument("--what", choices=("scores", "speed", "rates"), default="scores")
    parser.add_argument("--method", action="append", choices=tuple(METHODS))
    parser.add_argument("--glue", default=str(GLUE))
    parser.add_argument("--figures", type=Path, default=DIRECTORY)
    asked = parser.parse_args()
    found = {what: read(asked.figures / f"{what}.jsonl") for what in ("scores", "speed", "rates")}
    cells = {"scores": _scores, "speed": _speeds, "rates": _rates}[asked.what](asked.method or list(METHODS))
    for cell, options in cells:
        if not _of(found[asked.what], **cell):
            scores, speed = _train(asked.glue, **cell, **options)
            line = {**cell, **({"speed": speed} if asked.what == "speed" else scores)}
            found[asked.what].append(line)
            append(asked.figures / f"{asked.what}.jsonl", line)
    if asked.what == "rates":
        _print_rates(found["rates"])
    else:
        _print_table(found["scores"], found["speed"])


Cells = list[tuple[dict[str, Any], dict[str, Any]]]
"""What names a training, and how it is done."""


def _scores(methods: list[str]) -> Cells:
    return [({"method": method, "task": task}, options) for method in methods for task, options in SCORES.items()]


def _speeds(methods: list[str]) -> Cells:
    return [({"method": method, "task": "sst2"}, SPEED) for method in methods]


def _rates(methods: list[str]) -> Cells:
    return [
        ({"method": method, "task": "sst2", "learning_rate": rate}, RATE_RUN) for method in methods for rate in RATES
    ]


def _of(found: list[dict[str, Any]], **cell: Any) -> list[dict[str, Any]]:
    return [line for line in found if cell.items() <= line.items()]


def _print_table(scores: list[dict[str, Any]], speeds: list[dict[str, Any]]) -> None:
    print("| method | parameters | size | SST-2 | MRPC, F1 | rows a second |\n|---|---|---|---|---|---|")
    for method in METHODS:
        lines = [line for task in SCORES for line in _of(scores, method=method, task=task)]
        if len(lines) == len(SCORES):
            sst2, mrpc = lines
            speed = "".join(f"{line['speed']:.0f}" for line in _of(speeds, method=method))
            print(
                f"| `{method}` | {sst2['parameters']:,} | {sst2['size'] / 1e6:.1f} MB | {sst2['score']:.3f} "
                f"| {mrpc['score']:.3f}, {mrpc['f1']:.3f} | {speed} |"
            )


def _print_rates(found: list[dict[str, Any]]) -> None:
    print("| method | " + " | ".join(f"{rate:g}" for rate in RATES) + " |\n|" + "---|" * (1 + len(RATES)))
    for method in METHODS:
        scores = [[line["score"] for line in _of(found, method=method, learning_rate=rate)] for rate in RATES]
        print(f"| `{method}` | " + " | ".join(f"{score:.3f}" for of_rate in scores for score in of_rate) + " |")


def _train(data: str, *, method: str, task: str, **options: Any) -> tuple[dict[str, Any], float]:
    """What a training came to, and the rows a second of its steps."""
    with tempfile.TemporaryDirectory() as home, Registry(home) as registry:
        version = train(task, base="minilm", method=method, data=data, registry=registry, **options)
        speed = speed_of(registry, task)
    scores = {
        "parameters": version.parameters,
        "size": version.size,
        "score": version.score,
        "f1": version.metrics.get("eval/f1"),
    }
    return scores, speed


if __name__ == "__main__":
    main()
