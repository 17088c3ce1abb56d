"""A record of every call: its id, how it ended, and what answered it."""

import re
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request as HttpRequest
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..switching.execute.requests import Request

_HARMLESS_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")


@dataclass(kw_only=True, eq=False)
class Call:
    """A call, from its first byte to its last."""

    id: str
    """The caller's ``X-Request-Id``, or a new one."""
    began_at: datetime
    method: str
    path: str
    route: str
    """The path as the server knows it, ``/v1/models/{ref}``; ``other``: it knows none such."""
    status: int = 500
    """500 until the answer begins."""
    seconds: float = 0.0
    ref: str | None = None
    """What the caller asked for, where it is one ref or composition for all inputs."""
    requests: Sequence[Request] = ()
    """The inputs, once they have been checked."""


def call_of(http: HttpRequest) -> Call:
    """The record of a call, for what answers it to write into."""
    call: Call = http.state.call
    return call


def versions_of(requests: Sequence[Request]) -> list[str]:
    """What answers requests: the versions by number, or the compositions of versions, each once."""
    routes = dict.fromkeys(route for request in requests for route in request.routes)
    return list(dict.fromkeys(str(route.composition) for route in routes))


class CallRecords:
    """Middleware that records each call, gives its answer the header ``X-Request-Id``, and tells observers its end.

    It is the outermost, so that no answer escapes it.

    Args:
        app: What answers.
        routes: The server's routes.
        observers: Called at the end of each call, in the thread of the event loop.
    """

    def __init__(
        self, app: ASGIApp, *, routes: Sequence[BaseRoute], observers: Sequence[Callable[[Call], None]]
    ) -> None:
        self._app, self._routes, self._observers = app, routes, observers

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
            route=self._route(scope),
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

    def _route(self, scope: Scope) -> str:
        """The path of the route that fits, with its parameters by name only: there are few."""
        for route in self._routes:
            if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE:
                return route.path_format
        return "other"


def _request_id(given: str) -> str:
    """The caller's, if it is short and does no harm in a log; else a new one."""
    return given if _HARMLESS_ID.fullmatch(given) else uuid.uuid4().hex
