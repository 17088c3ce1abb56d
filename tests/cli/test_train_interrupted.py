"""Ctrl-C and SIGTERM in the middle of a training: the run says so, and its history stays."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ENDLESS = ("--data", "sample", "--max-train-rows", "64", "--max-eval-rows", "32", "--max-length", "32",
           "--epochs", "9999")  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training(
    number: signal.Signals,
    *,
    run: Any,
    start: Callable[..., Any],
    home: Path,
    tiny_base: Path,
    nothing_left: Callable[[], None],
) -> None:
    def listen() -> None:
        # Whoever started these tests in the background may have had SIGINT ignored, for children as well.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = start("train", "sst2", "--base", tiny_base, *ENDLESS, preexec_fn=listen)
    assert process.stderr.readline().startswith("loading")
    said = process.stderr.readline()
    assert said.startswith("step "), said
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert out == ""
    assert err.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in err
    nothing_left()

    (recorded,) = run("runs", "--json").json
    assert (recorded["status"], recorded["version"], recorded["error"]) == ("interrupted", None, None)
    assert recorded["ended_at"] is not None
    uid = recorded["uid"]
    first = int(said.split()[1].partition("/")[0])
    steps = [point["step"] for point in run("history", f"run:{uid}", "--metric", "train/loss", "--json").json]
    assert steps[-1] >= first
    assert steps == sorted(steps)
    assert run("history", f"run:{uid}", "--metric", "eval/accuracy", "--json").json
    assert "interrupted" in run("runs").out
