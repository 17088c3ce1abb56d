"""The calls that say what there is: the adapters of the base, and what a ref stands for."""

from datetime import datetime
from typing import Any, Final

from anyio.to_thread import run_sync
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from pointsman.registry import Ref, Registry, Version
from pointsman.registry.errors import PointsmanError
from pointsman.registry.refs import BEST, LATEST

from ..core.composition import parse
from ..switching.resolve.lookup import resolve
from ..switching.resolve.resolved_ref import Lookup, ResolvedRef, lookups
from ..switching.switcher import Switcher
from ..web.access import Role
from ..web.endpoints import Endpoint
from ..web.errors import BadRequestError, text_form
from ..web.operations import Operation, parameter
from ..web.schemas import list_of, record
from .open_inference import METADATA, MODEL_PARAMETERS, MODEL_READY, metadata, ref_of
from .payloads import COUNT, TEXT

_PAGE: Final = 100
_LARGEST_PAGE: Final = 1_000

_TIME: Final = {"type": "string", "format": "date-time"}
_NO_ID: Final = {"type": ["string", "null"], "description": "null: the page is empty"}
_MODEL: Final = record(
    {
        "id": TEXT,
        "object": {"type": "string", "enum": ["model"]},
        "created": COUNT,
        "owned_by": TEXT,
        "version": TEXT,
        "task": {"type": ["string", "null"]},
        "text": list_of(TEXT, description="the names of the texts of an input: one, or two of a pair"),
        "labels": list_of(TEXT, description="the classes; none for a regression"),
        "method": TEXT,
        "base": TEXT,
        "aliases": list_of(TEXT),
    },
    title="Model",
)
_RESOLVED: Final = record(
    {
        "id": TEXT,
        "object": {"type": "string", "enum": ["model"]},
        "version": {**TEXT, "description": "what answers, by number"},
        "since": {
            **_TIME,
            "type": ["string", "null"],
            "description": "when the ref came to mean it in the registry; null: that is unknown",
        },
        "answered_since": {**_TIME, "description": "when this server came to answer with it"},
        "registry": {
            "type": ["string", "null"],
            "description": "what the ref means in the registry now, by number; null: nothing",
        },
        "tasks": {"type": "object", "description": "the classes of each task", "additionalProperties": list_of(TEXT)},
        "versions": list_of(_MODEL),
    },
    title="ResolvedModel",
)
_LIST: Final = Operation(
    summary="The adapters of this base by name, each with its newest version: a page of them.",
    answers={
        200: record(
            {
                "object": {"type": "string", "enum": ["list"]},
                "data": list_of(_MODEL),
                "first_id": _NO_ID,
                "last_id": _NO_ID,
                "has_more": {"type": "boolean"},
            },
            title="Models",
        )
    },
    parameters=[
        {
            **parameter("limit", "query", f"Adapters of a page; {_PAGE} by default.", example=str(_PAGE)),
            "schema": {"type": "integer", "minimum": 1, "maximum": _LARGEST_PAGE},
            "example": _PAGE,
        },
        {
            **parameter("after", "query", "The name of an adapter: those whose names come after it.", example="sst2"),
            "schema": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$"},
        },
    ],
    errors=(422, 503),
)
_RESOLVE: Final = Operation(
    summary="What a ref or composition stands for here and in the registry, and since when.",
    answers={200: _RESOLVED},
    parameters=[parameter("ref", "path", "A ref or composition.", example="sst2@production")],
    errors=(404, 422, 503),
)
_METADATA: Final = Operation(
    summary="What a model takes and gives, in the Open Inference Protocol.",
    answers={200: METADATA},
    parameters=MODEL_PARAMETERS,
    errors=(404, 422, 503),
)
_READY: Final = Operation(
    summary="Whether a ref can be called.",
    answers={200: MODEL_READY},
    parameters=MODEL_PARAMETERS,
    errors=(404, 422, 503),
)

_MOVES: Final = 1_000
"""Lines of a version's log in which the last move of an alias is looked for."""


