"""`make bench`: every figure beside its peer, in one run, one JSON object a line.

    python tests/benchmarks/run.py [BENCH …] [--glue DIR]

Rows come from GLUE's SST-2 in the hub's layout (DIR, or ../shared/glue/hub); without it from the synthetic sample,
which the figure then says. A ratio over 1 is better than the peer. Each bench runs in a process of its own: what one
loads or allocates does not weigh on the next. Only those of the module scale share one, as they share a registry that
takes minutes to make. `make peers` installs MLflow, ONNX Runtime, OpenVINO, latefuse and polylora, the peers of some;
without them their figures have no peer.
"""

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

from figures import GLUE

BENCHES = {
    "train-sst2": "train",
    "train-sst2-full": "train",
    "train-memory": "train",
    "train-many-8": "train_many",
    "predict-sst2": "predict",
    "predict-sst2-bf16": "predict",
    "predict-onnx": "predict",
    "predict-openvino-bf16": "predict",
    "predict-int8": "predict",
    "latency-1": "predict",
    "latency-1-tutorial": "predict",
    "latency-1-bf16": "predict",
    "latency-1-int8": "predict",
    "two-at-once": "at_once",
    "memory-64": "processes",
    "start-1": "processes",
    "switch-64": "switching",
    "load-64": "switching",
    "mixed-32": "switching",
    "mixed-32-tutorial": "switching",
    "mixed-ranks-32": "switching",
    "mixed-lora-peft": "switching",
    "mixed-latefuse": "switching",
    "mixed-polylora": "switching",
    "memory-1000": "switching",
    "drop-8": "dropping",
    "serve-mixed": "serving",
    "serve-infinity": "serving",
    "serve-overhead": "serving",
    "serve-idle-memory": "serving",
    "cli-start": "cli_start",
    "log-batch-1000": "registry_speed",
    "log-one": "registry_speed",
    "history-10000": "registry_speed",
    "history-100": "registry_speed",
    "search-200": "registry_speed",
    "cli-start-mlflow": "registry_speed",
    "scale-list": "scale",
    "scale-history": "scale",
    "scale-add": "scale",
    "verify-throughput": "verify_speed",
}
TOGETHER = ("scale",)
"""Modules whose benches run in one process."""
HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run the benches that are asked for, or all."""
    parser = argparse.ArgumentParser(description="Compare pointsman with its peers.")
    parser.add_argument("bench", nargs="*", help=", ".join(BENCHES))
    parser.add_argument("--glue", type=Path, default=GLUE)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := set(arguments.bench) - BENCHES.keys():
        parser.error(f"unknown bench {', '.join(sorted(unknown))}; known: {', '.join(BENCHES)}")
    data = str(arguments.glue) if arguments.glue.is_dir() else "sample"
    if arguments.here:
        sys.path.insert(0, str(HERE))
        for bench in arguments.bench:
            figure = importlib.import_module(BENCHES[bench]).run(bench, data)
            rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in figure.items()}
            print(json.dumps({"bench": bench, **rounded}), flush=True)
        return 0
    processes: dict[str, list[str]] = {}
    for bench in dict.fromkeys(arguments.bench or BENCHES):
        module = BENCHES[bench]
        processes.setdefault(module if module in TOGETHER else bench, []).append(bench)
    failed = 0
    for benches in processes.values():
        command = [sys.executable, __file__, *benches, "--here", "--glue", str(arguments.glue)]
        failed += subprocess.run(command, check=False).returncode != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
