"""The frozen records that the registry returns; database rows never leave it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Generic, NamedTuple, TypeVar, overload

from .errors import Action, Advice, DamagedRowError

_T = TypeVar("_T")


class RunStatus(StrEnum):
    """The status of a run.

    A running run whose process is dead, or that has been silent for three minutes, counts as interrupted.
    """

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    PRUNED = "pruned"
    """Stopped on purpose because its scores were not promising; it is not resumed."""


class VersionKind(StrEnum):
    """What a version is made of."""

    ADAPTER = "adapter"
    """Weights of an adapter and its head."""
    FUSION = "fusion"
    """Weights of a fusion layer over other versions, and its head."""
    COMPOSITION = "composition"
    """No weights: a composition of other versions under a name."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """A pretrained encoder, identified by the sha256 over its weights and configuration."""

    fingerprint: str
    name: str
    model_type: str
    hidden_size: int
    layers: int
    parameters: int
    size: int
    """Bytes of all its weights in the precision they are loaded in."""
    former_fingerprint: str | None = None
    """The fingerprint that earlier releases gave the same base; None if it has none or it is unknown."""
    tokenizer: str | None = None
    """The sha256 of what determines its tokenizer's ids; None if an earlier release stored the base."""
    revision: str | None = None
    """The commit on the hub that it was loaded at; None for a directory, and for a base that the registry returns."""

    def is_same(self, other: "Base") -> bool:
        """Whether both are one base: the same weights, and the same tokenizer as far as it is known."""
        return self.has_same_weights(other) and self.has_same_tokenizer(other)

    def has_same_weights(self, other: "Base") -> bool:
        """Whether both have the same weights and architecture, by any fingerprint that they have."""
        return bool(self._fingerprints & other._fingerprints)

    def has_same_tokenizer(self, other: "Base") -> bool:
        """Whether both have the same tokenizer, or that of one is unknown."""
        return None in (self.tokenizer, other.tokenizer) or self.tokenizer == other.tokenizer

    @property
    def _fingerprints(self) -> set[str]:
        return {self.fingerprint, self.former_fingerprint or self.fingerprint}


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of a version."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a score was computed on: two scores of one metric can be compared where this is the same."""

    fingerprint: str
    """sha256 of the rows' texts and labels, in order; of a version of an earlier release, of all of its data."""
    rows: int


@dataclass(frozen=True, kw_only=True)
class Version:
    """An immutable version of an adapter."""

    name: str
    number: int
    digest: str
    """sha256 of the canonical manifest: files, configuration, task, base, parents."""
    task: Mapping[str, Any]
    kind: VersionKind
    method: str
    config: Mapping[str, Any]
    base: Base
    max_length: int
    """The number of tokens that an input is truncated to."""
    parameters: int
    """Trained parameters, head included."""
    size: int
    """Bytes of all files."""
    metrics: Mapping[str, float]
    """Scores on the validation rows, computed in float32 with the stored weights."""
    primary_metric: str | None
    score: float | None
    """The value of ``primary_metric``; greater is better."""
    files: tuple[File, ...]
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    note: str | None
    parents: tuple[str, ...]
    """The refs that its parents had when it was made."""
    run: str | None
    created_at: datetime
    evaluation: Evaluation | None = None
    """What ``score`` was computed on; None if that is unknown."""

    @property
    def ref(self) -> str:
        """The ref that always means this version: ``name@number``."""
        return f"{self.name}@{self.number}"


