"""An HTTP application from its endpoints."""

import re
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from pointsman.registry.errors import PointsmanError

from . import access_log
from .access import Access, Role
from .calls import Call, CallRecords
from .endpoints import Endpoint
from .errors import RefusedError, error_answer, failed

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]
"""What begins before the first call and ends after the last."""

_PORT: Final = re.compile(r":\d*\Z")
"""The end of a Host header; an IPv6 address before it has brackets."""


@asynccontextmanager
async def _nothing(_: Starlette) -> AsyncIterator[None]:
    yield


def build_app(
    endpoints: Sequence[Endpoint],
    *,
    access: Access,
    hosts: Collection[str] | None,
    observers: Sequence[Callable[[Call], None]] = (),
    lifespan: Lifespan = _nothing,
) -> ASGIApp:
    """An application that answers with errors of one shape, checks roles, and records every call.

    Args:
        endpoints: What it answers; of two that fit a path, the first answers.
        access: Which role a caller has.
        hosts: The names under which the server may be called, in lower case; a page on another name must not reach it
            through a browser. None: any name.
        observers: Told of the end of each call, beside the access log.
        lifespan: What begins before the first call and ends after the last.
    """
    app = Starlette(
        routes=list(endpoints),
        middleware=[] if hosts is None else [Middleware(_KnownHosts, hosts=hosts)],
        exception_handlers=dict.fromkeys((HTTPException, RefusedError, PointsmanError, Exception), failed),
        lifespan=lifespan,
    )
    app.state.access = access
    app.router.redirect_slashes = False

    async def unknown_path(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            access.check(Headers(scope=scope), Role.READ)
        await app.router.not_found(scope, receive, send)

    app.router.default = unknown_path
    return CallRecords(app, observers=(*observers, access_log.write))


class _KnownHosts:
    """Refuses calls under another name: a page that gave its own name this address would reach the server so."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: ASGIApp = self._app
        if scope["type"] == "http":
            names = [_PORT.sub("", name.lower()) for name in Headers(scope=scope).getlist("host")]
            if len(names) != 1 or names[0] not in self._hosts:
                known = " or ".join(self._hosts)
                answer = error_answer(
                    400, "HTTPError", f"this server answers to {known}; found '{', '.join(names)[:80]}'"
                )
        await answer(scope, receive, send)
