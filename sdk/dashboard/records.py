"""Versions and runs of the registry as the JSON objects of the API."""

from collections.abc import Mapping, Sequence
from typing import Any

from pointsman.registry import MetricSummary, Registry, Run, RunStatus, Version
from pointsman.registry.errors import DamagedRowError, NotFoundError

from ..details.progress import run_progress
from ..details.texts import short_base


def version_json(version: Version) -> dict[str, Any]:
    """A version as lists have it."""
    return {
        "ref": version.ref,
        "name": version.name,
        "number": version.number,
        "task": version.task["name"],
        "kind": version.kind,
        "method": version.method,
        "base": {"name": short_base(version.base.name), "fingerprint": version.base.fingerprint},
        "parameters": version.parameters,
        "size": version.size,
        "primary_metric": version.primary_metric,
        "score": version.score,
        "metrics": version.metrics,
        "aliases": version.aliases,
        "tags": version.tags,
        "note": version.note,
        "created_at": version.created_at,
        "run": version.run,
    }


def runs_json(registry: Registry, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Runs as lists have them, with their last metrics, and how far those are that have not finished.

    Args:
        registry: Where their metrics are.
        runs: The runs.
    """
    logged = registry.summaries_by_run(run.uid for run in runs)
    return [_run(registry, run, logged.get(run.uid, [])) for run in runs]


def _run(registry: Registry, run: Run, logged: Sequence[MetricSummary]) -> dict[str, Any]:
    return {
        "uid": run.uid,
        "adapter": run.adapter,
        "task": run.task,
        "method": run.method,
        "base": short_base(run.base.name),
        "status": run.status,
        "error": run.error,
        "version": run.version,
        "seed": run.seed,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "heartbeat_at": run.heartbeat_at,
        "seconds": run.seconds,
        "origin": None if run.origin is None else str(run.origin),
        "progress": _progress(registry, run, logged),
        "last": {summary.key: summary.last for summary in logged},
    }


def _progress(registry: Registry, run: Run, logged: Sequence[MetricSummary]) -> Mapping[str, Any] | None:
    """How far a run is; None for a run that has finished, or did not record the number of its steps."""
    progress = None if run.status is RunStatus.FINISHED else run_progress(registry, run, logged)
    if progress is None:
        return None
    return {
        "step": progress.step,
        "steps": progress.steps,
        "fraction": progress.fraction,
        "seconds_left": progress.seconds_left,
    }


def run_of(registry: Registry, version: Version) -> Run | None:
    """The run that made a version; None if none did, or its row is lost or damaged, as ``verify`` tells."""
    try:
        return None if version.run is None else registry.run(version.run)
    except (NotFoundError, DamagedRowError):
        return None
