"""The server's metrics, for Prometheus; names are those of text-embeddings-inference (TEI) where it has the same."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ..switching.status import Status
from ..web.calls import Call
from .batching import BatchObserver
from .figures import is_composition

MAX_VERSIONS: Final = 100
"""Versions with a count of rows of their own; those that come later share the label ``other``."""

_SECONDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    float("inf"),
)
_INPUTS: Final = (*(2.0**power for power in range(12)), float("inf"))
_TOKENS: Final = (*(2.0**power for power in range(4, 17)), float("inf"))


class Metrics(BatchObserver):
    """The metrics of one server, in a registry of their own.

    Args:
        status: What is in memory, read at each scrape.
        waiting: How many inputs wait, read at each scrape.
    """

    def __init__(self, *, status: Callable[[], Status], waiting: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_State(status, waiting))
        self._calls = Counter("te_request_count", "Calls that ended.", ["path", "status"], registry=self._registry)
        self._call_seconds = Histogram(
            "te_request_duration", "Seconds of a call.", ["path"], buckets=_SECONDS, registry=self._registry
        )
        self._queue_seconds = Histogram(
            "te_request_queue_duration",
            "Seconds that a call waited for its batch.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._inference_seconds = Histogram(
            "te_request_inference_duration",
            "Seconds in which a call's batch was computed.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batch_inputs = Histogram(
            "te_batch_next_size", "Inputs of a batch.", buckets=_INPUTS, registry=self._registry
        )
        self._batch_tokens = Histogram(
            "te_batch_next_tokens", "Tokens of a batch, by an estimate.", buckets=_TOKENS, registry=self._registry
        )
        self._rows = Counter(
            "pointsman_rows",
            f"Answers by version, of compositions as 'composition', and after {MAX_VERSIONS} versions as 'other'.",
            ["version"],
            registry=self._registry,
        )
        self._versions: set[str] = set()

    def call_ended(self, call: Call) -> None:
        """Count a call, and its rows if they were answered."""
        self._calls.labels(call.route, str(call.status)).inc()
        self._call_seconds.labels(call.route).observe(call.seconds)
        if call.status == 200:
            for version, rows in call.rows.items():
                self._rows.labels(self._label(version)).inc(rows)

    def taken(self, waits: Sequence[float], *, inputs: int, tokens: int) -> None:
        """Observe how long the calls of a batch have waited, and its size."""
        for seconds in waits:
            self._queue_seconds.observe(seconds)
        self._batch_inputs.observe(inputs)
        self._batch_tokens.observe(tokens)

    def computed(self, calls: int, *, seconds: float) -> None:
        """Observe how long calls were computed."""
        for _ in range(calls):
            self._inference_seconds.observe(seconds)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format, whose media type is ``prometheus_client.CONTENT_TYPE_LATEST``."""
        return generate_latest(self._registry)

    def _label(self, version: str) -> str:
        if is_composition(version):  # callers can name any number of them
            return "composition"
        if len(self._versions) < MAX_VERSIONS:
            self._versions.add(version)
        return version if version in self._versions else "other"


class _State(Collector):
    """What a scrape reads rather than counts."""

    def __init__(self, status: Callable[[], Status], waiting: Callable[[], int]) -> None:
        self._status, self._waiting = status, waiting

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        status = self._status()
        yield GaugeMetricFamily("te_queue_size", "Inputs that wait.", value=self._waiting())
        yield GaugeMetricFamily("pointsman_loaded_adapters", "Versions in memory.", value=len(status.versions))
        yield CounterMetricFamily("pointsman_adapter_loads", "Versions loaded so far.", value=status.loads)
        yield CounterMetricFamily("pointsman_adapter_evictions", "Versions evicted so far.", value=status.evictions)
