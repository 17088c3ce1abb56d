"""Draw the dashboard's pictures for its page, from a registry with made-up trainings: ``make screenshots``."""

import math
import random
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page, sync_playwright

from pointsman.registry import Base, Registry, RunRecorder
from pointsman.registry.metrics.points import insert_points
from pointsman.registry.records import Evaluation, LoggedPoint
from pointsman.registry.runs import runs
from pointsman.sdk.dashboard.app import dashboard
from pointsman.sdk.web.access import Access, Role
from pointsman.sdk.web.server import http_server

MOST: Final = 150_000
"""Bytes of a picture at most."""
STEPS: Final = 6000
SECONDS_A_STEP: Final = 0.04
BASE: Final = Base(
    fingerprint="5b" * 32,
    name="minilm",
    model_type="bert",
    hidden_size=384,
    layers=6,
    parameters=22_713_216,
    size=90_852_864,
)


def main(directory: Path) -> None:
    """Draw all pictures.

    Args:
        directory: Where they go.
    """
    with (
        tempfile.TemporaryDirectory() as home,
        Registry(home) as registry,
        sync_playwright() as playwright,
        fill(registry) as live,
    ):
        app = dashboard(registry, access=Access(tokens=None, anonymous=Role.ADMIN), hosts=None)
        listening = socket.create_server(("127.0.0.1", 0))
        server = http_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        try:
            for name, (address, height, scheme, until) in pictures(live.uid).items():
                page = browser.new_page(viewport={"width": 1200, "height": height}, color_scheme=scheme)
                page.goto(f"{url}/{address}")
                until(page)
                path = directory / f"{name}.png"
                page.screenshot(path=path)
                page.close()
                if path.stat().st_size > MOST:
                    raise SystemExit(f"{path} has {path.stat().st_size:,} bytes; {MOST:,} are allowed")
        finally:
            browser.close()
            server.should_exit = True
            thread.join()


def pictures(live: str) -> dict[str, tuple[str, int, Any, Callable[[Page], object]]]:
    """The address of each picture, its height, its colours, and what is waited for.

    Args:
        live: The uid of the run that trains.
    """
    refs = "&".join(f"of=sst2%40{number}" for number in (1, 2, 3))
    return {
        "versions": ("#/versions?all=1", 640, "light", lambda page: page.get_by_text("production").wait_for()),
        "version": ("#/version/sst2-merged%401", 940, "light", lambda page: page.locator(".lineage").wait_for()),
        "charts": (f"#/charts?{refs}&smooth=0.9", 760, "light", lambda page: page.locator("[data-points]").wait_for()),
        "run": (f"#/run/{live}", 620, "dark", lambda page: page.locator("figure").nth(3).wait_for()),
    }


def fill(registry: Registry) -> RunRecorder:
    """Versions with their runs, some labels, a merge, and a run that is half way."""
    numbers = random.Random(7)
    for name, method, factor in (("sst2", "seq_bn", 16), ("sst2", "lora", 8), ("sst2", "seq_bn", 4)):
        add(registry, name, method, factor, numbers)
    for name in ("cola", "mrpc", "rte", "qnli", "stsb", "qqp", "mnli"):
        add(registry, name, numbers.choice(["seq_bn", "lora", "ia3"]), 16, numbers)
    add(registry, "sst2-merged", "seq_bn", 16, numbers, parents=[("merged", "sst2@1"), ("merged", "sst2@3")])
    add(registry, "sst2-small", "seq_bn", 32, numbers, parents=[("distilled", "sst2-merged@1")])
    registry.set_alias("sst2@3", "canary")
    registry.set_alias("sst2@1", "production")
    registry.set_tags("sst2@1", {"owner": "ann"})
    registry.set_note("sst2@1", "Trained on the cleaned rows.")
    live = start(registry, "sst2", "lora", numbers)
    log(registry, live, numbers, last=STEPS * 5 // 8)
    return live


def start(registry: Registry, name: str, method: str, numbers: random.Random) -> RunRecorder:
    """A run that was just started."""
    return registry.start_run(
        name,
        task=name.partition("-")[0],
        method=method,
        base=BASE,
        settings={"learning_rate": 5e-4, "max_steps": STEPS, "batch_size": 32},
        data={"source": "glue", "rows": 67_349},
        environment={"python": "3.11", "command": f"registry train {name} --method {method}"},
        seed=numbers.randrange(100),
    )


def log(registry: Registry, run: RunRecorder, numbers: random.Random, *, last: int = STEPS) -> float:
    """What a training of two classes logs until a step; returns its best accuracy."""
    slope, best = numbers.uniform(1.8, 2.6), 0.0
    began, points = time.time(), []
    for step in range(0, last + 1, 25):
        loss = 0.6 * math.exp(-slope * step / STEPS) + 0.1 + numbers.gauss(0, 0.03) + (numbers.random() < 0.005) * 0.4
        values = {"train/loss": loss, "train/samples_per_second": numbers.gauss(810, 9)}
        if step and step % 500 == 0:
            accuracy = 0.92 - 0.3 * math.exp(-slope * step / 1500) + numbers.gauss(0, 0.005)
            values |= {"eval/accuracy": accuracy, "eval/loss": 0.25 + 0.3 * math.exp(-step / 1500)}
            best = max(best, accuracy)
        at = began + step * SECONDS_A_STEP
        points += [LoggedPoint(key, step, value, None, at) for key, value in values.items()]
    with registry.database.writing() as connection:
        insert_points(connection, runs.run_id(connection, run.uid), points)
    return best


def add(
    registry: Registry,
    name: str,
    method: str,
    factor: int,
    numbers: random.Random,
    *,
    parents: list[tuple[str, str]] | None = None,
) -> None:
    """A version, and the run that made it."""
    with start(registry, name, method, numbers) as run:
        accuracy = log(registry, run, numbers)
    parameters = 4_000_000 // factor
    registry.add_version(
        name,
        files={"adapter.safetensors": numbers.randbytes(parameters), "adapter_config.json": b"{}"},
        task={"name": name.partition("-")[0], "labels": ["negative", "positive"]},
        method=method,
        config={"reduction_factor": factor, "non_linearity": "relu"},
        base=BASE,
        max_length=128,
        parameters=parameters,
        metrics={"eval/accuracy": accuracy, "eval/loss": 0.26},
        primary_metric="eval/accuracy",
        evaluation=Evaluation(fingerprint="e5" * 32, rows=872),
        run=run.uid,
        parents=parents or [],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
