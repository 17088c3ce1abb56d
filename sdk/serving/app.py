"""The HTTP application: a Switcher's answers in the forms that callers of other servers know."""

import asyncio
import importlib.metadata
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, Final

from anyio.to_thread import run_sync
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as HttpRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from pointsman.registry import Ref, Registry, Version
from pointsman.registry.errors import (
    DatabaseError,
    NotFoundError,
    OverloadedError,
    PointsmanError,
    StoreError,
    WeightsError,
)

from ..switching.execute.requests import Request, Text
from ..switching.switcher import Switcher
from . import access_log
from .access import Access, Tokens
from .batching import Batcher
from .calls import CallRecords, call_of, versions_of
from .metrics import Metrics
from .open_inference import metadata, outputs_of, texts_of
from .payloads import BadRequestError, answer_of, classes_of, classify_call, mixed_call, predict_call, read_json

MAX_BODY: Final = 16_000_000
"""Bytes of a body at most, which is read no further."""

_RETRY_SECONDS: Final = 1

_PORT: Final = re.compile(r":\d*\Z")
"""The end of a Host header; an IPv6 address before it has brackets."""

_CLIENT_CLOSED_REQUEST: Final = 499
"""nginx's status for a call whose caller hung up; nobody reads it."""

_log = logging.getLogger(__name__)


