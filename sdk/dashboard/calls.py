"""Endpoints of the API: parameters that are checked, registry work in threads, and answers as JSON with an ETag."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from ..core.plain import plain
from ..web.access import Role
from ..web.bodies import read_body, read_json
from ..web.calls import call_of
from ..web.endpoints import Endpoint
from ..web.errors import BadRequestError

MAX_LIMIT: Final = 500
"""Items of a page at most."""
_CHANGES_AT_ONCE: Final = 4
"""Changes of one kind that wait for the database; more wait for these."""
GREATEST: Final = 2**63 - 1
"""The greatest whole number that the registry stores."""


class Query:
    """The parameters of a call's query: every one is known, and is given once unless it may be repeated.

    Args:
        http: The call.
        known: The names of all parameters.
        repeated: Those of ``known`` that may be given several times.

    Raises:
        BadRequestError: One is unknown, or is given twice.
    """

    def __init__(self, http: HttpRequest, known: tuple[str, ...], repeated: tuple[str, ...] = ()) -> None:
        self._given: dict[str, list[str]] = {}
        for name, value in http.query_params.multi_items():
            if name not in known:
                listed = f"known: {', '.join(known)}" if known else "this call has none"
                raise BadRequestError(422, f"unknown parameter {_quoted(name)}; {listed}", name[:80])
            self._given.setdefault(name, []).append(value)
        for name, values in self._given.items():
            if len(values) > 1 and name not in repeated:
                raise BadRequestError(422, f"the parameter '{name}' is given {len(values)} times", name)

    def text(self, name: str) -> str | None:
        """A text; None if it is empty or not given."""
        return self._given.get(name, [""])[0] or None

    def required_text(self, name: str) -> str:
        """A text that must be given.

        Raises:
            BadRequestError: It is empty or not given.
        """
        value = self.text(name)
        if value is None:
            raise BadRequestError(422, f"the parameter '{name}' is missing", name)
        return value

    def texts(self, name: str, *, fewest: int, most: int) -> list[str]:
        """The values of a parameter that may be repeated.

        Raises:
            BadRequestError: There are too few or too many.
        """
        values = self._given.get(name, [])
        if not fewest <= len(values) <= most:
            message = f"the parameter '{name}' must be given {fewest} to {most} times; found {len(values)}"
            raise BadRequestError(422, message, name)
        return values

    def whole(self, name: str, *, low: int, high: int) -> int | None:
        """A whole number; None if it is empty or not given.

        Raises:
            BadRequestError: It is none, or out of range.
        """
        text = self.text(name)
        if text is None:
            return None
        # int() takes spaces, underscores and digits of every script, and is slow with thousands of them.
        digits = text.removeprefix("-")
        number = int(text) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None
        if number is None or not low <= number <= high:
            wanted = f"a whole number of at least {low}" + ("" if high == GREATEST else f" and at most {high:,}")
            raise BadRequestError(422, f"the parameter '{name}' must be {wanted}; found {_quoted(text)}", name)
        return number

    def flag(self, name: str) -> bool:
        """Whether a parameter is 1; 0 is the default.

        Raises:
            BadRequestError: It is another text.
        """
        text = self.text(name)
        if text not in (None, "0", "1"):
            raise BadRequestError(422, f"the parameter '{name}' must be 0 or 1; found {_quoted(text)}", name)
        return text == "1"

    def page(self) -> tuple[int, int]:
        """The parameters ``limit`` and ``offset``, of which the first is 50 by default."""
        limit = self.whole("limit", low=1, high=MAX_LIMIT)
        return 50 if limit is None else limit, self.whole("offset", low=0, high=GREATEST) or 0


PAGE: Final = ("limit", "offset")
"""What ``Query.page`` reads."""


@dataclass(frozen=True, kw_only=True)
class ApiCall:
    """A call of the API."""

    path: Mapping[str, str]
    """The parameters of its path."""
    query: Query
    body: Mapping[str, Any]
    """The body of a call that changes something; empty for others."""
    role: Role | None
    """The caller's."""


Work = Callable[[ApiCall], Any]
"""From a call to its answer, in types that ``plain`` knows; runs in a thread."""


def reading(path: str, read: Work, *known: str, repeated: tuple[str, ...] = ()) -> Endpoint:
    """An endpoint that reads, whose answers have an ETag: a caller that has one already is answered with 304.

    Args:
        path: Its path.
        read: Reads the answer.
        known: The parameters of its query.
        repeated: Those of them that may be given several times.
    """

    async def answer(http: HttpRequest) -> Response:
        call = ApiCall(path=http.path_params, query=Query(http, known, repeated), body={}, role=call_of(http).role)
        content = await run_sync(lambda: _encoded(read(call)))
        return tagged(http, content, "application/json")

    return Endpoint("GET", path, answer, role=Role.READ)


def changing(method: str, path: str, change: Work, *known: str) -> Endpoint:
    """An endpoint that changes something, for admins.

    Args:
        method: ``PUT``, whose body is a JSON object, or ``DELETE``, which has none.
        path: Its path.
        change: Makes the change.
        known: The parameters of its query.
    """

    # A change waits for the one that writes: it must not take the threads of those who read.
    places = CapacityLimiter(_CHANGES_AT_ONCE)

    async def answer(http: HttpRequest) -> Response:
        query = Query(http, known)
        body = read_json(await read_body(http)) if method == "PUT" else {}
        call = ApiCall(path=http.path_params, query=query, body=body, role=call_of(http).role)
        content = await run_sync(lambda: _encoded(change(call)), limiter=places)
        return Response(content, media_type="application/json")

    return Endpoint(method, path, answer, role=Role.ADMIN)


def tagged(http: HttpRequest, content: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with an ETag, or 304 without a body if the caller has this very content.

    Args:
        http: The call.
        content: The body.
        media_type: Its type.
        headers: Further headers.
    """
    etag = f'"{sha256(content).hexdigest()}"'
    every = {"ETag": etag, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff", **(headers or {})}
    held = (item.strip().removeprefix("W/") for item in http.headers.get("if-none-match", "").split(","))
    if any(item in (etag, "*") for item in held):
        return Response(status_code=304, headers=every)
    return Response(content, media_type=media_type, headers=every)


def _encoded(value: Any) -> bytes:
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(errors="replace")


def _quoted(text: str | None) -> str:
    """A caller's text for a message: short, and with nothing that a terminal would act on."""
    return ascii(text if text is None or len(text) <= 80 else text[:77] + "...")
