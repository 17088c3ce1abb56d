"""A record of every call: its id, how it ended, and what answered it."""

import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request as HttpRequest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .access import Role

_HARMLESS_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")


@dataclass(kw_only=True, eq=False)
class Call:
    """A call, from its first byte to its last."""

    id: str
    """The caller's ``X-Request-Id``, or a new one."""
    began_at: datetime
    method: str
    path: str
    route: str = "other"
    """The path as the server knows it, ``/v1/models/{ref}``; ``other``: it knows none such, or none was looked for."""
    role: Role | None = None
    """The caller's, once it is known."""
    status: int = 500
    """500 until the answer begins."""
    seconds: float = 0.0
    ref: str | None = None
    """What the caller asked for, where it is one ref or composition for all inputs."""
    inputs: int = 0
    """How many there are, once they have been checked."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """How many answers each version, or composition of versions, gives."""


def call_of(http: HttpRequest) -> Call:
    """The record of a call, for what answers it to write into."""
    call: Call = http.state.call
    return call


class CallRecords:
    """Middleware that records each call, gives its answer the header ``X-Request-Id``, and tells observers its end.

    It is the outermost, so that no answer escapes it.

    Args:
        app: What answers.
        observers: Called at the end of each call, in the thread of the event loop.
    """

    def __init__(self, app: ASGIApp, *, observers: Sequence[Callable[[Call], None]]) -> None:
        self._app, self._observers = app, observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call, recorded."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        call = Call(
            id=_request_id(Headers(scope=scope).get("x-request-id", "")),
            began_at=datetime.now(UTC),
            method=scope["method"],
            path=scope["path"],
        )
        scope.setdefault("state", {})["call"] = call

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = call.id
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            call.seconds = time.perf_counter() - start
            for observe in self._observers:
                observe(call)


def _request_id(given: str) -> str:
    """The caller's, if it is short and does no harm in a log; else a new one."""
    return given if _HARMLESS_ID.fullmatch(given) else uuid.uuid4().hex