class Server:
    """Answers for the adapters of one base.

    Args:
        switcher: The base. It is closed by its owner.
        registry: Where the versions of the base are listed.
        max_batch_tokens: The tokens of a batch at most, by an estimate.
        max_queue: The inputs that wait at most.
        hosts: The names under which the server may be called, in lower case; a page on another name must not reach it
            through a browser. None: any name.
        tokens: The tokens that callers name; None: all callers may read and predict.
        refresh_seconds: How often refs are looked up anew; None: only when a caller asks.
    """

    def __init__(
        self,
        switcher: Switcher,
        registry: Registry,
        *,
        max_batch_tokens: int,
        max_queue: int,
        hosts: Collection[str] | None,
        tokens: Tokens | None = None,
        refresh_seconds: float | None = None,
    ) -> None:
        self._switcher = switcher
        self._registry = registry
        self._metrics = Metrics(status=switcher.status, waiting=lambda: self._batcher.waiting)
        self._batcher = Batcher(
            switcher.answer, max_batch_tokens=max_batch_tokens, max_queue=max_queue, observer=self._metrics
        )
        self._refresh_seconds = refresh_seconds
        self._is_ready = True
        app = Starlette(
            routes=[
                HttpRoute("/v1/classify", self._classify, methods=["POST"]),
                HttpRoute("/classify", self._classify, methods=["POST"]),
                HttpRoute("/v1/mixed", self._mixed, methods=["POST"]),
                HttpRoute("/predict", self._predict, methods=["POST"]),
                HttpRoute("/v1/refresh", self._refresh, methods=["POST"]),
                HttpRoute("/v2", _about, methods=["GET"]),
                *(
                    HttpRoute(f"/v2/models/{{name}}{version}{path}", answer, methods=[method])
                    for version in ("", "/versions/{number}")
                    for path, answer, method in (
                        ("", self._metadata, "GET"),
                        ("/ready", self._model_ready, "GET"),
                        ("/infer", self._infer, "POST"),
                    )
                ),
                HttpRoute("/v1/models", self._models, methods=["GET"]),
                HttpRoute("/v1/models/{ref:path}", self._model, methods=["GET"]),
                HttpRoute("/v1/status", self._status, methods=["GET"]),
                HttpRoute("/metrics", self._measured, methods=["GET"]),
                HttpRoute("/v2/health/live", _live, methods=["GET"]),
                HttpRoute("/v2/health/ready", self._ready, methods=["GET"]),
            ],
            middleware=[
                *([] if hosts is None else [Middleware(_KnownHosts, hosts=hosts)]),
                Middleware(Access, tokens=tokens, error=_error),
            ],
            exception_handlers=dict.fromkeys((HTTPException, BadRequestError, PointsmanError, Exception), _failed),
            lifespan=self._lifespan,
        )
        observers = (self._metrics.call_ended, access_log.write)
        self.app = CallRecords(app, routes=app.routes, observers=observers)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        refreshing = asyncio.ensure_future(self._keep_fresh())
        yield
        refreshing.cancel()
        self._is_ready = False
        await run_sync(self._batcher.close)

    async def _keep_fresh(self) -> None:
        """Look refs up anew again and again; what fails is logged, and answered with as before."""
        while self._refresh_seconds is not None:
            await asyncio.sleep(self._refresh_seconds)
            try:
                for ref, version in (await run_sync(self._switcher.refresh)).items():
                    _log.info("%s is %s now", ref, version)
            except PointsmanError as error:
                _log.error("refresh: %s", error)

    async def _classify(self, http: HttpRequest) -> Response:
        """vLLM's ``/classify``: ``{"model": ref, "input": text, list of texts or list of pairs}``."""
        ref, inputs = classify_call(read_json(await _body(http)))
        call_of(http).ref = ref
        requests = await run_sync(self._switcher.prepare, ref, inputs)
        answers = await self._answers(http, requests)
        return JSONResponse(
            {
                "id": f"classify-{uuid.uuid4().hex}",
                "object": "list",
                "created": int(time.time()),
                "model": ref,
                "version": _version_of(requests),
                "data": [answer_of(*item) for item in zip(range(len(requests)), requests, answers, strict=True)],
            }
        )

    async def _mixed(self, http: HttpRequest) -> Response:
        """Rows that each name their own ref: ``{"rows": [{"model": ref, "input": text or pair}, …]}``."""
        rows = mixed_call(read_json(await _body(http)))

        def prepare() -> list[Request]:
            return [request for ref, text in rows for request in self._switcher.prepare(ref, [text])]

        requests = await run_sync(prepare)
        answers = await self._answers(http, requests)
        data = [
            {"model": ref, "version": _version_of([request]), **answer_of(index, request, answer)}
            for index, ((ref, _), request, answer) in enumerate(zip(rows, requests, answers, strict=True))
        ]
        return JSONResponse(
            {"id": f"mixed-{uuid.uuid4().hex}", "object": "list", "created": int(time.time()), "data": data}
        )

    async def _predict(self, http: HttpRequest) -> Response:
        """Hugging Face's and TEI's ``/predict``; the ref is the query's ``model`` or the header ``X-Model``."""
        call = predict_call(read_json(await _body(http)))
        ref = http.query_params.get("model") or http.headers.get("x-model")
        if not ref:
            raise BadRequestError(422, "the query's 'model' or the header X-Model names what answers", "model")
        call_of(http).ref = ref
        task = await run_sync(self._switcher.task, ref)
        is_pair = task.is_pair and len(call.inputs) == 2 and all(isinstance(text, str) for text in call.inputs)
        inputs: list[Text] = [(str(call.inputs[0]), str(call.inputs[1]))] if is_pair else call.inputs
        requests = await run_sync(self._switcher.prepare, ref, inputs)
        answers = [classes_of(answer, call.top_k) for answer in await self._answers(http, requests)]
        content = answers if call.is_batch and not is_pair else answers[0]
        return JSONResponse(content, headers={"X-Version": str(_version_of(requests))})

    async def _infer(self, http: HttpRequest) -> Response:
        """The Open Inference Protocol's call."""
        body = read_json(await _body(http))
        ref = _ref_of(http)
        call_of(http).ref = ref
        task = await run_sync(self._switcher.task, ref)
        requests = await run_sync(self._switcher.prepare, ref, texts_of(body, task))
        answers = await self._answers(http, requests)
        return JSONResponse(
            {
                "model_name": http.path_params["name"],
                "model_version": str(_version_of(requests)),
                "id": str(body.get("id") or uuid.uuid4().hex),
                "outputs": outputs_of(answers),
            }
        )

    async def _metadata(self, http: HttpRequest) -> Response:
        """What a model takes and gives, in the Open Inference Protocol."""
        name, ref = http.path_params["name"], _ref_of(http)

        def read() -> dict[str, Any]:
            resolved, task = self._switcher.resolve(ref), self._switcher.task(ref)
            is_version = isinstance(resolved.composition, Ref)
            versions = self._registry.versions(name=resolved.composition.name).items if is_version else []
            return metadata(name, sorted(version.number for version in versions), task)

        return JSONResponse(await run_sync(read))

    async def _model_ready(self, http: HttpRequest) -> Response:
        """Whether a ref can be called. It is looked up, and loaded by its first call only."""
        await run_sync(self._switcher.resolve, _ref_of(http))
        return JSONResponse({"name": http.path_params["name"], "ready": True})

    async def _refresh(self, http: HttpRequest) -> Response:
        """Look up anew what refs stand for; calls that run end with what they began with."""
        return JSONResponse({"changes": await run_sync(self._switcher.refresh)})

    async def _answers(self, http: HttpRequest, requests: list[Request]) -> list[Any]:
        """The answers, once they are there; a caller that hangs up gives its place in the queue back."""
        call_of(http).requests = requests
        answers = asyncio.wrap_future(self._batcher.submit(requests))
        gone = asyncio.ensure_future(_disconnected(http))
        gone.add_done_callback(lambda task: None if task.cancelled() else answers.cancel())
        try:
            return await answers
        except asyncio.CancelledError as error:
            if not gone.done():
                raise  # the server ends
            raise HTTPException(_CLIENT_CLOSED_REQUEST, "the caller has gone") from error
        finally:
            gone.cancel()

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

    async def _status(self, _: HttpRequest) -> Response:
        """What is in memory, and how many inputs wait and are computed."""
        status = asdict(await run_sync(self._switcher.status))
        for version in status["versions"]:
            version["used_at"] = version["used_at"].isoformat()
        return JSONResponse({**status, "waiting": self._batcher.waiting, "computing": self._batcher.computing})

    async def _measured(self, _: HttpRequest) -> Response:
        """The metrics, for Prometheus."""
        return Response(await run_sync(self._metrics.text), media_type=CONTENT_TYPE_LATEST)

    async def _ready(self, _: HttpRequest) -> Response:
        """Whether calls are answered."""
        return JSONResponse({"ready": self._is_ready}, 200 if self._is_ready else 503)


