"""Verify, with all that it checks, against sha256sum over the same files; both read them from the page cache."""

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from pointsman.registry import Base, Registry
from pointsman.registry.upkeep import verify

ROUNDS = 5
MEGABYTE = 1_000_000
SIZES = (64, 64, 32, 32, 32, *[16] * 5, *[4] * 12, *[1] * 32, *[0.1] * 160)
"""Megabytes of each file: 400 in all, of incompressible bytes."""


def run(bench: str, data: str) -> dict[str, Any]:
    """Megabytes a second of both, the median of rounds in turn."""
    base = Base(fingerprint="0" * 64, name="none", model_type="bert", hidden_size=1, layers=1, parameters=1, size=1)
    with tempfile.TemporaryDirectory() as home, Registry(home) as registry:
        for size in SIZES:
            registry.add_version(
                "bench",
                files={"weights": os.urandom(int(size * MEGABYTE))},
                task={"name": "none"},
                method="seq_bn",
                config={},
                base=base,
                max_length=8,
                parameters=1,
            )
        files = [str(path) for path in Path(home, "objects").rglob("*") if path.is_file()]
        megabytes = sum(Path(path).stat().st_size for path in files) / MEGABYTE
        ours, peer = [], []
        for _ in range(ROUNDS + 1):
            began = time.perf_counter()
            report = verify(registry)
            ours.append(megabytes / (time.perf_counter() - began))
            if report.problems or report.files != len(files):
                raise RuntimeError(f"verify read {report.files} of {len(files)} files: {report.problems}")
            began = time.perf_counter()
            subprocess.run(["sha256sum", *files], check=True, stdout=subprocess.DEVNULL)
            peer.append(megabytes / (time.perf_counter() - began))
    # The first round of each fills the page cache.
    speed, other = statistics.median(ours[1:]), statistics.median(peer[1:])
    return {"ours": speed, "peer": other, "ratio": speed / other, "unit": "MB/s", "files": len(files)}
