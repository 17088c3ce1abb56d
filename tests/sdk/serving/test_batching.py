"""Calls that arrive while a batch is computed make up the next one; an error reaches only its own call."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from pointsman.registry import Registry
from pointsman.registry.errors import ObjectCorruptError, OverloadedError
from pointsman.sdk import Switcher
from pointsman.sdk.serving.batching import Batcher

from helpers import TEXTS


class Gate:
    """A Switcher's answers, one batch at a time, each when it is let through."""

    def __init__(self, switcher: Switcher) -> None:
        self._switcher = switcher
        self.batches: list[int] = []
        self.began = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def __call__(self, requests: Sequence[Any]) -> list[Any]:
        self.batches.append(len(requests))
        self.began.release()
        assert self.go.acquire(timeout=60)
        return self._switcher.answer(requests)

    def let(self, batches: int) -> None:
        self.go.release(batches)


@pytest.fixture
def gate(switcher: Switcher) -> Gate:
    return Gate(switcher)


def made(gate: Gate, *, max_batch_tokens: int = 10_000, max_wait: float = 0.005, max_queue: int = 100) -> Batcher:
    return Batcher(gate, max_batch_tokens=max_batch_tokens, max_wait=max_wait, max_queue=max_queue)


def test_what_arrives_meanwhile_is_one_batch(switcher: Switcher, gate: Gate) -> None:
    batcher = made(gate)
    first = batcher.submit(switcher.prepare("a", TEXTS[:1]))
    assert gate.began.acquire(timeout=60)
    others = [batcher.submit(switcher.prepare(name, TEXTS)) for name in "abab"]
    assert batcher.waiting == 4 * len(TEXTS)
    gate.let(2)
    answers = [each.result(60) for each in (first, *others)]
    assert gate.batches == [1, 4 * len(TEXTS)]
    assert answers[0] == switcher.predict("a", TEXTS[:1])
    for name, found in zip("abab", answers[1:], strict=True):
        expected = switcher.predict(name, TEXTS)
        assert [answer.label for answer in found] == [answer.label for answer in expected]
        assert [answer.score for answer in found] == pytest.approx([answer.score for answer in expected], abs=1e-5)
    batcher.close()


def test_callers_that_were_answered_together_are_waited_for(switcher: Switcher, gate: Gate) -> None:
    batcher = made(gate, max_wait=60)
    first = batcher.submit(switcher.prepare("a", TEXTS[:1]))
    assert gate.began.acquire(timeout=60)
    together = [batcher.submit(switcher.prepare(name, TEXTS[:1])) for name in "ab"]
    gate.let(100)
    for call in (first, *together):
        call.result(60)
    for name in "ab":  # each a batch of its own, if it did not wait
        last = batcher.submit(switcher.prepare(name, TEXTS[:1]))
    last.result(30)
    assert gate.batches == [1, 2, 2]
    batcher.submit(switcher.prepare("a", TEXTS[:1]))
    batcher.close()  # which waits for no caller
    assert gate.batches == [1, 2, 2, 1]


def test_a_batch_waits_for_callers_that_have_gone_no_longer_than_it_may(switcher: Switcher, gate: Gate) -> None:
    batcher = made(gate, max_wait=0.005)
    first = batcher.submit(switcher.prepare("a", TEXTS[:1]))
    assert gate.began.acquire(timeout=60)
    together = [batcher.submit(switcher.prepare(name, TEXTS[:1])) for name in "ab"]
    gate.let(100)
    for call in (first, *together):
        call.result(60)
    assert len(batcher.submit(switcher.prepare("a", TEXTS[:1])).result(60)) == 1
    assert gate.batches == [1, 2, 1]
    batcher.close()


