"""Metrics: what a run logged, and a metric from version to version."""

from functools import partial
from typing import Any, Final

from pointsman.registry import Registry
from pointsman.registry.errors import MetricNotFoundError, unknown
from pointsman.registry.refs import check_metric

from ...web.endpoints import Endpoint
from ..calls import GREATEST, ApiCall, reading

MAX_POINTS: Final = 5_000
"""Points of a history at most: more than a screen has columns."""


def endpoints(registry: Registry) -> list[Endpoint]:
    """The endpoints over a registry."""
    return [
        reading("/api/summaries", partial(_summaries, registry), "of"),
        reading("/api/history", partial(_history, registry), "of", "metric", "first", "last", "points"),
        reading("/api/across/{name}", partial(_across, registry), "metric"),
    ]


def _summaries(registry: Registry, call: ApiCall) -> dict[str, Any]:
    return {"metrics": registry.summaries(call.query.required_text("of"))}


def _history(registry: Registry, call: ApiCall) -> dict[str, Any]:
    query = call.query
    of, metric = query.required_text("of"), check_metric(query.required_text("metric"))
    uid, ref = _run_of(registry, of)
    points = registry.history(
        f"run:{uid}",
        metric,
        first_step=query.whole("first", low=0, high=GREATEST),
        last_step=query.whole("last", low=0, high=GREATEST),
        max_points=query.whole("points", low=8, high=MAX_POINTS) or 1_000,
    )
    summaries = {summary.key: summary for summary in registry.summaries(f"run:{uid}")}
    if (summary := summaries.get(metric)) is None:  # another process has taken the run up, and cut it off before
        raise unknown(MetricNotFoundError, "metric", metric, summaries)
    return {
        "of": of,
        "metric": metric,
        "version": ref,
        "run": uid,
        "total": summary.count,
        "first_step": summary.first_step,
        "last_step": summary.last_step,
        "steps": [point.step for point in points],
        "values": [point.value for point in points],
        "times": [point.wall_time for point in points],
    }


def _run_of(registry: Registry, of: str) -> tuple[str, str | None]:
    """The uid of a run, and the version that it made, from ``run:UID`` or a version's ref."""
    if of.startswith("run:"):
        run = registry.run(of.removeprefix("run:"))
        return run.uid, run.version
    version = registry.version(of)
    if version.run is None:
        raise MetricNotFoundError(f"{version.ref} was made by no run, so it has no metric history")
    return version.run, version.ref


def _across(registry: Registry, call: ApiCall) -> dict[str, Any]:
    name = call.path["name"]
    names = registry.metric_names(name)
    metric = call.query.text("metric") or _usual_metric(registry, name, names)
    return {"name": name, "metric": metric, "metrics": names, "items": registry.version_history(name, metric)}


def _usual_metric(registry: Registry, name: str, names: list[str]) -> str:
    """The primary metric of the newest version that has a score; else the first one that any has.

    Raises:
        MetricNotFoundError: No version has a metric.
    """
    scored = registry.versions("score is not null", name=name, sort="created", limit=1).items
    if scored and scored[0].primary_metric in names:
        return str(scored[0].primary_metric)
    if not names:
        raise MetricNotFoundError(f"no version of {name} has a metric")
    return names[0]
