"""The HTTP server of a base: a Switcher's answers, batched, and what is seen from outside."""

import asyncio
import importlib.metadata
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Final

from anyio.to_thread import run_sync
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from pointsman.registry import Registry
from pointsman.registry.errors import PointsmanError

from ..dashboard import app as dashboard
from ..switching.switcher import Switcher
from ..web.access import Access, Role, Tokens
from ..web.app import build_app
from ..web.endpoints import Endpoint
from ..web.openapi import document
from ..web.operations import Operation
from ..web.schemas import list_of, record
from .batching import Batcher
from .fetching import Fetcher
from .figures import Figures
from .metrics import Metrics
from .models import Models
from .open_inference import SERVER_METADATA
from .payloads import COUNT, TEXT
from .predictions import Predictions
from .recording import Recording

_VERSION: Final = importlib.metadata.version("pointsman")

_log = logging.getLogger(__name__)

_LIMIT: Final = {"type": ["integer", "null"], "description": "null: no limit"}
_FLAG: Final = {"type": "boolean"}

_REFRESH: Final = Operation(
    summary="Look up anew what refs stand for.",
    answers={
        200: record(
            {"changes": {"type": "object", "description": "the new version by ref", "additionalProperties": TEXT}},
            title="Refreshed",
        )
    },
    errors=(404, 422, 503),
)
_STATUS: Final = Operation(
    summary="What is in memory, and how many inputs wait and are computed.",
    answers={
        200: record(
            {
                "base": TEXT,
                "device": TEXT,
                "precision": TEXT,
                "versions": list_of(
                    record(
                        {
                            "ref": TEXT,
                            "method": TEXT,
                            "place": TEXT,
                            "engine": {"type": "string", "enum": ["fast", "torch"]},
                            "size": {**COUNT, "description": "bytes of its tensors"},
                            "hits": {**COUNT, "description": "calls that have used it"},
                            "used_at": {"type": "string", "format": "date-time"},
                            "load_seconds": {"type": "number"},
                            "pinned": _FLAG,
                        },
                        title="LoadedVersion",
                    )
                ),
                "racks": COUNT,
                "slots": {**COUNT, "description": "of all racks, free ones included"},
                "size": {**COUNT, "description": "bytes of all versions' tensors"},
                "rack_size": {**COUNT, "description": "bytes of all racks, free slots included"},
                "warm": {**COUNT, "description": "evicted versions that are kept in memory beside the model"},
                "loads": COUNT,
                "evictions": COUNT,
                "capacity": _LIMIT,
                "capacity_bytes": _LIMIT,
                "waiting": {**COUNT, "description": "inputs that wait"},
                "computing": {**COUNT, "description": "inputs of the batch that is computed"},
            },
            title="Status",
        )
    },
)
_METRICS: Final = Operation(
    summary="The metrics, for Prometheus.", answers={200: TEXT}, media=CONTENT_TYPE_LATEST.partition(";")[0]
)
_ABOUT: Final = Operation(summary="The server, in the Open Inference Protocol.", answers={200: SERVER_METADATA})
_LIVE: Final = Operation(summary="Whether the process answers.", answers={200: record({"live": _FLAG}, title="Live")})
_READY: Final = Operation(
    summary="Whether calls are answered; 503 once the server ends.",
    answers=dict.fromkeys((200, 503), record({"ready": _FLAG}, title="Ready")),
)
_DOCUMENT: Final = Operation(summary="This document.", answers={200: {"type": "object"}})


