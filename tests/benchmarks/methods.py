"""Every method beside the others: parameters, size, scores, speed of training.

    python tests/benchmarks/methods.py [--method M …] [--out FILE] [--glue DIR]

MiniLM; 10,000 rows of SST-2 for one epoch, and all of MRPC for three, every other setting its default. Each training
appends a line to FILE, and those that are there are not made again. At the end the table of README is printed.
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
HERE = Path(__file__).resolve().parent


def main() -> None:
    """Make what is not there, and print the table."""
    parser = argparse.ArgumentParser(description="Compare adapter methods.")
    parser.add_argument("--method", action="append", choices=tuple(METHODS))
    parser.add_argument("--glue", default=str(HERE.parents[2] / "shared" / "glue" / "hub"))
    parser.add_argument("--out", type=Path, default=HERE / "figures" / "methods.jsonl")
    asked = parser.parse_args()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    lines = asked.out.read_text(encoding="utf-8").splitlines() if asked.out.exists() else []
    found = {(line["method"], line["task"]): line for line in map(json.loads, lines)}
    for method in asked.method or METHODS:
        for task, options in RUNS.items():
            if (method, task) not in found:
                found[method, task] = line = _train(method, task, asked.glue, options)
                with asked.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                print(json.dumps(line), flush=True)
    print("| method | parameters | size | SST-2 | MRPC, F1 | rows a second |\n|---|---|---|---|---|---|")
    for method in METHODS:
        if all((method, task) in found for task in RUNS):
            sst2, mrpc = (found[method, task] for task in RUNS)
            print(
                f"| `{method}` | {sst2['parameters']:,} | {sst2['size'] / 1e6:.1f} MB | {sst2['score']:.3f} "
                f"| {mrpc['score']:.3f}, {mrpc['f1']:.3f} | {sst2['speed']:.0f} |"
            )


def _train(method: str, task: str, data: str, options: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home, Registry(home) as registry:
        version = train(task, base="minilm", method=method, data=data, registry=registry, **options)
        points = registry.history(task, "train/samples_per_second")
    return {
        "method": method,
        "task": task,
        "parameters": version.parameters,
        "size": version.size,
        "score": version.score,
        "f1": version.metrics.get("eval/f1"),
        "speed": len(points) / sum(1 / point.value for point in points),
    }


if __name__ == "__main__":
    main()
