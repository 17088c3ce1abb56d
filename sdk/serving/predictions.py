"""The calls that predict, in the forms that callers of other servers know."""

import asyncio
import time
import uuid
from collections import Counter
from typing import Any

from anyio.to_thread import run_sync
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from ..switching.execute.requests import Request, Text
from ..switching.switcher import Switcher
from ..web.access import Role
from ..web.bodies import read_body, read_json
from ..web.calls import call_of
from ..web.endpoints import Endpoint
from ..web.errors import BadRequestError, CallerGoneError
from .batching import Batcher
from .open_inference import outputs_of, ref_of, texts_of
from .payloads import answer_of, classes_of, classify_call, mixed_call, predict_call


class Predictions:
    """Answers calls that predict, computed in batches.

    Args:
        switcher: What predicts.
        batcher: What computes the calls together.
    """

    def __init__(self, switcher: Switcher, batcher: Batcher) -> None:
        self._switcher, self._batcher = switcher, batcher
        self.endpoints = [
            Endpoint("POST", path, answer, role=Role.PREDICT)
            for path, answer in (
                ("/v1/classify", self._classify),
                ("/classify", self._classify),
                ("/v1/mixed", self._mixed),
                ("/predict", self._predict),
                ("/v2/models/{name}/infer", self._infer),
                ("/v2/models/{name}/versions/{number}/infer", self._infer),
            )
        ]

    async def _classify(self, http: HttpRequest) -> Response:
        """vLLM's ``/classify``: ``{"model": ref, "input": text, list of texts or list of pairs}``."""
        ref, inputs = classify_call(read_json(await read_body(http)))
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
        rows = mixed_call(read_json(await read_body(http)))

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
        call = predict_call(read_json(await read_body(http)))
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
        body = read_json(await read_body(http))
        ref = ref_of(http)
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

    async def _answers(self, http: HttpRequest, requests: list[Request]) -> list[Any]:
        """The answers, once they are there; a caller that hangs up gives its place in the queue back."""
        call = call_of(http)
        call.inputs, call.rows = len(requests), _rows_of(requests)
        answers = asyncio.wrap_future(self._batcher.submit(requests))
        gone = asyncio.ensure_future(_disconnected(http))
        gone.add_done_callback(lambda task: None if task.cancelled() else answers.cancel())
        try:
            return await answers
        except asyncio.CancelledError as error:
            if not gone.done():
                raise  # the server ends
            raise CallerGoneError from error
        finally:
            gone.cancel()


async def _disconnected(http: HttpRequest) -> None:
    """Until the caller hangs up; the body has been read."""
    while (await http.receive())["type"] != "http.disconnect":
        pass


def _rows_of(requests: list[Request]) -> dict[str, int]:
    """How many answers each version, or composition of versions, gives to requests."""
    rows: dict[str, int] = {}
    for route, count in Counter(route for request in requests for route in request.routes).items():
        version = str(route.composition)
        rows[version] = rows.get(version, 0) + count
    return rows


def _version_of(requests: list[Request]) -> str | list[str]:
    """What answers: the versions by number. Of several routes, as in a batch split, each once."""
    versions = list(_rows_of(requests))
    return versions[0] if len(versions) == 1 else versions
