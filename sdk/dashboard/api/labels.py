"""Changes of aliases, tags and notes, each only if it is what the caller saw."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from pointsman.registry import Registry
from pointsman.registry.refs import GREATEST_NUMBER, Ref, check_name

from ...web.endpoints import Endpoint
from ...web.errors import BadRequestError
from ...web.schemas import kind_of, known_only, required
from ..calls import ApiCall, changing

_MOST_TAGS: Final = 100
"""Tags in a call."""


def endpoints(registry: Registry) -> list[Endpoint]:
    """The endpoints over a registry."""
    alias = "/api/adapters/{name}/aliases/{alias}"
    return [
        changing("PUT", alias, partial(_set_alias, registry)),
        changing("DELETE", alias, partial(_remove_alias, registry), "if_currently"),
        changing("PUT", "/api/versions/{ref}/tags", partial(_set_tags, registry)),
        changing("PUT", "/api/versions/{ref}/note", partial(_set_note, registry)),
    ]


def _set_alias(registry: Registry, call: ApiCall) -> dict[str, Any]:
    known_only(call.body, ("number", "if_currently"))
    number = _number(call.body, "number", low=1)
    before = _number(call.body, "if_currently", low=0) if call.body.get("if_currently") is not None else None
    version = registry.set_alias(Ref(check_name(call.path["name"]), number), call.path["alias"], if_currently=before)
    return {"ref": version.ref, "aliases": version.aliases}


def _remove_alias(registry: Registry, call: ApiCall) -> dict[str, Any]:
    before = call.query.whole("if_currently", low=0, high=GREATEST_NUMBER)
    registry.remove_alias(call.path["name"], call.path["alias"], if_currently=before)
    return {}


def _set_tags(registry: Registry, call: ApiCall) -> dict[str, Any]:
    known_only(call.body, ("set", "if_currently"))
    before = None if call.body.get("if_currently") is None else _texts(call.body, "if_currently")
    return {"tags": registry.set_tags(call.path["ref"], _texts(call.body, "set"), if_currently=before).tags}


def _set_note(registry: Registry, call: ApiCall) -> dict[str, Any]:
    known_only(call.body, ("note", "if_currently"))
    note = _text(required(call.body, "note"), "note")
    # Null stands for no note, which the registry is told as an empty one; a field that is not there asks for nothing.
    before = (_text(call.body["if_currently"], "if_currently") or "") if "if_currently" in call.body else None
    return {"note": registry.set_note(call.path["ref"], note, if_currently=before).note}


def _number(body: Mapping[str, Any], name: str, *, low: int) -> int:
    value = required(body, name)
    if type(value) is not int or not low <= value <= GREATEST_NUMBER:
        found = value if type(value) is int and abs(value) < 10**18 else kind_of(value)
        message = f"'{name}' must be a whole number of at least {low} and at most {GREATEST_NUMBER:,}; found {found}"
        raise BadRequestError(422, message, name)
    return value


def _texts(body: Mapping[str, Any], name: str) -> dict[str, str | None]:
    """A field that is an object of texts and nulls."""
    value = required(body, name)
    if not isinstance(value, dict):
        raise BadRequestError(422, f"'{name}' must be an object of texts; found {kind_of(value)}", name)
    if len(value) > _MOST_TAGS:
        raise BadRequestError(422, f"'{name}' has {len(value):,} tags; {_MOST_TAGS} are allowed in a call", name)
    return {key: _text(text, f"{name}.{key[:80]}") for key, text in value.items()}


def _text(value: Any, name: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise BadRequestError(422, f"'{name}' must be a text or null; found {kind_of(value)}", name)
    return value
