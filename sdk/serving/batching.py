"""Continuous batching: the calls of many callers wait in one bounded queue, and are computed together.

While nothing is computed, a call begins at once. What arrives meanwhile makes up the next batch, whatever adapters it
names. So the batches are as large as the load, and no call waits for others to come.
"""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from pointsman.registry.errors import OverloadedError, PointsmanError

from ..switching.execute.requests import Request

Answer = Callable[[Sequence[Request]], list[Any]]
"""From requests to their predictions, in their order."""

_LETTERS_OF_A_TOKEN: Final = 4
"""In English, on average. A batch is cut by this estimate: calls are tokenised only where they are computed."""


class BatchObserver:
    """Is told of each batch, in the batches' thread; this one ignores it."""

    def taken(self, waits: Sequence[float], *, inputs: int, tokens: int) -> None:
        """A batch begins: the seconds that each of its calls has waited, and its size."""

    def computed(self, calls: int, *, seconds: float) -> None:
        """So many calls were computed together in so many seconds, and are answered now."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Call:
    requests: Sequence[Request]
    tokens: int
    since: float
    begun: Callable[[float], None]
    answers: Future[list[Any]] = field(default_factory=Future)


class Batcher:
    """Computes calls together, in one thread of its own.

    Args:
        answer: Computes requests.
        max_batch_tokens: The tokens of a batch at most, by an estimate; a call of more is a batch of its own.
        max_wait: The seconds at most that a batch waits for the callers of the last one, who may call again.
        max_queue: The inputs that wait at most. A call is accepted into an empty queue whatever its size.
        observer: Is told of each batch.

    Examples:
        >>> batcher = Batcher(switcher.answer, max_batch_tokens=16384, max_wait=0.005, max_queue=1024)
        >>> batcher.submit(switcher.prepare("sst2", ["a gripping film"])).result()
        [Prediction(label='positive', score=0.98, probabilities={'negative': 0.02, 'positive': 0.98})]
        >>> batcher.close()
    """

    def __init__(
        self,
        answer: Answer,
        *,
        max_batch_tokens: int,
        max_wait: float,
        max_queue: int,
        observer: BatchObserver | None = None,
    ) -> None:
        self._answer = answer
        self._observer = observer or BatchObserver()
        self._max_batch_tokens = max_batch_tokens
        self._max_wait = max_wait
        self._max_queue = max_queue
        self._calls: deque[_Call] = deque()
        self._waiting = 0
        self._computing = 0
        self._last = 0  # the calls of the last batch
        self._closing = False
        self._changed = threading.Condition()  # over the five above
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The inputs that wait."""
        return self._waiting

    @property
    def computing(self) -> int:
        """The inputs of the batch that is computed."""
        return self._computing

    def submit(
        self, requests: Sequence[Request], *, begun: Callable[[float], None] = lambda _: None
    ) -> "Future[list[Any]]":
        """Let requests wait for the next batch.

        Args:
            requests: The requests of one call.
            begun: Is told the seconds that they waited, in the batches' thread.

        Returns:
            Their predictions, later. Cancelled before its batch begins, a call gives its place back.

        Raises:
            OverloadedError: The queue is full, or closed.
        """
        call = _Call(requests=requests, tokens=_tokens(requests), since=time.perf_counter(), begun=begun)
        with self._changed:
            if self._closing:
                raise OverloadedError("the server is shutting down and takes no more calls")
            if self._waiting and self._waiting + len(requests) > self._max_queue:
                raise OverloadedError(
                    f"{self._waiting} inputs wait, and the queue holds {self._max_queue}: try again in a moment"
                )
            self._calls.append(call)
            self._waiting += len(requests)
            self._changed.notify_all()
        call.answers.add_done_callback(lambda answers: self._give_back(call) if answers.cancelled() else None)
        return call.answers

    def close(self) -> None:
        """Accept no more calls, answer those that wait, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            if batch:
                now = time.perf_counter()
                waits = [now - call.since for call in batch]
                for call, waited in zip(batch, waits, strict=True):
                    call.begun(waited)
                self._observer.taken(
                    waits,
                    inputs=sum(len(call.requests) for call in batch),
                    tokens=sum(call.tokens for call in batch),
                )
                self._compute(batch)
                self._computing = 0

    def _next(self) -> list[_Call] | None:
        """The calls of the next batch, once there is one; None: it is closed, and nothing waits.

        Callers that were answered together tend to call again together. Without a wait, the first of them would be
        computed alone, and the others would wait for it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._calls or self._closing)
            if not self._calls:
                return None
            self._changed.wait_for(lambda: len(self._calls) >= self._last or self._closing, self._max_wait)
            batch: list[_Call] = []
            tokens = 0
            while self._calls:
                tokens += self._calls[0].tokens
                if batch and tokens > self._max_batch_tokens:
                    break
                call = self._calls.popleft()
                if call.answers.set_running_or_notify_cancel():  # else its place has been given back
                    batch.append(call)
                    self._waiting -= len(call.requests)
            self._computing = sum(len(call.requests) for call in batch)
            self._last = len(batch)
            return batch

    def _compute(self, batch: Sequence[_Call]) -> None:
        """Answer calls together; if that fails, half and half, so that an error reaches only its own call."""
        start = time.perf_counter()
        try:
            if len(batch) > 1:
                answers = self._answer([request for call in batch for request in call.requests])
            else:
                answers = self._answer_in_parts(batch[0].requests)
        except Exception as error:
            if len(batch) == 1:
                batch[0].answers.set_exception(error)
                return
            middle = len(batch) // 2
            self._compute(batch[:middle])
            self._compute(batch[middle:])
            return
        self._observer.computed(len(batch), seconds=time.perf_counter() - start)
        rest = iter(answers)
        for call in batch:
            call.answers.set_result(list(itertools.islice(rest, len(call.requests))))

    def _answer_in_parts(self, requests: Sequence[Request]) -> list[Any]:
        """Answer requests together, or half and half: they may need more adapters than fit into memory at once.

        Raises:
            PointsmanError: One of them has no answer.
        """
        try:
            return self._answer(requests)
        except PointsmanError:
            if len(requests) == 1:
                raise
        middle = len(requests) // 2
        return [*self._answer_in_parts(requests[:middle]), *self._answer_in_parts(requests[middle:])]

    def _give_back(self, call: _Call) -> None:
        """The place of a call that was cancelled while it waited."""
        with self._changed:
            self._waiting -= len(call.requests)


def _tokens(requests: Sequence[Request]) -> int:
    """An estimate of the tokens of requests, for every route that they take."""
    total = 0
    for request in requests:
        letters = len(request.text) if isinstance(request.text, str) else sum(map(len, request.text))
        total += sum(min(route.max_length, letters // _LETTERS_OF_A_TOKEN + 2) for route in request.routes)
    return total
