"""What a server counts of each version that it answers with: requests, latencies, and what was predicted."""

import math
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pointsman.registry import Ref

from ..switching.execute.predictions import Prediction
from ..switching.execute.requests import Request
from ..web.calls import Call

MOST_LABELS: Final = 100
"""Labels of a task whose shares are counted; of a task with more, none is."""

_REFUSED: Final = 429
_FAILED: Final = 500
_BUCKET: Final = math.log(1.02)
_SHORTEST: Final = 1e-6
_UNFIT: Final = re.compile(r"[^A-Za-z0-9_.-]")


class Latencies:
    """Seconds in buckets of which each is 2 % longer than the one before: any number of them takes little memory.

    Examples:
        >>> latencies = Latencies()
        >>> latencies.add(0.25)
        >>> latencies.quantile(0.99)
        0.25
    """

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._count, self._sum, self._longest = 0, 0.0, 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._buckets[math.ceil(math.log(max(seconds, _SHORTEST)) / _BUCKET)] += 1
        self._count += 1
        self._sum += seconds
        self._longest = max(self._longest, seconds)

    @property
    def mean(self) -> float:
        """Their mean; NaN of none."""
        return self._sum / self._count if self._count else math.nan

    def quantile(self, share: float) -> float:
        """The seconds within which this share of them were, at most 2 % above; NaN of none."""
        left = max(1, math.ceil(share * self._count))
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return min(math.exp(bucket * _BUCKET), self._longest)
        return math.nan


@dataclass(eq=False)
class _Answers:
    """What one version answered in an interval."""

    labels: tuple[str, ...] = ()
    rows: int = 0
    failures: int = 0
    predicted: Counter[str] = field(default_factory=Counter)
    scores: float = 0.0
    least: float = math.inf
    greatest: float = -math.inf
    latencies: Latencies = field(default_factory=Latencies)
    waits: Latencies = field(default_factory=Latencies)

    def add(self, labels: tuple[str, ...], prediction: Prediction) -> None:
        """Count a prediction."""
        self.labels = labels
        self.rows += 1
        self.scores += prediction.score
        if prediction.label is not None:
            self.predicted[prediction.label] += 1
            return
        self.least, self.greatest = min(self.least, prediction.score), max(self.greatest, prediction.score)

    def metrics(self) -> dict[str, float]:
        """By name, as a serving run has them."""
        found: dict[str, float] = {"serving/requests": self.rows, "serving/failures": self.failures}
        if not self.rows:
            return found
        found["serving/latency/mean"] = self.latencies.mean
        found["serving/latency/p50"] = self.latencies.quantile(0.5)
        found["serving/latency/p99"] = self.latencies.quantile(0.99)
        found["serving/queue"] = self.waits.mean
        if not self.labels:
            found["serving/score/mean"] = self.scores / self.rows
            found["serving/score/min"], found["serving/score/max"] = self.least, self.greatest
            return found
        found["serving/confidence"] = self.scores / self.rows
        if len(self.labels) <= MOST_LABELS:
            for place, label in enumerate(self.labels):
                found[f"serving/label/{_metric_part(label, place)}"] = self.predicted[label] / self.rows
        return found


class _Answered(NamedTuple):
    """What a call is answered."""

    requests: Sequence[Request]
    predictions: Sequence[Any]
    waited: float


class Figures:
    """Counts of what versions answer, from one ``take`` to the next.

    A version counts where it answers alone: what a composition of several answers is no version's.

    Examples:
        >>> figures = Figures()
        >>> figures.answered(call, requests, predictions, waited=0.002)
        >>> figures.call_ended(call)
        >>> figures.take()
        {'sst2@3': {'serving/requests': 2, 'serving/failures': 0, 'serving/latency/mean': 0.012, …}}
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: dict[str, _Answers] = {}
        self._answered: dict[Call, _Answered] = {}
        self._is_counting = True

    def stop(self) -> None:
        """Count nothing from now on: nobody takes it."""
        self._is_counting = False

    def answered(self, call: Call, requests: Sequence[Request], predictions: Sequence[Any], *, waited: float) -> None:
        """Note what was predicted, which counts once the call has ended well.

        Args:
            call: The call.
            requests: Its requests.
            predictions: The prediction of each; of a parallel one, a tuple of them.
            waited: The seconds that it waited for its batch.
        """
        self._answered[call] = _Answered(requests, predictions, waited)

    def call_ended(self, call: Call) -> None:
        """Count what a call was answered; or that the server failed at it, or had no room."""
        answered = self._answered.pop(call, None)
        if not self._is_counting:
            return
        if call.status == _REFUSED or call.status >= _FAILED:
            with self._lock:
                for blocks, rows in call.rows.items():
                    if not is_composition(blocks):
                        self._of(blocks).failures += rows
        elif answered is not None:
            with self._lock:
                for ref in self._count(answered):
                    answers = self._of(ref)
                    answers.latencies.add(call.seconds)
                    answers.waits.add(answered.waited)

    def _count(self, answered: _Answered) -> set[str]:
        """Count predictions, and return the versions that made them."""
        refs = set()
        for request, prediction in zip(answered.requests, answered.predictions, strict=True):
            each: Sequence[Prediction] = prediction if request.is_parallel else (prediction,)
            for route, one in zip(request.routes, each, strict=True):
                if isinstance(route.composition, Ref):
                    ref = str(route.composition)
                    refs.add(ref)
                    self._of(ref).add(route.task.labels, one)
        return refs

    def take(self) -> Mapping[str, dict[str, float]]:
        """The metrics since the last time, by ref; of the versions that were called."""
        with self._lock:
            answers, self._versions = self._versions, {}
        return {ref: each.metrics() for ref, each in answers.items()}

    def _of(self, ref: str) -> _Answers:
        answers = self._versions.get(ref)
        if answers is None:
            answers = self._versions[ref] = _Answers()
        return answers


def is_composition(blocks: str) -> bool:
    """Whether what answers is a composition of versions, as text, and no version."""
    return "(" in blocks


def _metric_part(label: str, place: int) -> str:
    """A label as a part of a metric's name, which has fewer characters."""
    fit = _UNFIT.sub("_", label)[:100]
    return fit if fit and fit == label else f"{fit}.{place}"
