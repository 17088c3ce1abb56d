"""Start-up: `registry list` over some versions, against what importing torch alone takes."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pointsman.registry import Base, Registry

ROUNDS = 5


def run(bench: str, data: str) -> dict[str, Any]:
    """Seconds of both as whole processes, the median of five in turn."""
    base = Base(fingerprint="0" * 64, name="none", model_type="bert", hidden_size=1, layers=1, parameters=1, size=1)
    with tempfile.TemporaryDirectory() as home:
        with Registry(home) as registry:
            for name in "abcdefghij":
                registry.add_version(
                    name, files={"a": b"a"}, task={"name": "none"}, method="seq_bn", config={}, base=base,
                    max_length=8, parameters=1,
                )  # fmt: skip
        program = Path(sys.executable).parent / "registry"
        ours, peer = [], []
        for _ in range(ROUNDS):
            ours.append(_seconds([str(program), "--home", home, "list"]))
            peer.append(_seconds([sys.executable, "-c", "import torch"]))
    seconds, other = sorted(ours)[ROUNDS // 2], sorted(peer)[ROUNDS // 2]
    return {"ours": seconds, "peer": other, "ratio": other / seconds, "unit": "s"}


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began
