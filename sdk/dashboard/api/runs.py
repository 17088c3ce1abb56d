"""Runs: the list, and one in full."""

from functools import partial
from typing import Any

from pointsman.registry import Registry
from pointsman.registry.refs import check_name

from ...details.fields import Field, setting_fields
from ...details.runs import data_rows, environment_rows
from ...details.texts import Row
from ...web.endpoints import Endpoint
from ..calls import PAGE, ApiCall, reading
from ..records import runs_json


def endpoints(registry: Registry) -> list[Endpoint]:
    """The endpoints over a registry."""
    return [
        reading("/api/runs", partial(_list, registry), "where", "adapter", *PAGE),
        reading("/api/runs/{uid}", partial(_run, registry)),
    ]


def _list(registry: Registry, call: ApiCall) -> dict[str, Any]:
    limit, offset = call.query.page()
    adapter = call.query.text("adapter")
    page = registry.runs(
        call.query.text("where"),
        adapter=None if adapter is None else check_name(adapter),
        limit=limit,
        offset=offset,
    )
    return {
        "items": runs_json(registry, page.items),
        "total": page.total,
        "offset": page.offset,
        "damaged": page.damaged,
    }


def _run(registry: Registry, call: ApiCall) -> dict[str, Any]:
    run = registry.run(call.path["uid"])
    (short,) = runs_json(registry, [run])
    return {
        **short,
        "settings": [_setting(field) for field in setting_fields(run)],
        "data": _pairs(data_rows(run, every=True)),
        "environment": _pairs(environment_rows(run, every=True)),
        "metrics": registry.summaries(f"run:{run.uid}"),
    }


def _setting(field: Field) -> dict[str, Any]:
    return {
        "name": field.name,
        "value": field.value,
        "default": field.default if field.has_default else None,
        "requested": field.chosen,
    }


def _pairs(rows: list[Row]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in rows]
