"""``registry serve`` under load, against plain adapters in the same kind of server. All on loopback, on two threads.

``serve-mixed``: 64 callers that each ask for one sentence of one of 32 adapters in turn, requests a second; ``p99`` and
``p99_of_peer`` in milliseconds. The peer (``serving_peer.py``) calls ``set_active_adapters`` under a lock. Servers and
the load are processes of their own; servers take turns. ``serve-overhead``: one sentence at a time over HTTP, ours,
and in one process, the peer, in milliseconds (the best decile of 300); ``added`` is the difference.
``serve-idle-memory``: megabytes of a server that has loaded the base, and of a process that has loaded it.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import torch
from switching import TASKS, registered
from words import texts

from pointsman.registry import Registry
from pointsman.sdk import Switcher

HERE = Path(__file__).resolve().parent
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
    return {"serve-mixed": mixed, "serve-overhead": overhead, "serve-idle-memory": idle_memory}[bench]()


def mixed() -> dict[str, Any]:
    """Requests a second, the medians of rounds in turn."""
    with registered(TASKS) as registry, ExitStack() as stack:
        for number in range(TASKS):
            registry.export(f"a{number}", registry.home / "exported" / f"a{number}")
        servers = [
            stack.enter_context(serving(registry)),
            stack.enter_context(started([sys.executable, HERE / "serving_peer.py", registry.home / "exported"])),
        ]
        for url, _ in servers:
            loaded(url)
        rounds = [[loaded(url) for url, _ in servers] for _ in range(ROUNDS)]
    ours, peer = ([times[side] for times in rounds] for side in range(2))
    rates = [median(one["rate"] for one in side) for side in (ours, peer)]
    return {
        "ours": rates[0],
        "peer": rates[1],
        "ratio": rates[0] / rates[1],
        "unit": "requests/s",
        "p99": median(one["p99"] for one in ours),
        "p99_of_peer": median(one["p99"] for one in peer),
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


def loaded(url: str) -> dict[str, float]:
    """Requests a second and the 99th percentile in milliseconds, as a process of its own measures them."""
    command = [sys.executable, HERE / "serving_load.py", url, str(CALLERS), str(REQUESTS), str(TASKS)]
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
def started(command: list[Any], **options: Any) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """A process that says where it listens; killed at the end."""
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(r"on (http://[^;\s]+);", line):
                yield found[1], process
                break
        else:
            raise RuntimeError(f"{command[0]} ended with {process.wait()}")
    finally:
        process.kill()
        process.wait()