def test_more_adapters_than_fit_are_computed_in_parts(switcher: Switcher, gate: Gate) -> None:
    batcher = made(gate)
    first = batcher.submit(switcher.prepare("a", TEXTS[:1]))
    assert gate.began.acquire(timeout=60)
    others = {name: batcher.submit(switcher.prepare(name, TEXTS[:2])) for name in "abc"}
    gate.let(10)
    first.result(60)
    for name, answers in others.items():
        assert [answer.label for answer in answers.result(60)] == [
            answer.label for answer in switcher.predict(name, TEXTS[:2])
        ]
    assert gate.batches == [1, 6, 2, 4]
    batcher.close()


def test_a_call_of_more_adapters_than_fit_is_computed_in_parts(switcher: Switcher, gate: Gate) -> None:
    batcher = made(gate)
    rows = [(name, text) for text in TEXTS[:2] for name in "abc"]
    answers = batcher.submit([request for name, text in rows for request in switcher.prepare(name, [text])])
    gate.let(100)
    expected = [switcher.predict(name, [text])[0] for name, text in rows]
    assert [answer.label for answer in answers.result(60)] == [answer.label for answer in expected]
    assert gate.batches == [6, 3, 1, 2, 3, 1, 2]
    batcher.close()


def test_batches_are_cut_by_tokens(switcher: Switcher, gate: Gate) -> None:
    batcher = made(gate, max_batch_tokens=20)
    calls = [batcher.submit(switcher.prepare("a", ["x" * 30]))]
    assert gate.began.acquire(timeout=60)
    calls += [batcher.submit(switcher.prepare("a", ["x" * 30])) for _ in range(4)]  # nine tokens each
    calls.append(batcher.submit(switcher.prepare("a", ["x" * 400] * 3)))
    gate.let(10)
    for call in calls:
        call.result(60)
    assert gate.batches == [1, 2, 2, 3]
    batcher.close()


def test_a_full_queue_refuses_and_takes_more_once_there_is_room(switcher: Switcher, gate: Gate) -> None:
    batcher = made(gate, max_queue=3)
    first = batcher.submit(switcher.prepare("a", TEXTS[:1]))
    assert gate.began.acquire(timeout=60)
    waiting = batcher.submit(switcher.prepare("a", TEXTS[:2]))
    with pytest.raises(OverloadedError, match="2 inputs wait, and the queue holds 3"):
        batcher.submit(switcher.prepare("b", TEXTS[:2]))
    last = batcher.submit(switcher.prepare("b", TEXTS[:1]))
    assert waiting.cancel()
    assert batcher.waiting == 1
    other = batcher.submit(switcher.prepare("b", TEXTS[:2]))  # in the place of the one that was cancelled
    gate.let(2)
    assert [len(call.result(60)) for call in (first, last, other)] == [1, 1, 2]
    assert gate.batches == [1, 3]
    batcher.close()


def test_an_error_reaches_only_its_own_call(switcher: Switcher, gate: Gate, registry: Registry) -> None:
    digest = registry.version("b").files[0].sha256
    path = registry.home / "objects" / digest[:2] / digest[2:]
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    batcher = made(gate)
    first = batcher.submit(switcher.prepare("a", TEXTS[:1]))
    assert gate.began.acquire(timeout=60)
    calls = {name: batcher.submit(switcher.prepare(name, TEXTS[:1])) for name in "abc"}
    gate.let(10)
    assert len(first.result(60)) == 1
    assert len(calls["a"].result(60)) == len(calls["c"].result(60)) == 1
    with pytest.raises(ObjectCorruptError):
        calls["b"].result(60)
    batcher.close()


def test_what_waits_is_answered_when_it_is_closed(switcher: Switcher, gate: Gate) -> None:
    batcher = made(gate)
    first = batcher.submit(switcher.prepare("a", TEXTS[:1]))
    assert gate.began.acquire(timeout=60)
    waiting = batcher.submit(switcher.prepare("b", TEXTS))
    closing = threading.Thread(target=batcher.close)
    closing.start()
    gate.let(2)
    closing.join(60)
    assert (len(first.result(0)), len(waiting.result(0))) == (1, len(TEXTS))
    with pytest.raises(OverloadedError, match="shutting down"):
        batcher.submit(switcher.prepare("a", TEXTS))
