"""Bodies of calls: JSON, read up to a bound."""

import json
import re
from typing import Any, Final, NoReturn

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest

from .errors import BadRequestError, CallerGoneError
from .schemas import Schema, check, kind_of

MAX_BODY: Final = 16_000_000
"""Bytes of a body at most, which is read no further."""

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
"""Half of a character beyond U+FFFF, escaped; alone it is no character."""


async def read_call(http: HttpRequest, schema: Schema) -> dict[str, Any]:
    """The body as JSON, as a schema asks for it.

    Raises:
        BadRequestError: It is none, or something else.
    """
    body = read_json(await read_body(http))
    check(schema, body)
    return body


async def read_body(http: HttpRequest) -> bytes:
    """The body, read no further than ``MAX_BODY``.

    Raises:
        BadRequestError: It is longer, compressed, or said to be something other than JSON.
        CallerGoneError: The caller hung up before its end.
    """
    coding = http.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise BadRequestError(415, f"a body must not be compressed; found Content-Encoding: {coding[:80]}")
    media = http.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media != "application/json":
        raise BadRequestError(415, f"a body must be JSON, with Content-Type: application/json; found '{media[:80]}'")
    size = int(http.headers.get("content-length", 0))  # digits, by the server's parser
    parts: list[bytes] = []
    if size <= MAX_BODY:
        size = 0
        try:
            async for part in http.stream():
                size += len(part)
                if size > MAX_BODY:
                    break
                parts.append(part)
        except ClientDisconnect as error:
            raise CallerGoneError from error
    if size > MAX_BODY:
        raise BadRequestError(413, f"the body is larger than {MAX_BODY:,} bytes")
    return b"".join(parts)


def read_json(body: bytes) -> dict[str, Any]:
    """A body as a JSON object (RFC 8259: in UTF-8), whose names are unique and whose texts are Unicode.

    Raises:
        BadRequestError: It is none.
    """
    try:
        found = json.loads(body.decode(), parse_constant=_no_constant, object_pairs_hook=_unique)
        if _SURROGATE.search(body):
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError as error:
        raise BadRequestError(400, "the body is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise BadRequestError(400, "the body has half of a surrogate pair, which is no character") from error
    except ValueError as error:
        raise BadRequestError(400, f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadRequestError(422, f"the body must be a JSON object; found {kind_of(found)}")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name '{name[:80]}' appears twice in one object")
        found[name] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