SERVING: Final = "serving"
"""The kind of the origin of a server's runs, which no training has."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A name with the versions under it."""

    name: str
    numbers: tuple[int, ...]
    """Those of its versions, newest first."""
    aliases: Mapping[str, int]
    """The number that each alias points to."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The larger piece of work that a run is a part of: a trial of a study, a cell of a benchmark.

    ``kind``, ``name`` and ``item`` identify the part; several runs may have tried the same one.

    Examples:
        >>> Origin(kind="trial", name="sst2-lora", item="3", details={"params": {"learning_rate": 0.001}})
        >>> Origin(kind="cell", name="glue", item="rte/seq_bn/0")
    """

    kind: str
    """``trial``, ``cell`` or ``serving``."""
    name: str
    """The name of the study or the benchmark; the ref of the version that is served."""
    item: str
    """Which part of it: a trial's number as text, ``task/method/seed``, or the server's id."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """More about it, as JSON."""

    def __str__(self) -> str:
        return f"{self.kind} {self.item} of '{self.name}'"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training, or what one server recorded of one version."""

    uid: str
    adapter: str
    task: str
    method: str
    base: Base
    settings: Mapping[str, Any]
    data: Mapping[str, Any]
    """Where the rows came from, how many, and the sha256 over their content."""
    environment: Mapping[str, Any]
    seed: int
    status: RunStatus
    error: str | None
    version: str | None
    """The ref of the version it made; None if it made none."""
    started_at: datetime
    ended_at: datetime | None
    heartbeat_at: datetime
    origin: Origin | None = None
    """The larger piece of work that it is a part of."""

    @property
    def seconds(self) -> float:
        """The time from its start to its end, or to its last sign of life; pauses included."""
        return ((self.ended_at or self.heartbeat_at) - self.started_at).total_seconds()

    @property
    def served(self) -> str | None:
        """The ref of the version that a server recorded this run of; None for a training."""
        return self.origin.name if self.origin is not None and self.origin.kind == SERVING else None


class LoggedPoint(NamedTuple):
    """One value of one metric, to be inserted."""

    key: str
    step: int
    value: float
    epoch: float | None
    wall_time: float


class MetricPoint(NamedTuple):
    """One value of one metric of one run."""

    step: int
    value: float
    epoch: float | None
    wall_time: float
    """Seconds since 1970-01-01 UTC."""


class VersionPoint(NamedTuple):
    """One version's value in the history of a metric across the versions of an adapter."""

    number: int
    value: float
    """The version's own score, or else the last value in the run that made it."""
    min: float | None
    max: float | None
    """The smallest and the largest value in the run that made it, if a run did and logged it."""
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class MetricSummary:
    """A summary of a metric's points; NaN values are counted, but min, max and mean leave them out."""

    key: str
    count: int
    nan_count: int
    first: float
    last: float
    min: float
    max: float
    mean: float
    first_step: int
    last_step: int
    min_step: int | None
    max_step: int | None


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of the append-only log: who did what, when."""

    at: datetime
    actor: str
    """The user and the machine: ann@lab3."""
    action: str
    subject: str
    """What it was done to: a version's ref, an adapter's name."""
    details: Mapping[str, Any] = field(default_factory=dict)
    damage: str | None = None
    """What of its row cannot be read, if anything; the other fields are as they were written."""


@dataclass(frozen=True, kw_only=True)
class ComparedField:
    """One field of several versions or runs side by side."""

    name: str
    values: tuple[Any, ...]
    """In the order of the refs; None if a version or run does not have the field."""

    @property
    def differs(self) -> bool:
        """Whether they do not all have the same value; two NaN are the same."""
        first, *others = (repr(value) for value in self.values)
        return any(other != first for other in others)


@dataclass(frozen=True, kw_only=True)
class Parent:
    """What a version was made from."""

    ref: str
    """Its ref in this registry; if it is not here, the ref it had when the child was made."""
    digest: str
    role: str
    present: bool
    """Whether it is in this registry."""


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """All ancestors and descendants of a version."""

    ref: str
    parents: Mapping[str, tuple[Parent, ...]]
    """By the ref of the child."""
    children: Mapping[str, tuple[str, ...]]
    """By the ref of the parent."""


@dataclass(frozen=True)
class Page(Sequence[_T], Generic[_T]):
    """Some of the items that match, in order, and the number of all of them."""

    items: tuple[_T, ...]
    total: int
    offset: int = 0
    """The number of items before the first of ``items``."""
    damaged: tuple[str, ...] = ()
    """Rows of the page that cannot be read, and are not among ``items``: what each is about, and what is wrong."""

    def whole(self) -> tuple[_T, ...]:
        """The items, for whoever decides by all of them.

        Raises:
            DamagedRowError: One was left out.
        """
        if self.damaged:
            raise DamagedRowError(self.damaged[0], advice=Advice(Action.VERIFY))
        return self.items

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> _T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[_T, ...]: ...
    def __getitem__(self, index: int | slice) -> _T | tuple[_T, ...]:
        return self.items[index]


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best version of an adapter, and those that it was not compared with."""

    version: Version
    compared: int
    """The number of versions that it is the best of, itself included; 0 if it has no score."""
    left_out: Page[Version]
    """Versions with a score of another metric or on other rows, newest first."""