class Server:
    """Answers for the adapters of one base.

    Args:
        switcher: The base. It is closed by its owner.
        registry: Where the versions of the base are listed.
        max_batch_tokens: The tokens of a batch at most, by an estimate.
        max_wait: The seconds at most that a batch waits for the callers of the last one, who may call again.
        max_queue: The inputs that wait at most.
        hosts: The names under which the server may be called, in lower case; a page on another name must not reach it
            through a browser. None: any name.
        tokens: The tokens that callers name; None: all callers may read and predict.
        refresh_seconds: How often refs are looked up anew; None: only when a caller asks.
        record_seconds: How often what each version answered is written into the registry; None: never.
        clock: The present time, in seconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        switcher: Switcher,
        registry: Registry,
        *,
        max_batch_tokens: int,
        max_wait: float = 0.005,
        max_queue: int,
        hosts: Collection[str] | None,
        tokens: Tokens | None = None,
        refresh_seconds: float | None = None,
        record_seconds: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._switcher = switcher
        self._metrics = Metrics(status=switcher.status, waiting=lambda: self._batcher.waiting)
        self._batcher = Batcher(
            switcher.answer,
            max_batch_tokens=max_batch_tokens,
            max_wait=max_wait,
            max_queue=max_queue,
            observer=self._metrics,
        )
        self._fetcher = Fetcher(registry, most_waiting=max_queue)
        figures = Figures()
        self._recording = None
        if record_seconds is None:
            figures.stop()
        else:
            status = switcher.status()
            settings = {
                **{name: getattr(status, name) for name in ("device", "precision", "capacity")},
                "max_batch_tokens": max_batch_tokens,
                "max_wait": max_wait,
                "max_queue": max_queue,
            }
            recorder = registry.start_serving(settings=settings, environment={"packages": {"pointsman": _VERSION}})
            self._recording = Recording(recorder, figures, seconds=record_seconds, clock=clock)
        self._refresh_seconds = refresh_seconds
        self._is_ready = True
        access = Access(tokens=tokens, anonymous=Role.PREDICT if tokens is None else None)
        self.endpoints = [
            *Predictions(switcher, self._fetcher, self._batcher, figures).endpoints,
            *Models(switcher, registry).endpoints,
            *dashboard.endpoints(registry, base=switcher.base),
            Endpoint("POST", "/v1/refresh", self._refresh, role=Role.ADMIN, operation=_REFRESH),
            Endpoint("GET", "/v1/status", self._status, role=Role.READ, operation=_STATUS),
            Endpoint("GET", "/metrics", self._measured, role=Role.READ, operation=_METRICS),
            Endpoint("GET", "/v2", _about, role=Role.READ, operation=_ABOUT),
            Endpoint("GET", "/v2/health/live", _live, role=None, operation=_LIVE),
            Endpoint("GET", "/v2/health/ready", self._ready, role=None, operation=_READY),
            Endpoint("GET", "/openapi.json", self._described, role=Role.READ, operation=_DOCUMENT),
        ]
        self._document = document(
            self.endpoints, title="pointsman", version=_VERSION, access=access, checks_host=hosts is not None
        )
        self.app = build_app(
            self.endpoints,
            access=access,
            hosts=hosts,
            observers=[self._metrics.call_ended, figures.call_ended],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        if self._recording is not None:
            self._recording.start()
        refreshing = asyncio.ensure_future(self._keep_fresh())
        yield
        refreshing.cancel()
        self._is_ready = False
        self._fetcher.close()
        await run_sync(self._batcher.close)
        if self._recording is not None:
            await run_sync(self._recording.close)

    async def _keep_fresh(self) -> None:
        """Look refs up anew again and again; what fails is logged, and answered with as before."""
        while self._refresh_seconds is not None:
            await asyncio.sleep(self._refresh_seconds)
            try:
                for ref, version in (await run_sync(self._switcher.refresh)).items():
                    _log.info("%s is %s now", ref, version)
            except PointsmanError as error:
                _log.error("refresh: %s", error)
            except Exception:  # whatever it was, the next time may go well
                _log.exception("refresh failed")

    async def _refresh(self, http: HttpRequest) -> Response:
        """Look up anew what refs stand for; calls that run end with what they began with."""
        return JSONResponse({"changes": await run_sync(self._switcher.refresh)})

    async def _status(self, _: HttpRequest) -> Response:
        """What is in memory, and how many inputs wait and are computed."""
        status = asdict(await run_sync(self._switcher.status))
        for version in status["versions"]:
            version["used_at"] = version["used_at"].isoformat()
        return JSONResponse({**status, "waiting": self._batcher.waiting, "computing": self._batcher.computing})

    async def _measured(self, _: HttpRequest) -> Response:
        """The metrics, for Prometheus."""
        return Response(await run_sync(self._metrics.text), media_type=CONTENT_TYPE_LATEST)

    async def _described(self, _: HttpRequest) -> Response:
        """The OpenAPI document of these endpoints."""
        return JSONResponse(self._document)

    async def _ready(self, _: HttpRequest) -> Response:
        """Whether calls are answered."""
        return JSONResponse({"ready": self._is_ready}, 200 if self._is_ready else 503)


async def _live(_: HttpRequest) -> Response:
    """The process answers."""
    return JSONResponse({"live": True})


async def _about(_: HttpRequest) -> Response:
    """The server, in the Open Inference Protocol."""
    return JSONResponse({"name": "pointsman", "version": _VERSION, "extensions": []})
