"""The endpoints of the dashboard's API, one module for each thing that they are about."""

from pointsman.registry import Base, Registry

from ...web.endpoints import Endpoint
from . import about, compare, events, glue, labels, metrics, runs, versions


def endpoints(registry: Registry, *, base: Base | None = None) -> list[Endpoint]:
    """All endpoints under ``/api``.

    Args:
        registry: What they read and change.
        base: The base that the same server answers with; None: it makes no predictions.
    """
    return [
        *about.endpoints(registry, base),
        *versions.endpoints(registry),
        *runs.endpoints(registry),
        *metrics.endpoints(registry),
        *compare.endpoints(registry),
        *glue.endpoints(registry),
        *events.endpoints(registry),
        *labels.endpoints(registry),
    ]
