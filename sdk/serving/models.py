"""The calls that say what there is: the adapters of the base, and what a ref stands for."""

from typing import Any, Final

from anyio.to_thread import run_sync
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from pointsman.registry import Ref, Registry, Version

from ..switching.switcher import Switcher
from ..web.access import Role
from ..web.endpoints import Endpoint
from ..web.errors import text_form
from ..web.operations import Operation, parameter
from ..web.schemas import list_of, record
from .open_inference import METADATA, MODEL_PARAMETERS, MODEL_READY, metadata, ref_of
from .payloads import COUNT, TEXT

_MODEL: Final = record(
    {
        "id": TEXT,
        "object": {"type": "string", "enum": ["model"]},
        "created": COUNT,
        "owned_by": TEXT,
        "version": TEXT,
        "task": {"type": ["string", "null"]},
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
        "tasks": {"type": "object", "description": "the classes of each task", "additionalProperties": list_of(TEXT)},
        "versions": list_of(_MODEL),
    },
    title="ResolvedModel",
)
_LIST: Final = Operation(
    summary="The adapters of this base, each with its newest version.",
    answers={200: record({"object": {"type": "string", "enum": ["list"]}, "data": list_of(_MODEL)}, title="Models")},
    errors=(503,),
)
_RESOLVE: Final = Operation(
    summary="What a ref or composition stands for here.",
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

    async def _models(self, _: HttpRequest) -> Response:
        """The adapters of this base, each with its newest version."""
        page = await run_sync(lambda: self._registry.versions(base=self._switcher.base.fingerprint, newest_only=True))
        return JSONResponse({"object": "list", "data": [_model(version.name, version) for version in page.items]})

    async def _model(self, http: HttpRequest) -> Response:
        """What a ref or composition stands for here."""
        ref = http.path_params["ref"]
        resolved = await run_sync(self._switcher.resolve, ref)
        tasks = {route.task.name: list(route.task.labels) for route in resolved.routes.values()}
        versions = [_model(version.ref, version) for version in resolved.versions.values()]
        return JSONResponse(
            {
                "id": ref,
                "object": "model",
                "version": str(resolved.composition),
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
            versions = self._registry.versions(name=resolved.composition.name).items if is_version else []
            return metadata(name, sorted(version.number for version in versions), task)

        return JSONResponse(await run_sync(read))

    async def _model_ready(self, http: HttpRequest) -> Response:
        """Whether a ref can be called. It is looked up, and loaded by its first call only."""
        await run_sync(self._switcher.resolve, ref_of(http))
        return JSONResponse({"name": http.path_params["name"], "ready": True})


def _model(name: str, version: Version) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": int(version.created_at.timestamp()),
        "owned_by": "pointsman",
        "version": version.ref,
        "task": version.task.get("name"),
        "labels": list(version.task.get("labels", ())),
        "method": version.method,
        "base": version.base.name,
        "aliases": list(version.aliases),
    }
