"""The server as a process of its own: started, called, ended and killed."""

import json
import re
import signal
import socket
import threading
import time
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


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def address(process: Popen[str]) -> str:
    """Where it listens, once it does."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"on (http://\S+);", line):
            return found[1]
    raise AssertionError(f"the server ended with {process.wait()}")


def classify(url: str, text: str | list[str], model: str = "sst2") -> httpx.Response:
    return httpx.post(f"{url}/v1/classify", json={"model": model, "input": text}, timeout=60)


def test_it_answers_and_ends_when_what_waits_is_answered(own: Path, start: Start) -> None:
    process = start("--home", own, "serve", "--port", 0, "--preload", "sst2")
    url = address(process)
    expected = classify(url, TEXTS).json()["data"]
    assert len(expected) == len(TEXTS)
    responses: list[httpx.Response] = []
    callers = [threading.Thread(target=lambda: responses.append(classify(url, TEXTS * 100))) for _ in range(4)]
    for caller in callers:
        caller.start()
    inputs = len(TEXTS) * 100
    while True:  # until the server has all four
        status = httpx.get(f"{url}/v1/status").json()
        if status["waiting"] + status["computing"] + inputs * len(responses) >= 4 * inputs:
            break
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


@pytest.mark.parametrize("options", [(), ("--access-log",)])
def test_calls_are_logged_where_it_is_asked_for(own: Path, start: Start, options: tuple[str, ...]) -> None:
    process = start("--home", own, "serve", "--port", 0, *options)
    url = address(process)
    answer, error = classify(url, "a film"), httpx.get(f"{url}/v1/nothing")
    ids = [response.headers["x-request-id"] for response in (answer, error)]
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    logged = [json.loads(line) for line in out.splitlines()]
    expected = [(ids[0], 200, [answer.json()["version"]]), (ids[1], 404, None)] if options else []
    assert [(line["request_id"], line["status"], line.get("versions")) for line in logged] == expected
    assert "request_id" not in err


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


def test_other_machines_are_served_only_when_told(run: Run, trained: Path) -> None:
    for host in ("0.0.0.0", "::", "0"):
        refused = run("serve", "--host", host, home=trained)
        assert refused.code == 2
        assert f"other machines reach {host}: name the tokens that may call with --token-file" in refused.err
    both = run("serve", "--token-file", __file__, "--no-tokens", home=trained)
    assert both.code == 2
    assert "--token-file and --no-tokens exclude each other" in both.err


@pytest.mark.parametrize("host", ["", "no such name", "a" * 70, "[::1]"])
def test_a_host_that_is_none(run: Run, trained: Path, host: str) -> None:
    refused = run("serve", "--host", host, home=trained)
    assert refused.code == 1
    assert refused.err.startswith(f"error: {host!a} is no address of this machine")


def test_an_address_of_another_machine(run: Run, trained: Path) -> None:
    refused = run("serve", "--host", "192.0.2.1", "--no-tokens", home=trained)  # RFC 5737: nobody's
    assert refused.code == 1
    assert refused.err.startswith("error: 192.0.2.1 is no address of this machine")


def test_without_tokens_whoever_reaches_it_may_predict(trained: Path, start: Start) -> None:
    port = address(start("--home", trained, "serve", "--host", "0.0.0.0", "--port", 0, "--no-tokens")).rpartition(":")[
        2
    ]
    answer = httpx.get(f"http://127.0.0.1:{port}/v1/models", headers={"host": "models.example"})
    assert answer.status_code == 200
    assert classify(f"http://127.0.0.1:{port}", "no").status_code == 200


def test_a_new_token_opens_the_server(run: Run, trained: Path, start: Start, tmp_path: Path) -> None:
    made = run("serve", "--new-token", "predict")
    token = made.err.strip().rpartition(" ")[2]
    assert len(token) >= 32
    assert token not in made.out
    file = tmp_path / "tokens"
    file.write_text(made.out)
    file.chmod(0o640)
    assert "has the permissions 0640" in run("serve", "--token-file", file, home=trained).refused()
    file.chmod(0o600)
    url = address(start("--home", trained, "serve", "--host", "0.0.0.0", "--port", 0, "--token-file", file))
    url = url.replace("0.0.0.0", "127.0.0.1")
    assert classify(url, "no").status_code == 401
    authorized = {"Authorization": f"Bearer {token}", "host": "models.example"}
    call = {"model": "sst2", "input": "no"}
    assert httpx.post(f"{url}/v1/classify", json=call, headers=authorized, timeout=60).status_code == 200
    assert httpx.get(f"{url}/v2/health/ready").status_code == 200


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6(trained: Path, start: Start) -> None:
    url = address(start("--home", trained, "serve", "--host", "::1", "--port", 0))
    assert url.startswith("http://[::1]:")
    assert classify(url, "no").status_code == 200
    for host, status in (("[::1]", 200), ("localhost:1", 200), ("[::2]:8000", 400), ("::1", 400), ("a.example", 400)):
        assert httpx.get(f"{url}/v1/models", headers={"host": host}).status_code == status


def test_refs_are_looked_up_anew_every_so_many_seconds(own: Path, start: Start) -> None:
    url = address(start("--home", own, "serve", "--port", 0, "--refresh", 1))
    with Registry(own) as registry:
        registry.set_alias("sst2@1", "production")
        assert classify(url, "no", "sst2@production").json()["version"] == "sst2@1"
        registry.set_alias("sst2@2", "production")
    versions = (classify(url, "no", "sst2@production").json()["version"] for _ in range(10_000))
    assert next(version for version in versions if version != "sst2@1") == "sst2@2"


def test_what_it_answered_is_the_history_of_its_versions(run: Run, own: Path, start: Start) -> None:
    process = start("--home", own, "serve", "--port", 0)
    url = address(process)
    labels = [item["label"] for item in classify(url, TEXTS).json()["data"]]
    with Registry(own) as registry:
        trainings = [one.uid for one in registry.runs()]
    assert classify(url, "no", "sst2@1").status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    (point,) = run("history", "sst2", "--metric", "serving/requests", "--json", home=own).json
    assert point["value"] == len(TEXTS)
    assert abs(point["step"] - time.time() / 60) < 60
    for label in set(labels):
        printed = run("history", "sst2", "--metric", f"serving/label/{label}", home=own).lines
        assert printed[0].split() == ["time", f"serving/label/{label}"]
        assert float(printed[-1].split()[-1]) == pytest.approx(labels.count(label) / len(labels), abs=1e-4)
    plotted = run("history", "sst2@1", "sst2@2", "--metric", "serving/latency/p99", "--plot", home=own)
    assert plotted.code == 0
    assert "minutes from 20" in plotted.out
    listed = [line.split()[1:3] for line in run("runs", "--serving", home=own).lines[2:]]
    assert sorted(listed) == [["sst2@1", "finished"], ["sst2@2", "finished"]]
    assert [one["uid"] for one in run("runs", "--json", home=own).json] == trainings
    shown = run("show", "sst2@2", home=own).out
    assert f"{len(TEXTS)} requests since" in shown
    assert "1, of which 0 running" in shown
    (serving,) = run("show", "sst2@2", "--json", home=own).json["servings"]
    for refused in (("train", "--resume", serving["uid"]), ("train", "--like", f"run:{serving['uid']}")):
        assert "is what a server recorded of sst2@2" in run(*refused, home=own).refused()
    assert run("verify", home=own).code == 0


def test_after_a_kill_its_runs_are_interrupted(run: Run, own: Path, start: Start) -> None:
    process = start("--home", own, "serve", "--port", 0, "--record-every", 1)
    url = address(process)
    classify(url, TEXTS)
    with Registry(own) as registry:
        while not registry.runs(serving=True).total:
            assert process.poll() is None
        assert [one.status for one in registry.runs(serving=True)] == ["running"]
        process.kill()
        process.wait()
        assert [one.status for one in registry.runs(serving=True)] == ["interrupted"]
        assert sum(point.value for point in registry.history("sst2", "serving/requests")) == len(TEXTS)
    again = start("--home", own, "serve", "--port", 0, "--record-every", 0)
    classify(address(again), TEXTS)
    again.send_signal(signal.SIGTERM)
    assert again.wait(60) == 0
    assert [line.split()[2] for line in run("runs", "--serving", home=own).lines[2:]] == ["interrupted"]
