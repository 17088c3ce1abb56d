"""Studies: the trials of a hyperparameter search, read from the registry, which is their only store.

A trial is a run whose origin names the study and the trial's number. The origin's details hold the trial's parameters,
and what defines the study: its space, and the settings and fields that all trials share.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from pointsman.registry import Base, MetricPoint, Origin, Registry, Run, RunStatus, Version, quote
from pointsman.registry.errors import Action, Advice, ConflictError, MetricNotFoundError, SettingsError

from ..core.same_base import describe_base
from .space import Value

MAX_NAME_LENGTH: Final = 128
TRIAL: Final = "trial"
"""The kind of a trial's origin."""
_DETAILS: Final = {"params", "space", "fixed"}


class TrialState(StrEnum):
    """The state of a trial."""

    NEW = "new"
    """Proposed, and not started yet."""
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self not in (TrialState.NEW, TrialState.RUNNING, TrialState.INTERRUPTED)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of a search."""

    number: int
    params: Mapping[str, Value]
    state: TrialState = TrialState.NEW
    score: float | None = None
    """The best value of the primary metric; greater is better."""
    run: str | None = None
    """The uid of its run."""
    ref: str | None = None
    """The version that it made, unless that was removed."""
    error: str | None = None
    """Why it made no version."""
    points: Sequence[MetricPoint] = field(default=(), repr=False)
    """The history of the primary metric."""


@dataclass(frozen=True, kw_only=True)
class StudyDefinition:
    """What all trials of a study have in common, as JSON."""

    base: Base
    data: str
    """The fingerprint of the rows."""
    data_source: str
    """Where the rows came from, for people."""
    named: Mapping[str, Any]
    """Task, method and adapter."""
    space: Mapping[str, str]
    """Every dimension as text."""
    fixed: Mapping[str, Any]
    """Settings, and fields of the method's configuration."""
    measured: Mapping[str, Any] = field(default_factory=dict)
    """The requested primary metric and positive class."""

    def origin(self, study: str, trial: Trial) -> Origin:
        """The origin of a trial's run."""
        details = {"params": dict(trial.params), "space": self.space, "fixed": self.fixed}
        return Origin(kind=TRIAL, name=study, item=str(trial.number), details=details)

    def differences(self, run: Run) -> list[str]:
        """What differs between a recorded trial and this definition, for people."""
        details = _details(run)
        differences = []
        if run.data.get("fingerprint") != self.data:
            differences.append(f"data: {run.data.get('source')} in the study, other rows from {self.data_source} now")
        if not run.base.is_same(self.base):
            differences.append(f"base: {describe_base(run.base)} in the study, {describe_base(self.base)} now")
        compared = (
            *_pairs({"task": run.task, "method": run.method, "adapter": run.adapter}, self.named),
            *((f"space of {name}", *values) for name, *values in _pairs(details["space"], self.space)),
            *_pairs(details["fixed"], self.fixed),
            *((name, (run.data.get("given") or {}).get(name), value) for name, value in self.measured.items()),
        )
        differences += [
            f"{name}: {_format(recorded)} in the study, {_format(requested)} now"
            for name, recorded, requested in compared
            if recorded != requested
        ]
        return differences


class Study:
    """The trials of a search; every call reads them from the registry.

    Args:
        registry: Where they are recorded.
        name: The study's name.
        adapter: The adapter that completed trials make versions of.
        metric: The primary metric.

    Raises:
        SettingsError: The name is empty, too long, or not printable.
    """

    def __init__(self, registry: Registry, name: str, *, adapter: str, metric: str) -> None:
        if not name.strip() or not name.isprintable() or len(name) > MAX_NAME_LENGTH:
            raise SettingsError(f"a study's name must have 1 to {MAX_NAME_LENGTH} printable characters; found {name!a}")
        self.name = name
        self._registry = registry
        self._adapter = adapter
        self._metric = metric
        self._ended: dict[str, Sequence[MetricPoint]] = {}
        """Histories that no longer change, by the run's uid."""

    def check(self, definition: StudyDefinition) -> None:
        """Refuse to continue a study that was started with another definition.

        Raises:
            ConflictError: A recorded trial differs; the message says in what.
        """
        # Runs of all adapters, since the adapter is a part of the definition.
        for run in self._runs(adapter=None):
            if differences := definition.differences(run):
                raise ConflictError(
                    f"the study '{self.name}' was started with another definition, so its trials cannot be compared: "
                    f"{'; '.join(differences)}",
                    advice=Advice(Action.SET_ARGUMENTS, {"study": None}),
                )

    def trials(self) -> list[Trial]:
        """All trials by number."""
        versions = {version.run: version for version in self._registry.versions(name=self._adapter)}
        trials = [self._trial(run, versions.get(run.uid)) for run in self._runs(adapter=self._adapter)]
        return sorted(trials, key=lambda trial: trial.number)

    def _runs(self, *, adapter: str | None) -> list[Run]:
        query = f"origin.kind = {TRIAL} and origin.name = {quote(self.name)}"
        return [run for run in self._registry.runs(query, adapter=adapter).whole() if _details(run).keys() >= _DETAILS]

    def _trial(self, run: Run, version: Version | None) -> Trial:
        assert run.origin is not None, "the query asks for runs with an origin"
        state = _state(run)
        points = self._ended[run.uid] if run.uid in self._ended else self._history(run.uid)
        if state.ended:
            self._ended[run.uid] = points
        best = max((point.value for point in points if not math.isnan(point.value)), default=None)
        return Trial(
            number=int(run.origin.item),
            params=run.origin.details["params"],
            state=state,
            score=best if version is None else version.score,
            run=run.uid,
            ref=None if version is None else version.ref,
            error=run.error,
            points=points,
        )

    def _history(self, uid: str) -> Sequence[MetricPoint]:
        try:
            return self._registry.history(f"run:{uid}", self._metric)
        except MetricNotFoundError:  # it ended before its first evaluation
            return ()


def _state(run: Run) -> TrialState:
    # A process that was killed after it registered the version has nothing left to do.
    if run.version is not None and run.status != RunStatus.RUNNING:
        return TrialState.COMPLETE
    if run.status == RunStatus.FINISHED:
        return TrialState.COMPLETE  # its version was removed
    return TrialState(run.status)


def _details(run: Run) -> Mapping[str, Any]:
    return run.origin.details if run.origin else {}


def _pairs(recorded: Mapping[str, Any], requested: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, recorded.get(name), requested.get(name)) for name in dict.fromkeys([*recorded, *requested])]


def _format(value: Any) -> str:
    return "not set" if value is None else str(value)
