"""How an application is served: uvicorn, with its loop and parser written in C where there are such."""

import sys
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if sys.platform != "win32":
    import uvloop  # noqa: F401 -- uvicorn imports it by its name, too late to ask for the extra

_LOOP: Final = "asyncio" if sys.platform == "win32" else "uvloop"

_SHUTDOWN_SECONDS: Final = 30
"""What is being answered has so long when the server ends."""


def http_server(app: ASGIApp) -> uvicorn.Server:
    """A server of an application, to be run on a socket that listens.

    It believes no header about where a call comes from.

    Example:
        >>> with socket.create_server(("127.0.0.1", 0)) as listening:
        ...     http_server(app).run(sockets=[listening])
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=HttpToolsProtocol,
            loop=_LOOP,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
    )
