"""The registry: adapters, versions, runs and metric history. Knows nothing of torch, transformers or adapters."""

from .errors import PointsmanError
from .recorder import RunRecorder
from .records import Base, Event, File, MetricPoint, MetricSummary, Run, RunStatus, Version
from .refs import Ref
from .registry import Registry, default_home

__all__ = [
    "Base",
    "Event",
    "File",
    "MetricPoint",
    "MetricSummary",
    "PointsmanError",
    "Ref",
    "Registry",
    "Run",
    "RunRecorder",
    "RunStatus",
    "Version",
    "default_home",
]
