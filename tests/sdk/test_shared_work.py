"""Several processes work on one study, or one benchmark: nothing is trained twice, and nothing is left out."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry, RunStatus
from pointsman.sdk.benchmark.cells import glue_results

WORKER = """
import sys
import torch
from pointsman.registry import Registry
from pointsman.sdk import glue, tune
from test_shared_work import CELLS, FEW, SPACE, TRIALS

torch.set_num_threads(1)
waiting = [True]

def report(progress):
    if waiting:
        waiting.pop()
        print(progress.run, flush=True)
        sys.stdin.readline()  # until the other process is in the middle of a training, too

registry = Registry(sys.argv[2])
if sys.argv[3] == "tune":
    study = {"trials": TRIALS, "space": SPACE, "eval_every": 1}
    result = tune("sst2", base=sys.argv[1], registry=registry, report=report, **study, **FEW)
    print(*(trial.run for trial in result.trials), flush=True)
else:
    results = glue(base=sys.argv[1], registry=registry, report=report, **CELLS, **FEW)
    print(*(cell.run for cell in results.cells), flush=True)
"""

FEW: dict[str, Any] = {
    "data": "sample",
    "max_steps": 2,
    "max_train_rows": 16,
    "max_eval_rows": 8,
    "max_length": 16,
    "batch_size": 8,
}
SPACE = {"learning_rate": "1e-4..1e-2:log"}
TRIALS = 6
CELLS: dict[str, Any] = {"tasks": ["mrpc", "rte"], "seeds": [0, 1]}


@pytest.mark.slow
@pytest.mark.parametrize(("work", "count"), [("tune", TRIALS), ("glue", 4)])
def test_two_processes_share_the_work(work: str, count: int, registry: Registry, tiny_base: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, tiny_base, registry.home, work],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        for _ in range(2)
    ]
    first = []
    for worker in workers:
        assert worker.stdout is not None
        first.append(worker.stdout.readline().strip())
    # Both are in the middle of a training, and not of the same one.
    assert len(set(first)) == 2
    assert {registry.run(uid).status for uid in first} == {RunStatus.RUNNING}
    seen = set()
    for worker in workers:
        out, _ = worker.communicate("go\n")
        assert worker.returncode == 0
        seen |= set(out.split())
    runs = registry.runs()
    assert Counter(run.origin.item for run in runs if run.origin is not None) == Counter(
        [str(number) for number in range(count)]
        if work == "tune"
        else [f"{task}/seq_bn/{seed}" for task in CELLS["tasks"] for seed in CELLS["seeds"]]
    )
    assert {run.status for run in runs} <= {RunStatus.FINISHED, RunStatus.PRUNED}
    assert seen == {run.uid for run in runs}
    if work == "glue":
        assert glue_results(registry=registry).missing == ()
