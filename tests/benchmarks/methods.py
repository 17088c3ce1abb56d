"""Every method beside the others: parameters, size, scores, speed of training; and which learning rate suits it.

    python tests/benchmarks/methods.py [--rates] [--method M …] [--figures DIR] [--glue DIR]

MiniLM; 10,000 rows of SST-2 for one epoch, and all of MRPC for three, every other setting its default, as
``--rates`` found them: 3,000 rows of SST-2 for one epoch at each of four learning rates. Each training appends a line
to a file of DIR, and those that are there are not made again. At the end a table is printed; that of README is the one
without ``--rates``.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from pointsman.registry import Registry
from pointsman.sdk import train
from pointsman.sdk.methods import METHODS

RUNS: dict[str, dict[str, Any]] = {"sst2": {"epochs": 1, "max_train_rows": 10_000}, "mrpc": {"epochs": 3}}
RATES = (5e-4, 1e-3, 3e-3, 1e-2)
RATE_RUN: dict[str, Any] = {"epochs": 1, "max_train_rows": 3_000}
HERE = Path(__file__).resolve().parent


def main() -> None:
    """Make what is not there, and print the table."""
    parser = argparse.ArgumentParser(description="Compare adapter methods.")
    parser.add_argument("--method", action="append", choices=tuple(METHODS))
    parser.add_argument("--rates", action="store_true", help="Compare learning rates of each method instead.")
    parser.add_argument("--glue", default=str(HERE.parents[2] / "shared" / "glue" / "hub"))
    parser.add_argument("--figures", type=Path, default=HERE / "figures")
    asked = parser.parse_args()
    asked.figures.mkdir(parents=True, exist_ok=True)
    file = asked.figures / ("rates.jsonl" if asked.rates else "methods.jsonl")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    found = [json.loads(line) for line in lines]
    for cell in _rates(asked.method) if asked.rates else _scores(asked.method):
        if not _of(found, **cell):
            options = RATE_RUN if asked.rates else RUNS[cell["task"]]
            found.append(line := {**cell, **_train(asked.glue, **cell, **options)})
            with file.open("a", encoding="utf-8") as opened:
                opened.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
    (_print_rates if asked.rates else _print_scores)(found)


def _scores(methods: list[str] | None) -> list[dict[str, Any]]:
    return [{"method": method, "task": task} for method in methods or METHODS for task in RUNS]


def _rates(methods: list[str] | None) -> list[dict[str, Any]]:
    cells = [(method, rate) for method in methods or METHODS for rate in RATES]
    return [{"method": method, "task": "sst2", "learning_rate": rate} for method, rate in cells]


def _of(found: list[dict[str, Any]], **cell: Any) -> list[dict[str, Any]]:
    return [line for line in found if cell.items() <= line.items()]


def _print_scores(found: list[dict[str, Any]]) -> None:
    print("| method | parameters | size | SST-2 | MRPC, F1 | rows a second |\n|---|---|---|---|---|---|")
    for method in METHODS:
        lines = [line for task in RUNS for line in _of(found, method=method, task=task)]
        if len(lines) == len(RUNS):
            sst2, mrpc = lines
            print(
                f"| `{method}` | {sst2['parameters']:,} | {sst2['size'] / 1e6:.1f} MB | {sst2['score']:.3f} "
                f"| {mrpc['score']:.3f}, {mrpc['f1']:.3f} | {sst2['speed']:.0f} |"
            )


def _print_rates(found: list[dict[str, Any]]) -> None:
    print("| method | " + " | ".join(f"{rate:g}" for rate in RATES) + " |\n|" + "---|" * (1 + len(RATES)))
    for method in METHODS:
        scores = [[line["score"] for line in _of(found, method=method, learning_rate=rate)] for rate in RATES]
        print(f"| `{method}` | " + " | ".join(f"{score:.3f}" for of_rate in scores for score in of_rate) + " |")


def _train(data: str, *, method: str, task: str, **options: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home, Registry(home) as registry:
        version = train(task, base="minilm", method=method, data=data, registry=registry, **options)
        points = registry.history(task, "train/samples_per_second")
    return {
        "parameters": version.parameters,
        "size": version.size,
        "score": version.score,
        "f1": version.metrics.get("eval/f1"),
        "speed": len(points) / sum(1 / point.value for point in points),
    }


if __name__ == "__main__":
    main()
