"""Callers of the dashboard, and what goes into the registry behind it."""

from dataclasses import dataclass
from typing import Any

import httpx

from pointsman.registry import Registry

from shapes import RUN


@dataclass
class Dashboard:
    """A served dashboard, its callers, and the registry behind it."""

    registry: Registry
    reader: httpx.Client
    admin: dict[str, str]
    """The headers of a caller who may change something."""

    def get(self, path: str, **query: Any) -> Any:
        """The JSON that a call reads."""
        answer = self.reader.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, path: str, status: int, *said: str, **query: Any) -> dict[str, Any]:
        """The error of a call that reads, which has the one shape."""
        return error_of(self.reader.get(path, params=query), status, *said)

    def change(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """A call that changes something."""
        return self.reader.request(method, path, json=body, headers=self.admin, **options)


def error_of(answer: httpx.Response, status: int, *said: str) -> dict[str, Any]:
    """What an answer says went wrong, which names nothing of this machine."""
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert {"message", "type", "code"} <= error.keys() <= {"message", "type", "code", "param", "position", "current"}
    assert error["code"] == status
    assert all(text in error["message"] for text in said), error["message"]
    assert "/tmp" not in answer.text
    assert "Traceback" not in answer.text
    return error


def recorded(registry: Registry, *, adapter: str = "sst2", points: int = 50, **changes: Any) -> str:
    """Record a run; returns its uid."""
    with registry.start_run(adapter, **RUN | changes) as recorder:
        for step in range(1, points + 1):
            recorder.log({"train/loss": 1 / step, "eval/accuracy": 1 - 1 / step}, step=step)
    return recorder.uid
