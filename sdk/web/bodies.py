"""Bodies of calls: read up to a bound, as JSON, and checked field by field."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest

from .errors import BadRequestError, CallerGoneError

MAX_BODY: Final = 16_000_000
"""Bytes of a body at most, which is read no further."""


async def read_body(http: HttpRequest) -> bytes:
    """The body, read no further than ``MAX_BODY``.

    Raises:
        BadRequestError: It is longer.
        CallerGoneError: The caller hung up before its end.
    """
    parts, size = [], 0
    try:
        async for part in http.stream():
            size += len(part)
            if size > MAX_BODY:
                raise BadRequestError(413, f"the body is larger than {MAX_BODY:,} bytes")
            parts.append(part)
    except ClientDisconnect as error:
        raise CallerGoneError from error
    return b"".join(parts)


def read_json(body: bytes) -> dict[str, Any]:
    """A body as a JSON object.

    Raises:
        BadRequestError: It is none.
    """
    try:
        found = json.loads(body, parse_constant=_no_constant)
    except RecursionError as error:
        raise BadRequestError(400, "the body is nested too deeply") from error
    except ValueError as error:
        raise BadRequestError(400, f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadRequestError(422, f"the body must be a JSON object; found {kind_of(found)}")
    return found


def required(body: Mapping[str, Any], name: str, place: str = "") -> Any:
    """A field that must be there.

    Args:
        body: What it is a field of.
        name: Its name.
        place: Where ``body`` stands in the call, for the message.

    Raises:
        BadRequestError: It is missing.
    """
    path = f"{place}.{name}" if place else name
    if name not in body:
        raise BadRequestError(422, f"'{path}' is missing", path)
    return body[name]


def required_text(body: Mapping[str, Any], name: str, place: str = "") -> str:
    """A field that must be there and be a text.

    Raises:
        BadRequestError: It is missing, or of another kind.
    """
    value = required(body, name, place)
    if not isinstance(value, str):
        path = f"{place}.{name}" if place else name
        raise BadRequestError(422, f"'{path}' must be a text; found {kind_of(value)}", path)
    return value


def known_only(body: Mapping[str, Any], known: Iterable[str], place: str = "") -> None:
    """Refuse fields that would be ignored.

    Raises:
        BadRequestError: There is one.
    """
    known = tuple(known)
    for name in body:
        if name not in known:
            where = f" in '{place}'" if place else ""
            raise BadRequestError(422, f"unknown field '{name[:80]}'{where}; known: {', '.join(known)}", name[:80])


def kind_of(value: Any) -> str:
    """What kind of JSON a value is, for messages: ``an object``."""
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", type(None): "null"}
    if isinstance(value, list) and not value:
        return "an empty list"
    return kinds.get(type(value), "a number")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
