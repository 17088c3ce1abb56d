"""The document of a server: OpenAPI 3.1, from the operations of its endpoints."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from .access import Access
from .endpoints import Endpoint
from .errors import ErrorForm, openai_form, text_form
from .operations import Operation, Parameter
from .schemas import Schema, record

_TEXT: Final[Schema] = {"type": "string"}

_ERRORS: Final[Mapping[ErrorForm, Schema]] = {
    openai_form: record(
        {
            "error": record(
                {
                    "message": {**_TEXT, "description": "what was wrong, what was found, and what to do"},
                    "type": _TEXT,
                    "code": {"type": "integer", "description": "the status"},
                    "param": {"type": ["string", "null"], "description": "the field that was wrong"},
                    "position": {"type": "integer", "description": "the wrong character of a composition"},
                },
                optional=["param", "position"],
            )
        },
        title="Error",
    ),
    text_form: record({"error": _TEXT}, title="ErrorText"),
}
"""What an error looks like in each form."""

_WHEN: Final[Mapping[int, str]] = {
    400: "The body is no JSON, or the call names another host.",
    401: "The call has no token that the server knows.",
    403: "The call needs a higher role.",
    404: "No such adapter, version or alias.",
    413: "The body, or a part of it, is too large.",
    415: "The body is compressed, or is not said to be JSON.",
    422: "A field is missing, unknown or wrong, or the ref does not fit the call.",
    429: "Too many inputs wait.",
    503: "Files or the database cannot be read.",
}
"""When each error is answered."""

_HEADERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "X-Request-Id": {
        "description": "The caller's own if it has at most 100 letters, digits and `-_.`, else a new one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,100}$"},
    },
    "WWW-Authenticate": {"description": "What the call lacks (RFC 6750).", "required": True, "schema": _TEXT},
    "Retry-After": {"description": "Seconds.", "required": True, "schema": {"type": "integer"}},
}
_HEADERS_OF: Final[Mapping[int, str]] = {401: "WWW-Authenticate", 403: "WWW-Authenticate", 429: "Retry-After"}
_REQUEST_ID: Final = {
    "name": "X-Request-Id",
    "in": "header",
    "description": "The id of the call in the server's log and in its answer.",
    "schema": _TEXT,
}


def document(
    endpoints: Iterable[Endpoint], *, title: str, version: str, access: Access, checks_host: bool
) -> dict[str, Any]:
    """The OpenAPI document of a server.

    Args:
        endpoints: Those without an operation are not in it.
        title: The server's name.
        version: Its release.
        access: Says which roles callers need a token for.
        checks_host: Whether the server refuses calls under other names, with 400.
    """
    named: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        if endpoint.operation is not None:
            described = _operation(endpoint, endpoint.operation, access, checks_host)
            paths.setdefault(endpoint.path_format, {})[endpoint.method.lower()] = _with_refs(described, named)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(named.items())),
            "headers": _HEADERS,
            "parameters": {"X-Request-Id": _REQUEST_ID},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token of the server's token file."}
            },
        },
    }


def _operation(endpoint: Endpoint, operation: Operation, access: Access, checks_host: bool) -> dict[str, Any]:
    refusals = access.refusals(endpoint.role)
    of_body = () if operation.body is None else (400, 413, 415, 422)
    errors = sorted({*operation.errors, *refusals, *of_body, *((400,) if checks_host else ())})
    described: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{endpoint.method.lower()}{endpoint.path_format}").strip("_"),
        "summary": operation.summary,
        "parameters": [*_parameters(endpoint, operation), {"$ref": "#/components/parameters/X-Request-Id"}],
        "responses": {
            **{
                str(status): {
                    "description": operation.summary,
                    "headers": _headers("X-Request-Id")
                    | {name: {"description": what, "schema": _TEXT} for name, what in operation.headers.items()},
                    "content": {operation.media: {"schema": schema}},
                }
                for status, schema in operation.answers.items()
            },
            **{
                str(status): {
                    "description": _WHEN[status],
                    "headers": _headers("X-Request-Id", *([_HEADERS_OF[status]] if status in _HEADERS_OF else [])),
                    "content": {
                        "application/json": {
                            "schema": _error(endpoint.error_form, is_of_host=status == 400 and checks_host)
                        }
                    },
                }
                for status in errors
                if status not in operation.answers
            },
        },
        "security": [{"token": [str(endpoint.role)]}] if 401 in refusals else [],
    }
    if operation.body is not None:
        content = {"schema": operation.body, "example": operation.example}
        described["requestBody"] = {"required": True, "content": {"application/json": content}}
    return described


def _error(form: ErrorForm, *, is_of_host: bool) -> Schema:
    """A call under another name is refused before it is known which endpoint it is for."""
    if is_of_host and form is not openai_form:
        return {"anyOf": [_ERRORS[form], _ERRORS[openai_form]]}
    return _ERRORS[form]


def _parameters(endpoint: Endpoint, operation: Operation) -> list[Parameter]:
    return [each for each in operation.parameters if each["in"] != "path" or each["name"] in endpoint.param_convertors]


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _with_refs(node: Any, named: dict[str, Any]) -> Any:
    """A part of the document, in which schemas with a title are references to ``named``, where they stand once."""
    if isinstance(node, Mapping):
        copied = {key: _with_refs(value, named) for key, value in node.items()}
        if not isinstance(copied.get("title"), str):
            return copied
        title = copied["title"]
        if named.setdefault(title, copied) != copied:
            raise ValueError(f"two schemas have the title '{title}'")
        return {"$ref": f"#/components/schemas/{title}"}
    if isinstance(node, list | tuple):
        return [_with_refs(item, named) for item in node]
    return node
