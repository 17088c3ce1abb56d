"""The server as a process of its own: started, called, ended and killed."""

import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import httpx
import pytest

from pointsman.registry import Registry

from helpers import TEXTS

Run = Callable[..., Any]
Start = Callable[..., Popen[str]]


def address(process: Popen[str]) -> str:
    """Where it listens, once it does."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"on (http://\S+);", line):
            return found[1]
    raise AssertionError(f"the server ended with {process.wait()}")


def classify(url: str, text: str | list[str], model: str = "sst2") -> httpx.Response:
    return httpx.post(f"{url}/v1/classify", json={"model": model, "input": text}, timeout=60)


def test_it_answers_and_ends_when_what_waits_is_answered(trained: Path, start: Start) -> None:
    process = start("--home", trained, "serve", "--port", 0, "--preload", "sst2")
    url = address(process)
    expected = classify(url, TEXTS).json()["data"]
    assert len(expected) == len(TEXTS)
    responses: list[httpx.Response] = []
    callers = [threading.Thread(target=lambda: responses.append(classify(url, TEXTS * 100))) for _ in range(4)]
    for caller in callers:
        caller.start()
    while httpx.get(f"{url}/v1/status").json()["waiting"] < len(TEXTS) * 100:  # until some of them wait
        assert any(caller.is_alive() for caller in callers)
    process.send_signal(signal.SIGTERM)
    for caller in callers:
        caller.join()
    assert process.wait(30) == 0
    assert [response.status_code for response in responses] == [200] * 4
    for response in responses:
        found = response.json()["data"]
        assert [item["label"] for item in found] == [item["label"] for item in expected] * 100


def test_after_a_kill_it_gives_the_same_answers(trained: Path, start: Start) -> None:
    answers = []
    for _ in range(2):
        process = start("--home", trained, "serve", "--port", 0)
        answers.append(classify(address(process), TEXTS).json()["data"])
        process.kill()
        process.wait()
    assert answers[0] == answers[1]


def test_a_port_that_is_taken_and_registries_without_one_base(
    run: Run, trained: Path, start: Start, tmp_path: Path
) -> None:
    url = address(start("--home", trained, "serve", "--port", 0))
    taken = run("serve", "--port", url.rpartition(":")[2], home=trained)
    assert taken.code == 1
    assert taken.err.startswith("error: another program listens on port")
    Registry(tmp_path / "empty").close()
    empty = run("serve", home=tmp_path / "empty")
    assert empty.code == 1
    assert "a server has one base, and the registry has no version" in empty.err


@pytest.mark.parametrize("host", ["0.0.0.0", "example.org"])
def test_only_this_machine_is_served(run: Run, trained: Path, host: str) -> None:
    refused = run("serve", "--host", host, home=trained)
    assert refused.code == 2
    assert "is not one of '127.0.0.1', 'localhost'" in refused.err
