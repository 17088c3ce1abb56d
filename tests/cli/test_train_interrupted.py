"""A training that ends in the middle: the run says so, its history stays, and it can go on."""

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
    assert process.stderr.readline().startswith("importing")
    said = process.stderr.readline()
    assert said.startswith("step "), said
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert out == ""
    *_, advice, last = filter(None, err.splitlines())
    assert last == "error: interrupted"
    assert "Traceback" not in err
    nothing_left()

    (recorded,) = run("runs", "--json").json
    assert (recorded["status"], recorded["version"], recorded["error"]) == ("interrupted", None, None)
    assert recorded["ended_at"] is not None
    uid = recorded["uid"]
    assert advice == f"to resume it: registry train --resume {uid}"
    first = int(said.split()[1].partition("/")[0])
    steps = [point["step"] for point in run("history", f"run:{uid}", "--metric", "train/loss", "--json").json]
    assert steps[-1] >= first
    assert steps == sorted(steps)
    assert run("history", f"run:{uid}", "--metric", "eval/accuracy", "--json").json
    assert "interrupted" in run("runs").out


def test_a_killed_training_goes_on(run: Any, start: Callable[..., Any], home: Path, tiny_base: Path) -> None:
    arguments = (*ENDLESS[:-1], "4", "--checkpoint-every", "1")
    process = start("train", "sst2", "--base", tiny_base, *arguments)
    assert process.stderr.readline().startswith("importing")
    assert process.stderr.readline().startswith("step ")
    process.kill()
    process.communicate(timeout=30)
    (killed,) = run("runs", "--json").json
    assert killed["status"] == "interrupted"
    assert [path.name for path in (home / "runs").iterdir()] == [killed["uid"]]
    result = run("train", "--resume", killed["uid"][:6])
    assert result.code == 0, result.err
    assert f"run {killed['uid']} continues from step " in result.err
    assert "registered" in result.out
    (finished,) = run("runs", "--json").json
    assert (finished["uid"], finished["status"], finished["version"]) == (killed["uid"], "finished", "sst2@1")
    steps = [point["step"] for point in run("history", "sst2", "--metric", "train/loss", "--json").json]
    assert steps == list(range(1, 17))
    assert list((home / "runs").iterdir()) == []
    run("train", "--resume", killed["uid"]).refused("has made sst2@1", f"--like run:{killed['uid']}")


def test_a_run_without_a_checkpoint_begins_anew_and_says_so(
    run: Any, start: Callable[..., Any], home: Path, tiny_base: Path
) -> None:
    process = start("train", "sst2", "--base", tiny_base, *ENDLESS[:-1], "4", "--checkpoint-every", "1000")
    process.stderr.readline()
    assert process.stderr.readline().startswith("step ")
    process.kill()
    process.communicate(timeout=30)
    result = run("train", "--resume", run("runs", "--json").json[0]["uid"])
    assert result.code == 0, result.err
    assert f"has no checkpoint in {home / 'runs'}: it starts again" in result.err
    steps = [point["step"] for point in run("history", "sst2", "--metric", "train/loss", "--json").json]
    assert steps == list(range(1, 17))
