"""What a body may be and what an answer is: JSON Schemas, which check calls and describe them to callers.

They are written with few keywords: ``type``, ``properties``, ``required``, ``additionalProperties``, ``items``,
``minItems``, ``maxItems``, ``maxLength``, ``minimum``, ``enum`` and ``description``. The ``description`` of what a
caller sends completes the sentence "it must be …". A checker for all of JSON Schema would copy a body of millions of
items to say what is wrong with it; this one stops at the first fault.
"""

from collections.abc import Collection, Mapping, Sequence
from types import NoneType
from typing import Any, Final

from .errors import BadRequestError

Schema = Mapping[str, Any]
"""A JSON Schema (draft 2020-12). One with a ``title`` is named so in the document of a server."""

_KINDS: Final[Mapping[type, str]] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    NoneType: "null",
    int: "integer",
    float: "number",
}
_NOUNS: Final = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "boolean": "a boolean",
    "null": "null",
    "integer": "a number",
    "number": "a number",
}


def record(
    fields: Mapping[str, Schema],
    *,
    title: str | None = None,
    description: str = "an object",
    optional: Sequence[str] = (),
) -> dict[str, Any]:
    """An object with these fields and no others.

    Args:
        fields: The schema of each.
        title: Its name.
        description: What it is.
        optional: The fields that may be missing.

    Examples:
        >>> record({"model": {"type": "string"}, "user": {"type": "string"}}, optional=["user"])
    """
    return {
        **({"title": title} if title else {}),
        "description": description,
        "type": "object",
        "properties": fields,
        "required": [name for name in fields if name not in optional],
        "additionalProperties": False,
    }


def list_of(items: Schema, **more: Any) -> dict[str, Any]:
    """A list of items of one schema; ``more`` are further keywords."""
    return {"type": "array", **more, "items": items}


def check(schema: Schema, value: Any, place: str = "") -> None:
    """Check what a caller sent.

    Args:
        schema: What it must be.
        value: What it is, as ``json`` reads it.
        place: Where it stands in the call, ``rows[2].input``; empty: it is the body.

    Raises:
        BadRequestError: It is something else. The message says where, what it must be, and what it is.

    Examples:
        >>> check(record({"model": {"type": "string", "description": "a text"}}), {"model": 3})
        Traceback (most recent call last):
        pointsman.sdk.web.errors.BadRequestError: 'model' must be a text; found a number
    """
    kind = _KINDS[type(value)]
    if kind == "number" and value.is_integer():
        kind = "integer"
    allowed = schema.get("type", kind)
    allowed = [allowed] if isinstance(allowed, str) else allowed
    if not (kind in allowed or (kind == "integer" and "number" in allowed)):
        raise _refused(schema, kind_of(value), place)
    match value:
        case dict():
            _check_fields(schema, value, place)
        case list():
            _check_size(schema, "maxItems", len(value), "items", place)
            if len(value) < schema.get("minItems", 0):
                raise _refused(schema, kind_of(value), place)
            if "items" in schema:
                for number, item in enumerate(value):
                    check(schema["items"], item, f"{place}[{number}]")
        case str():
            _check_size(schema, "maxLength", len(value), "letters", place)
        case int() | float() if value < schema.get("minimum", value):
            raise _refused(schema, f"{value!r:.80}", place)
    if "enum" in schema and value not in schema["enum"]:
        raise _refused(schema, f"{value!r:.80}", place)


def required(body: Mapping[str, Any], name: str, place: str = "") -> Any:
    """A field that must be there.

    Args:
        body: What it is a field of.
        name: Its name.
        place: Where ``body`` stands in the call, for the message.

    Raises:
        BadRequestError: It is missing.
    """
    if name not in body:
        path = _inside(place, name)
        raise BadRequestError(422, f"'{path}' is missing", path)
    return body[name]


def known_only(body: Mapping[str, Any], known: Collection[str], place: str = "") -> None:
    """Refuse fields that would be ignored.

    Raises:
        BadRequestError: There is one.
    """
    for name in body:
        if name not in known:
            where = f" in '{place}'" if place else ""
            raise BadRequestError(422, f"unknown field '{name[:80]}'{where}; known: {', '.join(known)}", name[:80])


def kind_of(value: Any) -> str:
    """What kind of JSON a value is, for messages: ``an object``."""
    return "an empty list" if value == [] else _NOUNS[_KINDS[type(value)]]


def _check_fields(schema: Schema, value: Mapping[str, Any], place: str) -> None:
    fields: Mapping[str, Schema] = schema.get("properties", {})
    if schema.get("additionalProperties") is False:
        known_only(value, fields, place)
    for name in schema.get("required", ()):
        required(value, name, place)
    for name, field in fields.items():
        if name in value:
            check(field, value[name], _inside(place, name))


def _check_size(schema: Schema, keyword: str, size: int, unit: str, place: str) -> None:
    if size > schema.get(keyword, size):
        raise BadRequestError(413, f"'{place}' has {size:,} {unit}; {schema[keyword]:,} are allowed", place)


def _refused(schema: Schema, found: str, place: str) -> BadRequestError:
    what = f"'{place}'" if place else "the body"
    return BadRequestError(422, f"{what} must be {schema['description']}; found {found}", place or None)


def _inside(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
