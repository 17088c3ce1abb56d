"""Versions and runs side by side."""

from functools import partial
from typing import Any, Final

from pointsman.registry import Registry

from ...web.endpoints import Endpoint
from ..calls import ApiCall, reading

_MOST: Final = 20
"""Columns of a comparison."""


def endpoints(registry: Registry) -> list[Endpoint]:
    """The endpoints over a registry."""
    return [reading("/api/compare", partial(_compare, registry), "ref", "all", repeated=("ref",))]


def _compare(registry: Registry, call: ApiCall) -> dict[str, Any]:
    refs = call.query.texts("ref", fewest=2, most=_MOST)
    every = call.query.flag("all")
    fields = [
        {"name": field.name, "values": field.values, "differs": field.differs}
        for field in registry.compare(refs)
        if every or field.differs
    ]
    return {"refs": refs, "fields": fields}
