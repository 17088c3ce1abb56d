"""``registry serve`` under load, against plain adapters in the same kind of server. All on loopback, on two threads.

``serve-mixed``: 64 callers that each ask for one sentence of one of 32 adapters in turn, requests a second; ``p99`` and
``p99_of_peer`` in milliseconds. The peer (``serving_peer.py``) calls ``set_active_adapters`` under a lock. Servers and
the load are processes of their own; servers take turns. ``serve-infinity``: the same load against infinity-emb, whose
server has ONE model with all weights in it and no adapter. ``serve-overhead``: one sentence at a time over HTTP, ours,
and in one process, the peer, in milliseconds (the best decile of 300); ``added`` is the difference.
``serve-idle-memory``: megabytes of a server that has loaded the base, and of a process that has loaded it.
"""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import torch
from switching import TASKS, registered
from transformers import AutoTokenizer, BertForSequenceClassification
from words import texts

from pointsman.registry import Registry
from pointsman.sdk import Switcher
from pointsman.sdk.bases.find import find_base

HERE = Path(__file__).resolve().parent
INFINITY = HERE.parents[1] / ".venv-infinity" / "bin" / "infinity_emb"
"""``make peers`` installs it; the environment variable POINTSMAN_INFINITY names another."""
CALLERS = 64
REQUESTS = 600
"""In each round."""
ROUNDS = 3
CALLS = 300
BASE_ALONE = """
from pointsman.sdk.bases.load import load_base

base = load_base("minilm")
print("on http://nowhere;", flush=True)
input()
"""


def run(bench: str, data: str) -> dict[str, Any]:
    """The figure of one bench."""
    benches = {
        "serve-mixed": mixed,
        "serve-infinity": infinity,
        "serve-overhead": overhead,
        "serve-idle-memory": idle_memory,
    }
    return benches[bench]()


def mixed() -> dict[str, Any]:
    """Requests a second, the medians of rounds in turn."""
    with registered(TASKS) as registry, ExitStack() as stack:
        for number in range(TASKS):
            registry.export(f"a{number}", registry.home / "exported" / f"a{number}")
        peer = started([sys.executable, HERE / "serving_peer.py", registry.home / "exported"])
        return in_turn(stack.enter_context(serving(registry))[0], stack.enter_context(peer)[0], "/v1/classify")


def infinity() -> dict[str, Any]:
    """The same; infinity-emb has one model and its callers name it."""
    program = Path(os.environ.get("POINTSMAN_INFINITY", INFINITY))
    if not program.exists():
        raise RuntimeError("infinity-emb is not installed: make peers")
    with registered(TASKS) as registry, ExitStack() as stack:
        whole = registry.home / "whole"
        base, labels = str(find_base("minilm").files.directory), ["negative", "positive"]
        BertForSequenceClassification.from_pretrained(
            base, num_labels=2, id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)}
        ).save_pretrained(whole)
        AutoTokenizer.from_pretrained(base).save_pretrained(whole)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = ["--model-id", whole, "--served-model-name", "whole", "--device", "cpu", "--engine", "torch"]
        options += ["--dtype", "float32", "--batch-size", CALLERS, "--no-bettertransformer", "--no-model-warmup"]
        peer = started(
            [program, "v2", *options, "--host", "127.0.0.1", "--port", port],
            pattern=r"running on (http://\S+)",
            env={**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"},
        )
        return in_turn(stack.enter_context(serving(registry))[0], stack.enter_context(peer)[0], "/classify")


def in_turn(ours: str, peer: str, peer_path: str) -> dict[str, Any]:
    """The medians of rounds of load on two servers in turn, after one that warms up."""
    servers = [(f"{ours}/v1/classify", "ref"), (f"{peer}{peer_path}", "whole" if peer_path == "/classify" else "ref")]
    for url, model in servers:
        loaded(url, model)
    rounds = [[loaded(url, model) for url, model in servers] for _ in range(ROUNDS)]
    sides = [[times[side] for times in rounds] for side in range(2)]
    rates = [median(one["rate"] for one in side) for side in sides]
    p99 = [median(one["p99"] for one in side) for side in sides]
    return {
        "ours": rates[0],
        "peer": rates[1],
        "ratio": rates[0] / rates[1],
        "unit": "requests/s",
        "p99": p99[0],
        "p99_of_peer": p99[1],
    }


def overhead() -> dict[str, Any]:
    """Milliseconds of both, which take turns."""
    sentences = texts()
    torch.set_num_threads(2)
    with registered(1) as registry, serving(registry) as (url, _), Switcher("minilm", registry=registry) as switcher:
        with httpx.Client(base_url=url, timeout=60) as client:
            times: list[list[float]] = [[], []]
            for number in range(2 * CALLS):
                sentence = sentences[number % len(sentences)]
                calls = (
                    lambda text=sentence: client.post("/v1/classify", json={"model": "a0", "input": text}),
                    lambda text=sentence: switcher.predict("a0", [text]),
                )
                for call, taken in zip(calls, times, strict=True):
                    began = time.perf_counter()
                    call()
                    if number >= CALLS:
                        taken.append(time.perf_counter() - began)
        ours, peer = (sorted(taken)[CALLS // 10] * 1000 for taken in times)
    return {"ours": ours, "peer": peer, "ratio": peer / ours, "unit": "ms", "added": ours - peer}


def idle_memory() -> dict[str, Any]:
    """Megabytes of resident memory."""
    with registered(1) as registry, serving(registry) as (_, process):
        ours = resident(process.pid)
        with started([sys.executable, "-c", BASE_ALONE], stdin=subprocess.PIPE) as (_, alone):
            peer = resident(alone.pid)
    return {"ours": ours, "peer": peer, "ratio": peer / ours, "unit": "MB"}


def resident(process: int) -> float:
    """Megabytes."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1000


def loaded(url: str, model: str) -> dict[str, float]:
    """Requests a second and the 99th percentile in milliseconds, as a process of its own measures them."""
    command = [sys.executable, HERE / "serving_load.py", url, model, str(CALLERS), str(REQUESTS), str(TASKS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


@contextmanager
def serving(registry: Registry) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """``registry serve``."""
    program = Path(sys.executable).with_name("registry")
    with started([program, "--home", registry.home, "serve", "--base", "minilm", "--port", "0"]) as found:
        yield found


@contextmanager
def started(
    command: list[Any], *, pattern: str = r"on (http://[^;\s]+);", **options: Any
) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """A process that says where it listens; killed at the end."""
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(pattern, line):
                threading.Thread(target=process.stdout.read, daemon=True).start()  # a full pipe would stop it
                yield found[1], process
                break
        else:
            raise RuntimeError(f"{command[0]} ended with {process.wait()}")
    finally:
        process.kill()
        process.wait()
