"""Errors of HTTP calls: ``{"error": {"message": …, "type": …, "code": …}}``, or in the form of a protocol."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from pointsman.registry.errors import (
    ChangedError,
    CompositionError,
    ConflictError,
    DatabaseError,
    NotFoundError,
    OverloadedError,
    PointsmanError,
    QueryError,
    StoreError,
    WeightsError,
)

_RETRY_SECONDS: Final = 1

_STATUSES: Final[Mapping[type[PointsmanError], int]] = {
    OverloadedError: 429,
    NotFoundError: 404,
    ConflictError: 409,
    DatabaseError: 503,
    StoreError: 503,
    WeightsError: 503,
    PointsmanError: 422,
}
"""The first that fits counts."""

_log = logging.getLogger(__name__)


class RefusedError(Exception):
    """A call that is refused, with the status of HTTP that says so.

    Args:
        status: The status.
        message: What was wrong, what was found, and what to do.
        kind: The ``type`` that callers get.
        headers: Headers of the answer.
    """

    def __init__(self, status: int, message: str, *, kind: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.headers = status, message, kind, headers


class CallerGoneError(RefusedError):
    """The caller has hung up, so that nobody reads the answer; 499 is nginx's status for it."""

    def __init__(self) -> None:
        super().__init__(499, "the caller has gone", kind="HTTPError")


class BadRequestError(RefusedError):
    """A call that is malformed.

    Args:
        status: 400 for a body that is no JSON, 413 for one that is too large, 415 for one of another type, 422 for a
            wrong field.
        message: What was wrong and what was found.
        field: The field that was wrong.
    """

    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        super().__init__(status, message, kind="BadRequestError")
        self.field = field


ErrorForm = Callable[..., dict[str, Any]]
"""From ``message``, ``type``, ``code`` and further fields to the body of an answer."""


def openai_form(**fields: Any) -> dict[str, Any]:
    """The form of OpenAI's and vLLM's errors."""
    return {"error": fields}


def text_form(*, message: str, **_: Any) -> dict[str, Any]:
    """The form of the Open Inference Protocol's errors, whose clients read a text there."""
    return {"error": message}


def error_answer(
    status: int,
    kind: str,
    message: str,
    *,
    form: ErrorForm = openai_form,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """The answer of an error.

    Args:
        status: The status of HTTP.
        kind: The ``type``.
        message: The ``message``.
        form: From these to the body.
        headers: Headers of the answer.
        more: Further fields of ``error``.
    """
    content = form(message=message, type=kind, code=status, **more)
    return JSONResponse(content, status, {"Retry-After": str(_RETRY_SECONDS)} if status == 429 else headers)


def _more(error: PointsmanError) -> dict[str, Any]:
    """What an error says as data."""
    match error:
        case ChangedError():
            return {"current": error.current}
        case QueryError() | CompositionError() if error.position is not None:
            return {"position": error.position}
    return {}


async def failed(http: HttpRequest, error: Exception) -> Response:
    """The answer to a call that failed."""
    form = getattr(http.state, "error_form", openai_form)
    match error:
        case HTTPException():
            return error_answer(error.status_code, "HTTPError", error.detail, form=form, headers=error.headers)
        case BadRequestError():
            return error_answer(error.status, error.kind, error.message, form=form, param=error.field)
        case RefusedError():
            return error_answer(error.status, error.kind, error.message, form=form, headers=error.headers)
        case PointsmanError():
            status = next(status for kind, status in _STATUSES.items() if isinstance(error, kind))
            message = str(error)
            if status == 503:
                # The whole message names files of this machine.
                _log.error("%s %s: %s", http.method, http.url.path, error)
                message = "what answers this call cannot be read now; the server's log says why"
            return error_answer(status, type(error).__name__, message, form=form, **_more(error))
    _log.error("%s %s failed", http.method, http.url.path, exc_info=error)
    return error_answer(500, "InternalError", "the server failed at this call; its log says why", form=form)
