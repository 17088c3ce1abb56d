"""A store that answers late holds up the calls of the version that is late, and no other."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import httpx
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pointsman.registry import Registry
from pointsman.sdk import Switcher
from pointsman.sdk.serving.app import Server

from helpers import TEXTS, MakeVersion
from served import HOSTS, serving


class Late(MemoryFileSystem):
    """Files that come late: those of a version that a test names come when it lets them."""

    protocol = "late"
    store: dict[str, Any] = {}  # noqa: RUF012 -- fsspec's own way to share it
    pseudo_dirs = [""]  # noqa: RUF012
    late: frozenset[str] = frozenset()
    asked: list[str] = []  # noqa: RUF012
    began = threading.Semaphore(0)
    go = threading.Event()

    def cat_file(self, path: str, *arguments: Any, **options: Any) -> bytes:
        digest = path.rpartition("/")[2]
        if any(whole.endswith(digest) for whole in Late.late):
            Late.asked.append(path)
            Late.began.release()
            assert Late.go.wait(60)
        content: bytes = super().cat_file(path, *arguments, **options)
        return content


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    fsspec.register_implementation("late", Late, clobber=True)
    Late.store.clear()
    Late.late, Late.asked, Late.began, Late.go = frozenset(), [], threading.Semaphore(0), threading.Event()
    Registry(tmp_path / "home").close()
    with Registry(tmp_path / "home", store="late://team") as opened:
        yield opened
    Late.go.set()


@pytest.fixture
def client(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> Iterator[httpx.Client]:
    for seed, name in enumerate("abc"):
        make_version(name, seed=seed)
    Late.late = frozenset(file.sha256 for file in registry.version("b").files) - {
        file.sha256 for name in "ac" for file in registry.version(name).files
    }
    assert Late.late
    with Switcher(str(tiny_base), registry=registry, capacity=2) as switcher:
        server = Server(switcher, registry, max_batch_tokens=1_000, max_queue=6, hosts=HOSTS)
        with serving(server.app) as client:
            yield client


def classify(client: httpx.Client, model: str, texts: Any = "no") -> httpx.Response:
    return client.post("/v1/classify", json={"model": model, "input": texts})


def test_others_are_answered_meanwhile(client: httpx.Client) -> None:
    assert classify(client, "a").status_code == 200
    answers: list[httpx.Response] = []
    callers = [threading.Thread(target=lambda: answers.append(classify(client, "b", TEXTS[:2]))) for _ in range(2)]
    for caller in callers:
        caller.start()
    assert Late.began.acquire(timeout=60)
    for _ in range(3):
        assert classify(client, "a", TEXTS[:2]).status_code == 200
    assert classify(client, "c", TEXTS[:2]).status_code == 200  # of a version that was not loaded
    assert answers == []
    assert client.get("/v1/status").json()["waiting"] == 0
    Late.go.set()
    for caller in callers:
        caller.join(60)
    assert [(answer.status_code, answer.json()["version"]) for answer in answers] == [(200, "b@1")] * 2
    assert sorted(Late.asked) == sorted(set(Late.asked))  # once, for both callers


def test_a_refresh_that_loads_holds_up_no_other(
    client: httpx.Client, registry: Registry, make_version: MakeVersion, tiny_base: Path
) -> None:
    with Switcher(str(tiny_base), registry=registry) as switcher:
        assert switcher.predict("a", TEXTS[:1])
        make_version("a", seed=9)
        Late.late = frozenset(file.sha256 for file in registry.version("a@2").files) - {
            file.sha256 for file in registry.version("a@1").files
        }
        refreshing = threading.Thread(target=switcher.refresh)
        refreshing.start()
        assert Late.began.acquire(timeout=60)
        assert switcher.predict("a", TEXTS[:1])
        assert switcher.predict("c", TEXTS[:1])  # of a version that was not loaded
        assert switcher.resolve("a").composition.selector == 1  # type: ignore[union-attr]
        Late.go.set()
        refreshing.join(60)
        assert switcher.resolve("a").composition.selector == 2  # type: ignore[union-attr]


def test_calls_that_wait_for_files_are_bounded(client: httpx.Client) -> None:
    answers: list[httpx.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(classify(client, "b", TEXTS)))
    waiting.start()
    assert Late.began.acquire(timeout=60)
    refused = classify(client, "b", TEXTS[:2])
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "OverloadedError")
    assert "5 inputs wait for files of their versions, and 6 may" in refused.json()["error"]["message"]
    Late.go.set()
    waiting.join(60)
    assert answers[0].status_code == 200
    assert classify(client, "b", TEXTS[:2]).status_code == 200


def test_a_file_that_is_lost_is_asked_for_again(client: httpx.Client, registry: Registry) -> None:
    Late.go.set()
    lost = {path: file for path, file in Late.store.items() if any(path.endswith(each[2:]) for each in Late.late)}
    assert lost
    for path in lost:
        del Late.store[path]
    assert classify(client, "b").status_code == 503
    assert classify(client, "a").status_code == 200
    Late.store.update(lost)
    assert classify(client, "b").status_code == 200
