"""Studies: the trials of a hyperparameter search as the registry has them. There is no other memory of them.

A trial is a run whose ``origin`` names the study, the trial's number and its parameters, and what the whole study is:
its space and what is fixed in it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from pointsman.registry import Base, MetricPoint, Registry, Run, RunStatus, Version
from pointsman.registry.errors import ConflictError, MetricNotFoundError, SettingsError

from ..core.same_base import describe_base
from .space import Value

_LONGEST_NAME: Final = 128
_KEYS: Final = {"study", "trial", "params", "space", "fixed"}


class TrialState(StrEnum):
    """How a trial stands."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self not in (TrialState.RUNNING, TrialState.INTERRUPTED)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of a search."""

    number: int
    params: Mapping[str, Value]
    state: TrialState = TrialState.RUNNING
    score: float | None = None
    """The best value of the primary metric; greater is better."""
    run: str | None = None
    """The uid of its run."""
    ref: str | None = None
    """The version it made, if that is still there."""
    error: str | None = None
    """Why there is none."""
    points: Sequence[MetricPoint] = field(default=(), repr=False)
    """The history of the primary metric."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What has to be the same in all trials of a study, by what it is called, as JSON."""

    base: Base
    data: str
    """The fingerprint of the rows."""
    data_source: str
    """Where they came from."""
    named: Mapping[str, Any]
    """Task, method, adapter."""
    space: Mapping[str, str]
    """Every dimension as text."""
    fixed: Mapping[str, Any]
    """Settings, and fields of the method's configuration."""

    def differences(self, run: Run) -> list[str]:
        """What was otherwise in a trial."""
        origin = run.settings["origin"]
        found = [
            f"{name} {_said(before)} there and {_said(now)} here"
            for name, before, now in (
                *_paired({"task": run.task, "method": run.method, "adapter": run.adapter}, self.named),
                *((f"space: {name}", *both) for name, *both in _paired(origin["space"], self.space)),
                *_paired(origin["fixed"], self.fixed),
            )
            if before != now
        ]
        if run.base.fingerprint != self.base.fingerprint:
            found.insert(0, f"base {describe_base(run.base)} there and {describe_base(self.base)} here")
        if run.data.get("fingerprint") != self.data:
            found.insert(0, f"data from {run.data.get('source')} there and other rows here, from {self.data_source}")
        return found


class Study:
    """A search's trials, read anew whenever they are asked for.

    Args:
        registry: Where they are recorded.
        name: The study's.
        adapter: The adapter whose versions they make.
        metric: The primary metric.

    Raises:
        SettingsError: The name cannot be one.
    """

    def __init__(self, registry: Registry, name: str, *, adapter: str, metric: str) -> None:
        if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
            raise SettingsError(
                f"a study's name has to be of 1 to {_LONGEST_NAME} characters that can be printed; found {name!a}"
            )
        self.name = name
        self._registry = registry
        self._adapter = adapter
        self._metric = metric
        self._ended: dict[str, Sequence[MetricPoint]] = {}
        """Histories that will not change."""

    def check(self, identity: Identity) -> None:
        """Refuse to go on with a study that is of something else.

        Raises:
            ConflictError: What is different in the trials there are.
        """
        # Of all adapters: the one that its versions go to is a part of what it is.
        for run in self._runs(None):
            if different := identity.differences(run):
                raise ConflictError(
                    f"the study '{self.name}' is of something else, and its trials could not be compared: "
                    f"{'; '.join(different)}. Ask for the same, or begin another study (--study NAME)"
                )

    def trials(self) -> list[Trial]:
        """All trials by number."""
        versions = {version.run: version for version in self._registry.versions(name=self._adapter)}
        trials = [self._trial(run, versions.get(run.uid)) for run in reversed(self._runs(self._adapter))]
        return sorted(trials, key=lambda trial: trial.number)

    def _runs(self, adapter: str | None) -> list[Run]:
        return [run for run in self._registry.runs(adapter=adapter) if _is_of(run, self.name)]

    def _trial(self, run: Run, version: Version | None) -> Trial:
        origin, state = run.settings["origin"], _state(run)
        points = self._ended[run.uid] if run.uid in self._ended else self._history(run.uid)
        if state.ended:
            self._ended[run.uid] = points
        reached = max((point.value for point in points if not math.isnan(point.value)), default=None)
        return Trial(
            number=origin["trial"],
            params=origin["params"],
            state=state,
            score=reached if version is None else version.score,
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
    # One that was killed after its version was there has nothing left to do.
    if run.version is not None and run.status != RunStatus.RUNNING:
        return TrialState.COMPLETE
    if run.status == RunStatus.FINISHED:
        # Without a version it was pruned, which is its error, or the version was removed since.
        return TrialState.COMPLETE if run.error is None else TrialState.PRUNED
    return TrialState(run.status)


def _is_of(run: Run, study: str) -> bool:
    origin = run.settings.get("origin")
    return isinstance(origin, Mapping) and origin.get("study") == study and origin.keys() >= _KEYS


def _paired(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, before.get(name), now.get(name)) for name in dict.fromkeys([*before, *now])]


def _said(value: Any) -> str:
    return "not set" if value is None else str(value)
