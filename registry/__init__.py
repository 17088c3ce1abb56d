"""The registry: adapters, versions, runs and metric history. Knows nothing of torch, transformers or adapters."""

from .errors import Action, Advice, PointsmanError
from .records import (
    Adapter,
    Base,
    Best,
    ComparedField,
    Evaluation,
    Event,
    File,
    Lineage,
    MetricPoint,
    MetricSummary,
    Origin,
    Page,
    Parent,
    Run,
    RunStatus,
    Version,
    VersionKind,
    VersionPoint,
)
from .refs import Ref
from .registry import Registry, default_home
from .runs.recorder import RunRecorder
from .runs.serving import ServingRecorder
from .search.quoting import quote

__all__ = [
    "Action",
    "Adapter",
    "Advice",
    "Base",
    "Best",
    "ComparedField",
    "Evaluation",
    "Event",
    "File",
    "Lineage",
    "MetricPoint",
    "MetricSummary",
    "Origin",
    "Page",
    "Parent",
    "PointsmanError",
    "Ref",
    "Registry",
    "Run",
    "RunRecorder",
    "RunStatus",
    "ServingRecorder",
    "Version",
    "VersionKind",
    "VersionPoint",
    "default_home",
    "quote",
]