class _KnownHosts:
    """Refuses calls under another name: a page that gave its own name this address would reach the server so."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: ASGIApp = self._app
        if scope["type"] == "http":
            name = _PORT.sub("", Headers(scope=scope).get("host", "").lower())
            if name not in self._hosts:
                known = " or ".join(self._hosts)
                answer = _error(400, "HTTPError", f"this server answers to {known}; found '{name[:80]}'")
        await answer(scope, receive, send)


async def _live(_: HttpRequest) -> Response:
    """The process answers."""
    return JSONResponse({"live": True})


async def _about(_: HttpRequest) -> Response:
    """The server, in the Open Inference Protocol."""
    return JSONResponse({"name": "pointsman", "version": importlib.metadata.version("pointsman"), "extensions": []})


def _ref_of(http: HttpRequest) -> str:
    """The ref that a path of the Open Inference Protocol names."""
    name, number = http.path_params["name"], http.path_params.get("number")
    return name if number is None else f"{name}@{number}"


async def _body(http: HttpRequest) -> bytes:
    """The body, read no further than ``MAX_BODY``."""
    parts, size = [], 0
    async for part in http.stream():
        size += len(part)
        if size > MAX_BODY:
            raise BadRequestError(413, f"the body is larger than {MAX_BODY:,} bytes")
        parts.append(part)
    return b"".join(parts)


async def _disconnected(http: HttpRequest) -> None:
    """Until the caller hangs up; the body has been read."""
    while (await http.receive())["type"] != "http.disconnect":
        pass


def _version_of(requests: list[Request]) -> str | list[str]:
    """What answered: the versions by number. Of several routes, as in a batch split, each once."""
    versions = versions_of(requests)
    return versions[0] if len(versions) == 1 else versions


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


def _error(status: int, kind: str, message: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """An error in the shape of OpenAI's and vLLM's."""
    content = {"error": {"message": message, "type": kind, "code": status, **more}}
    return JSONResponse(content, status, {"Retry-After": str(_RETRY_SECONDS)} if status == 429 else headers)


_STATUSES: Final[Mapping[type[PointsmanError], int]] = {
    OverloadedError: 429,
    NotFoundError: 404,
    DatabaseError: 503,
    StoreError: 503,
    WeightsError: 503,
    PointsmanError: 422,
}
"""The first that fits counts."""


async def _failed(http: HttpRequest, error: Exception) -> Response:
    """The answer to a call that failed."""
    match error:
        case HTTPException():
            return _error(error.status_code, "HTTPError", error.detail, headers=error.headers)
        case BadRequestError():
            return _error(error.status, "BadRequestError", error.message, param=error.field)
        case PointsmanError():
            status = next(status for kind, status in _STATUSES.items() if isinstance(error, kind))
            message = str(error)
            if status == 503:
                # The whole message names files of this machine.
                _log.error("%s %s: %s", http.method, http.url.path, error)
                message = "what answers this call cannot be read now; the server's log says why"
            return _error(status, type(error).__name__, message)
    _log.error("%s %s failed", http.method, http.url.path, exc_info=error)
    return _error(500, "InternalError", "the server failed at this call; its log says why")
