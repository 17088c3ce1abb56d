"""The dashboard as a process of its own: started, looked at, ended and killed."""

import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from subprocess import Popen
from typing import Any

import httpx
import pytest

Run = Callable[..., Any]
Start = Callable[..., Popen[str]]

HEAVY = {"torch", "transformers", "adapters", "datasets", "sklearn", "matplotlib"}


def printed_url(process: Popen[str]) -> tuple[str, str | None]:
    """Where it listens, once it does, and the token in the URL."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.fullmatch(r"(http://[^/]+)/(?:#token=([\w-]{43}))?\n", line):
            return found[1], found[2]
    raise AssertionError(f"the dashboard ended with {process.wait()}")


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_it_shows_the_registry_until_it_is_told_to_end(ready: Path, start: Start, signal_number: int) -> None:
    process = start("--home", ready, "ui", "--port", 0)
    url, _ = printed_url(process)
    assert url.startswith("http://127.0.0.1:")
    assert "<html" in httpx.get(url).text
    refs = [item["ref"] for item in httpx.get(f"{url}/api/versions").json()["items"]]
    assert refs == ["cola@1", "mix@1", "sst2@1", "sst2@2", "sst2@3"]
    process.send_signal(signal_number)
    assert process.wait(30) == 0
    assert process.stdout is not None
    assert process.stdout.read() == ""


def test_the_printed_token_may_change_what_others_may_only_see(mine: Path, start: Start) -> None:
    url, token = printed_url(start("--home", mine, "ui", "--port", 0))
    path = f"{url}/api/adapters/sst2/aliases/production"
    body = {"number": 1, "if_currently": 2}
    assert httpx.put(path, json=body).status_code == 403
    authorized = {"Authorization": f"Bearer {token}"}
    assert httpx.put(path, json=body, headers=authorized).json() == {"ref": "sst2@1", "aliases": ["production"]}
    _, other = printed_url(start("--home", mine, "ui", "--port", 0))
    assert token != other
    assert httpx.put(path, json=body, headers={"Authorization": f"Bearer {other}"}).status_code == 401


def test_after_a_kill_it_shows_the_same(mine: Path, start: Start) -> None:
    answers = []
    for _ in range(2):
        process = start("--home", mine, "ui", "--port", 0)
        url, token = printed_url(process)
        httpx.put(
            f"{url}/api/versions/sst2@1/note", json={"note": "kept"}, headers={"Authorization": f"Bearer {token}"}
        )
        answers.append(httpx.get(f"{url}/api/versions/sst2@1").json())
        process.kill()
        process.wait()
    assert answers[0] == answers[1]
    assert answers[0]["note"] == "kept"


def test_it_imports_no_model_library(ready: Path) -> None:
    code = (
        "import atexit, os, signal, sys; from pointsman.cli.main import main\n"
        "from pointsman.cli import listening\n"
        "listening.run_until_stopped = lambda *_, **__: print(*sys.modules, file=sys.stderr)\n"
        "main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "--home", ready, "ui", "--port", "0"], capture_output=True, text=True, check=True
    )
    loaded = set(result.stderr.split())
    assert "pointsman.sdk.dashboard.app" in loaded
    assert not loaded & HEAVY


def test_a_port_that_is_taken(run: Run, ready: Path, start: Start) -> None:
    url, _ = printed_url(start("--home", ready, "ui", "--port", 0))
    taken = run("ui", "--port", url.rpartition(":")[2], home=ready)
    taken.refused("another program listens on port", "try: --port 0")


def test_other_machines_see_it_only_with_tokens(run: Run, ready: Path, start: Start, tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::"):
        run("ui", "--host", host, home=ready).refused(f"other machines reach {host}: name the tokens", code=2)
    made = run("serve", "--new-token", "read")
    token, file = made.err.strip().rpartition(" ")[2], tmp_path / "tokens"
    file.write_text(made.out)
    run("ui", "--token-file", file, home=ready).refused("has the permissions")
    file.chmod(0o600)
    url, none = printed_url(start("--home", ready, "ui", "--host", "0.0.0.0", "--port", 0, "--token-file", file))
    assert none is None
    url = url.replace("0.0.0.0", "127.0.0.1")
    assert httpx.get(f"{url}/api/about").status_code == 401
    assert httpx.get(url).status_code == 200
    about = httpx.get(f"{url}/api/about", headers={"Authorization": f"Bearer {token}"}).json()
    assert (about["role"], about["can_change"]) == ("read", False)


def test_a_home_that_does_not_exist(run: Run, tmp_path: Path) -> None:
    run("ui", home=tmp_path / "none").refused("none")


def test_while_another_process_writes_it_goes_on_reading(mine: Path, start: Start) -> None:
    """On SQLite, and a change waits its turn."""
    url, token = printed_url(start("--home", mine, "ui", "--port", 0))
    changed: list[httpx.Response] = []
    with closing(sqlite3.connect(mine / "registry.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        body, headers = {"note": "waited"}, {"Authorization": f"Bearer {token}"}
        call = lambda: changed.append(  # noqa: E731
            httpx.put(f"{url}/api/versions/sst2@1/note", json=body, headers=headers, timeout=60)
        )
        writer = threading.Thread(target=call)
        writer.start()
        for _ in range(3):
            assert httpx.get(f"{url}/api/versions").status_code == 200
        assert changed == []
        other.execute("ROLLBACK")
    writer.join()
    assert changed[0].json() == {"note": "waited"}


def test_a_registry_that_is_removed_under_it(mine: Path, start: Start) -> None:
    process = start("--home", mine, "ui", "--port", 0)
    url, _ = printed_url(process)
    assert httpx.get(f"{url}/api/about").status_code == 200
    shutil.rmtree(mine)
    for path in ("about", "versions", "versions/sst2", "runs", "events", "glue"):
        answer = httpx.get(f"{url}/api/{path}")
        assert answer.status_code in (200, 503), answer.text  # an open file may be read until it is closed
        assert str(mine) not in answer.text
    assert process.poll() is None
