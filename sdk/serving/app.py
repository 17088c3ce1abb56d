"""The HTTP server of a base: a Switcher's answers, batched, and what is seen from outside."""

import asyncio
import importlib.metadata
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import asdict

from anyio.to_thread import run_sync
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from pointsman.registry import Registry
from pointsman.registry.errors import PointsmanError

from ..switching.switcher import Switcher
from ..web.access import Access, Role, Tokens
from ..web.app import build_app
from ..web.endpoints import Endpoint
from .batching import Batcher
from .metrics import Metrics
from .models import Models
from .predictions import Predictions

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
        self._metrics = Metrics(status=switcher.status, waiting=lambda: self._batcher.waiting)
        self._batcher = Batcher(
            switcher.answer, max_batch_tokens=max_batch_tokens, max_queue=max_queue, observer=self._metrics
        )
        self._refresh_seconds = refresh_seconds
        self._is_ready = True
        self.app = build_app(
            [
                *Predictions(switcher, self._batcher).endpoints,
                *Models(switcher, registry).endpoints,
                Endpoint("POST", "/v1/refresh", self._refresh, role=Role.ADMIN),
                Endpoint("GET", "/v1/status", self._status, role=Role.READ),
                Endpoint("GET", "/metrics", self._measured, role=Role.READ),
                Endpoint("GET", "/v2", _about, role=Role.READ),
                Endpoint("GET", "/v2/health/live", _live, role=None),
                Endpoint("GET", "/v2/health/ready", self._ready, role=None),
            ],
            access=Access(tokens=tokens, anonymous=Role.PREDICT if tokens is None else None),
            hosts=hosts,
            observers=[self._metrics.call_ended],
            lifespan=self._lifespan,
        )

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

    async def _ready(self, _: HttpRequest) -> Response:
        """Whether calls are answered."""
        return JSONResponse({"ready": self._is_ready}, 200 if self._is_ready else 503)


async def _live(_: HttpRequest) -> Response:
    """The process answers."""
    return JSONResponse({"live": True})


async def _about(_: HttpRequest) -> Response:
    """The server, in the Open Inference Protocol."""
    return JSONResponse({"name": "pointsman", "version": importlib.metadata.version("pointsman"), "extensions": []})
