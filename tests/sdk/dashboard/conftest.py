"""A registry with a few versions and runs, and the dashboard over it on loopback."""

from collections.abc import Iterator

import pytest

from pointsman.registry import Registry
from pointsman.sdk.dashboard.app import dashboard
from pointsman.sdk.web.access import Access, Role, Tokens, new_token

from dashboards import Dashboard, recorded
from served import HOSTS, serving
from shapes import FIELDS


@pytest.fixture
def filled(registry: Registry) -> Registry:
    """sst2@1 of a run; sst2@2, in production, of none; cola@1; mix@1, a composition of the first two."""
    settings = {"learning_rate": 0.001, "epochs": 2.0, "steps": 50, "asked": ["epochs"], "config": {}}
    registry.add_version("sst2", **FIELDS | {"run": recorded(registry, settings=settings), "tags": {"stage": "live"}})
    registry.add_version("sst2", **FIELDS | {"metrics": {"eval/accuracy": 0.75, "eval/f1": float("nan")}})
    registry.add_version("cola", **FIELDS | {"metrics": {}, "primary_metric": None, "note": "a\nb"})
    registry.add_version(
        "mix",
        **FIELDS
        | {
            "kind": "composition",
            "method": "average",
            "config": {"composition": {"average": ["sst2@1", "sst2@2"]}},
            "parents": [("member", "sst2@1"), ("member", "sst2@2")],
        },
    )
    registry.set_alias("sst2@2", "production")
    return registry


@pytest.fixture
def shown(filled: Registry) -> Iterator[Dashboard]:
    """The dashboard as ``registry ui`` serves it without a token file."""
    token, line = new_token(Role.ADMIN)
    app = dashboard(filled, access=Access(tokens=Tokens.of_lines([line]), anonymous=Role.READ), hosts=HOSTS)
    with serving(app) as client:
        yield Dashboard(filled, client, {"Authorization": f"Bearer {token}"})