class Models:
    """Says what the server answers with.

    Args:
        switcher: What answers.
        registry: Where the versions of its base are listed.
    """

    def __init__(self, switcher: Switcher, registry: Registry) -> None:
        self._switcher, self._registry = switcher, registry
        self.endpoints = [
            Endpoint("GET", "/v1/models", self._models, role=Role.READ, operation=_LIST),
            Endpoint("GET", "/v1/models/{ref:path}", self._model, role=Role.READ, operation=_RESOLVE),
            *(
                Endpoint("GET", path, answer, role=Role.READ, operation=operation, error_form=text_form)
                for path, answer, operation in (
                    ("/v2/models/{name}", self._metadata, _METADATA),
                    ("/v2/models/{name}/versions/{number}", self._metadata, _METADATA),
                    ("/v2/models/{name}/ready", self._model_ready, _READY),
                    ("/v2/models/{name}/versions/{number}/ready", self._model_ready, _READY),
                )
            ),
        ]

    async def _models(self, http: HttpRequest) -> Response:
        """The adapters of this base, each with its newest version: a page of them, by name."""
        limit, after = _limit(http.query_params.get("limit")), http.query_params.get("after")
        found = await run_sync(
            lambda: self._registry.newest_versions(self._switcher.base, after=after, limit=limit + 1)
        )
        data = [_model(version.name, version) for version in found[:limit]]
        return JSONResponse(
            {
                "object": "list",
                "data": data,
                "first_id": data[0]["id"] if data else None,
                "last_id": data[-1]["id"] if data else None,
                "has_more": len(found) > limit,
            }
        )

    async def _model(self, http: HttpRequest) -> Response:
        """What a ref or composition stands for here and in the registry, and since when."""
        ref = http.path_params["ref"]

        def read() -> tuple[ResolvedRef, datetime | None, str | None]:
            return self._switcher.resolve(ref), self._meant_since(ref), self._in_registry(ref)

        resolved, since, in_registry = await run_sync(read)
        tasks = {route.task.name: list(route.task.labels) for route in resolved.routes.values()}
        versions = [_model(version.ref, version) for version in resolved.versions.values()]
        return JSONResponse(
            {
                "id": ref,
                "object": "model",
                "version": str(resolved.composition),
                "since": None if since is None else since.isoformat(),
                "answered_since": resolved.since.isoformat(),
                "registry": in_registry,
                "tasks": tasks,
                "versions": versions,
            }
        )

    async def _metadata(self, http: HttpRequest) -> Response:
        """What a model takes and gives, in the Open Inference Protocol."""
        name, ref = http.path_params["name"], ref_of(http)

        def read() -> dict[str, Any]:
            resolved, task = self._switcher.resolve(ref), self._switcher.task(ref)
            is_version = isinstance(resolved.composition, Ref)
            numbers = self._registry.adapter(resolved.composition.name).numbers if is_version else ()
            return metadata(name, sorted(numbers), task)

        return JSONResponse(await run_sync(read))

    async def _model_ready(self, http: HttpRequest) -> Response:
        """Whether a ref can be called. It is looked up, and loaded by its first call only."""
        await run_sync(self._switcher.resolve, ref_of(http))
        return JSONResponse({"name": http.path_params["name"], "ready": True})

    def _meant_since(self, ref: str) -> datetime | None:
        """Since when a ref or the last ref of a composition means its version here; None: that is unknown."""
        since = [self._ref_since(lookup) for lookup in lookups(parse(ref))]
        known = [at for at in since if at is not None]
        return max(known) if known and len(known) == len(since) else None

    def _ref_since(self, lookup: Lookup) -> datetime | None:
        resolved = self._switcher.resolve(lookup)
        if not isinstance(lookup, Ref) or not isinstance(resolved.composition, Ref) or lookup.selector == BEST:
            return None  # which is the best depends on scores, which may be changed
        version = resolved.versions[str(resolved.composition)]
        if isinstance(lookup.selector, int) or lookup.selector == LATEST:
            return version.created_at
        moves = self._registry.events(version.ref, limit=_MOVES)
        return next(
            (move.at for move in moves if move.action == "alias" and move.details.get("alias") == lookup.selector), None
        )

    def _in_registry(self, ref: str) -> str | None:
        """What a ref or composition would mean after a refresh; None: nothing."""
        try:
            return str(resolve(parse(ref), self._registry, self._switcher.base).composition)
        except PointsmanError:
            return None


def _limit(text: str | None) -> int:
    """How many adapters a page has.

    Raises:
        BadRequestError: It is no number in the range.
    """
    if text is None:
        return _PAGE
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= _LARGEST_PAGE):
        raise BadRequestError(422, f"'limit' must be a number from 1 to {_LARGEST_PAGE}; found '{text[:80]}'", "limit")
    return int(text)


def _model(name: str, version: Version) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": int(version.created_at.timestamp()),
        "owned_by": "pointsman",
        "version": version.ref,
        "task": version.task.get("name"),
        "text": list(version.task.get("text", ())),
        "labels": list(version.task.get("labels", ())),
        "method": version.method,
        "base": version.base.name,
        "aliases": list(version.aliases),
    }
