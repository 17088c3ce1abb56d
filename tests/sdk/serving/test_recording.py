"""What a real server answers is the history of its versions, minute by minute of a clock that the test sets."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from pointsman.registry import Registry, RunStatus
from pointsman.registry.database import backends
from pointsman.registry.errors import ReadOnlyError
from pointsman.sdk import Switcher
from pointsman.sdk.serving import figures
from pointsman.sdk.serving.app import Server
from pointsman.sdk.tasks import GLUE
from pointsman.sdk.web.calls import Call

from helpers import PAIRS, TEXTS, MakeVersion
from served import HOSTS, serving

START = 1_796_040_000.0  # the beginning of a minute
MINUTE = int(START // 60)


@dataclass
class Recorded:
    """A server, a caller of it, and the clock that it reads."""

    server: Server
    switcher: Switcher
    client: httpx.Client
    registry: Registry
    calls: list[Call]
    now: list[float] = field(default_factory=lambda: [START])

    def classify(self, model: str, texts: Any) -> httpx.Response:
        return self.client.post("/v1/classify", json={"model": model, "input": texts})

    def end_minute(self) -> None:
        """Let a minute pass, and record it."""
        self.now[0] += 60
        assert self.server._recording is not None
        self.server._recording.record()

    def values(self, ref: str, metric: str) -> list[tuple[int, float]]:
        """The points of a metric, with the minutes since the start."""
        return [(point.step - MINUTE, point.value) for point in self.registry.history(ref, f"serving/{metric}")]


Start = Callable[[], Any]


@pytest.fixture
def start(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> Iterator[Start]:
    """Starts servers of two versions of single texts, and one of scores."""
    for seed, name in enumerate("ab"):
        make_version(name, seed=seed)
    make_version("score", GLUE["stsb"], seed=3)
    with Switcher(str(tiny_base), registry=registry) as switcher:

        @contextmanager
        def started() -> Iterator[Recorded]:
            now, calls = [START], list[Call]()
            server = Server(
                switcher,
                registry,
                max_batch_tokens=10_000,
                max_queue=8,
                hosts=HOSTS,
                record_seconds=86_400,
                clock=lambda: now[0],
            )
            server.app._observers = (*server.app._observers, calls.append)  # type: ignore[attr-defined]
            with serving(server.app) as client:
                yield Recorded(server, switcher, client, registry, calls, now)

        yield started


@pytest.mark.databases
def test_a_minute_is_a_point_of_each_version(start: Start) -> None:
    with start() as recorded:
        found = [recorded.classify("a", TEXTS).json(), recorded.classify("a@1", TEXTS[:1]).json()]
        recorded.classify("parallel(a, b)", TEXTS[:2])
        recorded.classify("average(a, b)", TEXTS)
        scores = [item["score"] for item in recorded.classify("score", PAIRS).json()["data"]]
        recorded.end_minute()
        recorded.end_minute()  # nothing was asked
        recorded.classify("b", TEXTS[:3])
        recorded.end_minute()
        items = [item for answer in found for item in answer["data"]]
        expected = [(item["label"], item["score"]) for item in items]
        expected += [(each.label, each.score) for each in recorded.switcher.predict("a", TEXTS[:2])]
        assert recorded.values("a", "requests") == [(1, 8)]
        assert recorded.values("a", "failures") == [(1, 0)]
        for label in ("negative", "positive"):
            share = sum(one == label for one, _ in expected) / 8
            assert recorded.values("a", f"label/{label}") == [(1, share)]
        ((_, confidence),) = recorded.values("a", "confidence")
        assert confidence == pytest.approx(sum(score for _, score in expected) / 8, abs=1e-5)
        seconds = [call.seconds for call in recorded.calls if call.status == 200 and "a@1" in call.rows]
        assert len(seconds) == 3
        assert recorded.values("a", "latency/mean") == [(1, pytest.approx(sum(seconds) / 3))]
        ((_, median),), ((_, last),) = recorded.values("a", "latency/p50"), recorded.values("a", "latency/p99")
        assert sorted(seconds)[1] <= median * 1.000001 <= sorted(seconds)[1] * 1.0201
        assert last == pytest.approx(max(seconds))
        ((_, waited),) = recorded.values("a", "queue")
        assert 0 < waited < sum(seconds) / 3
        assert recorded.values("b", "requests") == [(1, 2), (3, 3)]
        assert recorded.values("score", "score/mean") == [(1, pytest.approx(sum(scores) / len(scores)))]
        assert recorded.values("score", "score/min") == [(1, min(scores))]
        assert recorded.values("score", "score/max") == [(1, max(scores))]
        names = {summary.key.removeprefix("serving/") for summary in recorded.registry.summaries("score")}
        assert not any(name.startswith(("label", "confidence")) for name in names)
        assert {run.served for run in recorded.registry.runs(serving=True)} == {"a@1", "b@1", "score@1"}
        assert recorded.registry.runs().total == 0


def test_the_end_writes_what_is_left(start: Start) -> None:
    with start() as recorded:
        recorded.classify("a", TEXTS)
        recorded.now[0] += 30
    assert recorded.values("a", "requests") == [(0, 5)]
    (run,) = recorded.registry.runs(serving=True)
    assert run.status is RunStatus.FINISHED
    assert run.settings == {
        "device": "cpu",
        "precision": "fp32",
        "capacity": None,
        "max_batch_tokens": 10_000,
        "max_wait": 0.005,
        "max_queue": 8,
    }


def test_failures_are_those_of_the_server(start: Start, registry: Registry) -> None:
    digest = registry.version("b").files[0].sha256
    path = registry.home / "objects" / digest[:2] / digest[2:]
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    with start() as recorded:
        assert recorded.classify("b", TEXTS[:2]).status_code == 503
        assert recorded.classify("a", [3]).status_code == 422
        assert recorded.classify("unknown", "no").status_code == 404
        recorded.end_minute()
        assert recorded.values("b", "failures") == [(1, 2)]
        assert recorded.values("b", "requests") == [(1, 0)]
        assert {run.served for run in recorded.registry.runs(serving=True)} == {"b@1"}
        assert {summary.key for summary in registry.summaries("b")} == {"serving/failures", "serving/requests"}


def test_two_servers_at_once(start: Start) -> None:
    with start() as first, start() as second:
        first.classify("a", TEXTS[:1])
        second.classify("a", TEXTS[:2])
        second.now[0] += 5
        first.end_minute()
        second.end_minute()
        assert first.values("a", "requests") == [(1, 1), (1, 2)]
        assert len({run.origin.item for run in first.registry.runs(serving=True) if run.origin}) == 2


def test_answers_go_on_while_the_database_is_locked(
    start: Start, registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backends, "BUSY_SECONDS", 0.01)
    caplog.set_level(logging.WARNING)
    with start() as recorded:
        recorded.classify("a", TEXTS[:1])
        with registry.database.writing():
            recorded.end_minute()
            assert recorded.classify("a", TEXTS[:2]).status_code == 200
            recorded.end_minute()
        recorded.end_minute()
        assert recorded.values("a", "requests") == [(1, 1), (2, 2)]
        said = [record.getMessage() for record in caplog.records if "this server answers" in record.getMessage()]
        assert len(said) == 2
        assert said[0].startswith("what this server answers cannot be recorded, and is kept until it can:")
        assert said[1] == "what this server answers is recorded again; 0 points were dropped"


def test_a_registry_that_cannot_be_written_is_told_of_once(
    start: Start, registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    asked = threading.Event()

    def refuse() -> None:
        asked.set()
        raise ReadOnlyError("the database cannot be written")

    monkeypatch.setattr(registry.database, "check_writable", refuse)
    with start() as recorded:
        assert asked.wait(60)
        assert recorded.classify("a", TEXTS[:1]).status_code == 200
    said = [record.getMessage() for record in caplog.records if "this server answers" in record.getMessage()]
    assert said == ["what this server answers is not recorded: the database cannot be written"]
    assert registry.runs(serving=True).total == 0


def test_a_task_of_many_labels_has_no_share_of_each(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "MOST_LABELS", 1)
    with start() as recorded:
        recorded.classify("a", TEXTS)
        recorded.end_minute()
        names = {summary.key for summary in recorded.registry.summaries("a")}
        assert "serving/confidence" in names
        assert not any("label" in name for name in names)
