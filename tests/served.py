"""The HTTP server on loopback, in a thread of the tests' process."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.types import ASGIApp

from pointsman.sdk import Switcher
from pointsman.sdk.serving.app import Server
from pointsman.sdk.web.server import http_server

HOSTS = ("127.0.0.1", "localhost")


@dataclass
class Running:
    """A server, and a caller of it."""

    server: Server
    switcher: Switcher
    client: httpx.Client

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        """Call it with a JSON body."""
        return self.client.post(path, json=body, **options)


@contextmanager
def serving(app: ASGIApp) -> Iterator[httpx.Client]:
    """Serve, and call what is served; the server ends with the block."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        served = http_server(app)
        thread = threading.Thread(target=served.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=60) as client:
                yield client
        finally:
            served.should_exit = True
            thread.join(60)
