"""The tables of GLUE benchmarks."""

from functools import partial
from typing import Any

from pointsman.registry import Registry

from ...benchmark.cells import glue_results, recorded_benchmarks
from ...benchmark.score import Row
from ...details.texts import short_base
from ...tasks import SYNTHETIC
from ...web.endpoints import Endpoint
from ..calls import ApiCall, reading


def endpoints(registry: Registry) -> list[Endpoint]:
    """The endpoints over a registry."""
    return [reading("/api/glue", partial(_table, registry), "name")]


def _table(registry: Registry, call: ApiCall) -> dict[str, Any]:
    benchmarks = recorded_benchmarks(registry)
    listed = [{"name": name, "sample": SYNTHETIC in sources} for name, sources in benchmarks.items()]
    name = call.query.text("name") or next(iter(benchmarks), None)
    if name is None:
        return {"benchmarks": listed, "name": None, "tasks": [], "rows": []}
    results = glue_results(registry=registry, name=name)
    base = None if results.base is None else short_base(results.base.name)
    return {
        "benchmarks": listed,
        "name": name,
        "tasks": results.tasks,
        "rows": [_row(row, results.tasks, base, len(results.seeds)) for row in results.rows()],
    }


def _row(row: Row, tasks: tuple[str, ...], base: str | None, seeds: int) -> dict[str, Any]:
    return {
        "method": row.method,
        "base": base,
        "seeds": seeds,
        "average": None if row.average is None else row.average.mean,
        "scores": {task: row.scores[task].mean if task in row.scores else None for task in tasks},
        "spread": {task: row.scores[task].std if task in row.scores else None for task in tasks},
    }
