"""The pages: static files of the package, with what keeps a browser from doing anything else with them."""

import base64
import re
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from ..web.endpoints import Endpoint
from .calls import tagged

_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "mjs": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""By the end of a name; every other file is text."""

_IMPORT_MAP: Final = re.compile(rb'<script type="importmap">(.*?)</script>', re.DOTALL)
"""The one script inside the page: browsers read import maps nowhere else."""


def endpoints() -> list[Endpoint]:
    """The page at ``/``, and its files below ``/ui/``; anybody may read them, since they hold nothing of a registry."""
    contents = dict(_read(files(__package__).joinpath("static"), ""))
    index = contents["index.html"]
    headers = {
        "Content-Security-Policy": content_policy(index),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
    }

    async def page(http: HttpRequest) -> Response:
        return tagged(http, index, _TYPES["html"], headers)

    async def file(http: HttpRequest) -> Response:
        path = http.path_params["path"]
        if path not in contents:  # the names are those of the package: no path leads out of it
            raise HTTPException(404)
        kind = _TYPES.get(path.rpartition(".")[2], "text/plain; charset=utf-8")
        return tagged(http, contents[path], kind, headers)

    return [Endpoint("GET", "/", page, role=None), Endpoint("GET", "/ui/{path:path}", file, role=None)]


def content_policy(index: bytes) -> str:
    """The Content-Security-Policy of the page: everything from this server, and no script inside it but its import map.

    Args:
        index: The page.
    """
    maps = [f"'sha256-{base64.b64encode(sha256(found).digest()).decode()}'" for found in _IMPORT_MAP.findall(index)]
    return "; ".join(
        (
            "default-src 'none'",
            " ".join(("script-src 'self'", *maps)),
            "style-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "font-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _read(directory: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for item in directory.iterdir():
        name = f"{prefix}{item.name}"
        found += _read(item, f"{name}/") if item.is_dir() else [(name, item.read_bytes())]
    return found
