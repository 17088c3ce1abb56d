"""Whole processes: a Switcher beside ONNX Runtime with a single model, from the start until the first answer.

``start-1`` is the seconds until a process with one adapter has answered one sentence; ``memory-64`` is the resident
memory of a process with 64 adapters then, beside one with a single session. Processes take turns, on two threads.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import runtimes
from switching import registered

from pointsman.sdk.bases.find import find_base

ADAPTERS = 64
SESSIONS = 8
"""More sessions of ONNX Runtime in one process, which show what each further model takes."""
THREADS = 2
ROUNDS = 5
SENTENCE = "a gripping film, and quite a warm one"
HERE = Path(__file__).resolve().parent


def run(bench: str, data: str) -> dict[str, Any]:
    """Seconds or megabytes of both, the medians of rounds in turn, after one that does not count."""
    is_start = bench == "start-1"
    key, adapters, unit = ("seconds", 1, "s") if is_start else ("resident", ADAPTERS, "MB")
    python = runtimes.interpreter() if runtimes.make_importable() else None
    with registered(adapters) as registry:
        ours = [sys.executable, HERE / "first_answer.py", registry.home, adapters, THREADS, SENTENCE]
        peer = None
        if python is not None:
            graph = runtimes.export(registry.export("a0", registry.home / "exported"), registry.home / "model.onnx")
            peer = [graph, find_base("minilm").files.directory / "tokenizer.json"]
            # -P: the modules beside the script are ours, and are none of the peer's business.
            peer = [python, "-P", HERE / "first_answer_onnx.py", *peer]
        found = []
        for _ in range(ROUNDS + 1):
            found.append((answer(ours), None if peer is None else answer([*peer, 1, THREADS, SENTENCE])))
            labels = {side["label"] for side in found[-1] if side is not None}
            if len(labels) > 1:
                raise RuntimeError(f"the two sides answered {' and '.join(sorted(labels))}")
        more = None if peer is None or is_start else answer([*peer, SESSIONS, THREADS, SENTENCE])
    scale = 1.0 if is_start else 1e6
    own = median(first[key] for first, _ in found[1:]) / scale
    if peer is None:
        return {"ours": own, **runtimes.MISSING, "unit": unit}
    other = median(second[key] for _, second in found[1:]) / scale
    figure = {"ours": own, "peer": other, "ratio": other / own, "unit": unit}
    return figure if more is None else {**figure, f"peer_of_{SESSIONS}": more[key] / scale}


def answer(command: list[Any]) -> dict[str, Any]:
    """What a process prints when it has answered, and the seconds from its start until then."""
    began = time.perf_counter()
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - began
        process.stdout.read()
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return {**json.loads(line), "seconds": seconds}
