"""The log of changes: who did what, when."""

from contextlib import suppress
from functools import partial
from typing import Any

from pointsman.registry import Registry
from pointsman.registry.errors import DamagedRowError

from ...core.plain import plain
from ...web.endpoints import Endpoint
from ..calls import PAGE, ApiCall, reading


def endpoints(registry: Registry) -> list[Endpoint]:
    """The endpoints over a registry."""
    return [reading("/api/events", partial(_events, registry), "ref", *PAGE)]


def _events(registry: Registry, call: ApiCall) -> dict[str, Any]:
    ref = call.query.text("ref")
    limit, offset = call.query.page()
    events = registry.events(ref, limit=limit + 1, offset=offset)
    if ref is not None and not events and not offset:
        with suppress(DamagedRowError):
            registry.version(ref)  # what has no entry is unknown, unless a version of it exists
    return {"items": [plain(event) for event in events[:limit]], "more": len(events) > limit}
