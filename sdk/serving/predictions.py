"""The calls that predict, in the forms that callers of other servers know."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from anyio.to_thread import run_sync
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from ..core.composition import parse
from ..switching.execute.requests import Request, Text
from ..switching.resolve.resolved_ref import lookups
from ..switching.switcher import Switcher
from ..web.access import Role
from ..web.bodies import read_call
from ..web.calls import call_of
from ..web.endpoints import Endpoint
from ..web.errors import BadRequestError, CallerGoneError, text_form
from ..web.operations import Operation, parameter
from .batching import Batcher
from .fetching import Fetcher
from .figures import Figures
from .open_inference import (
    INFER_ANSWER,
    INFER_CALL,
    MODEL_PARAMETERS,
    check_is_json,
    outputs_of,
    ref_of,
    texts_of,
    version_of,
    wanted_outputs,
)
from .payloads import (
    CLASSIFY_ANSWER,
    CLASSIFY_CALL,
    MIXED_ANSWER,
    MIXED_CALL,
    PREDICT_ANSWER,
    PREDICT_CALL,
    PredictCall,
    answer_of,
    input_of,
    inputs_of,
    usage_of,
)

MAX_REFS: Final = 64
"""Refs in a composition at most: each needs a place of its own on the model, for good."""

_ERRORS: Final = (404, 422, 429, 503)

_CLASSIFY: Final = Operation(
    summary="Answer inputs with one ref or composition, in the form of vLLM.",
    body=CLASSIFY_CALL,
    example={"model": "sst2@production", "input": ["a gripping film", "two dull hours"]},
    answers={200: CLASSIFY_ANSWER},
    errors=_ERRORS,
)
_MIXED: Final = Operation(
    summary="Answer rows that each name their own ref or composition.",
    body=MIXED_CALL,
    example={
        "rows": [
            {"model": "sst2", "input": "a gripping film"},
            {"model": "mrpc", "input": ["He left.", "He went away."]},
        ]
    },
    answers={200: MIXED_ANSWER},
    errors=_ERRORS,
)
_PREDICT: Final = Operation(
    summary="Answer inputs in the form of Hugging Face's pipelines and of text-embeddings-inference.",
    body=PREDICT_CALL,
    example={"inputs": "a gripping film", "parameters": {"top_k": 1}},
    answers={200: PREDICT_ANSWER},
    parameters=[
        parameter(name, place, "The ref or composition that answers: in the query or in the header.", example="sst2")
        for name, place in (("model", "query"), ("X-Model", "header"))
    ],
    headers={"X-Version": "What answered, by number."},
    errors=_ERRORS,
)
_INFER: Final = Operation(
    summary="Answer a tensor of texts, in the Open Inference Protocol.",
    body=INFER_CALL,
    example={
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a gripping film", "two dull hours"]}]
    },
    parameters=MODEL_PARAMETERS,
    answers={200: INFER_ANSWER},
    errors=_ERRORS,
)


class Predictions:
    """Answers calls that predict, computed in batches.

    Args:
        switcher: What predicts.
        fetcher: What brings the files of versions here before their calls wait for a batch.
        batcher: What computes the calls together.
        figures: Is told what versions predict.
    """

    def __init__(self, switcher: Switcher, fetcher: Fetcher, batcher: Batcher, figures: Figures) -> None:
        self._switcher, self._fetcher, self._batcher, self._figures = switcher, fetcher, batcher, figures
        self.endpoints = [
            *(
                Endpoint("POST", path, answer, role=Role.PREDICT, operation=operation)
                for path, answer, operation in (
                    ("/v1/classify", self._classify, _CLASSIFY),
                    ("/classify", self._classify, _CLASSIFY),
                    ("/v1/mixed", self._mixed, _MIXED),
                    ("/predict", self._predict, _PREDICT),
                )
            ),
            *(
                Endpoint("POST", path, self._infer, role=Role.PREDICT, operation=_INFER, error_form=text_form)
                for path in ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{number}/infer")
            ),
        ]

    async def _classify(self, http: HttpRequest) -> Response:
        """vLLM's ``/classify``: ``{"model": ref, "input": text, list of texts or list of pairs}``."""
        body = await read_call(http, CLASSIFY_CALL)
        ref = body["model"]
        call_of(http).ref = ref
        requests = await run_sync(self._prepare, ref, inputs_of(body["input"]))
        answers = await self._answers(http, requests)
        return JSONResponse(
            {
                **_envelope("classify"),
                "model": ref,
                "version": _version_of(call_of(http).rows),
                "data": [answer_of(*item) for item in zip(range(len(requests)), requests, answers, strict=True)],
                "usage": usage_of(answers),
            }
        )

    async def _mixed(self, http: HttpRequest) -> Response:
        """Rows that each name their own ref: ``{"rows": [{"model": ref, "input": text or pair}, …]}``."""
        rows = [(row["model"], input_of(row["input"])) for row in (await read_call(http, MIXED_CALL))["rows"]]

        def prepare() -> list[Request]:
            return [request for ref, text in rows for request in self._prepare(ref, [text])]

        requests = await run_sync(prepare)
        answers = await self._answers(http, requests)
        data = [
            {"model": ref, "version": _version_of(_rows_of([request])), **answer_of(index, request, answer)}
            for index, ((ref, _), request, answer) in enumerate(zip(rows, requests, answers, strict=True))
        ]
        return JSONResponse({**_envelope("mixed"), "data": data, "usage": usage_of(answers)})

    async def _predict(self, http: HttpRequest) -> Response:
        """Hugging Face's and TEI's ``/predict``; the ref is the query's ``model`` or the header ``X-Model``."""
        call = PredictCall.of(await read_call(http, PREDICT_CALL))
        ref = _named_ref(http)
        call_of(http).ref = ref
        task = await run_sync(self._switcher.task, ref)
        call.check(task)
        is_pair = task.is_pair and len(call.inputs) == 2 and all(isinstance(text, str) for text in call.inputs)
        inputs: list[Text] = [(str(call.inputs[0]), str(call.inputs[1]))] if is_pair else call.inputs
        requests = await run_sync(self._prepare, ref, inputs)
        answers = [call.classes(answer) for answer in await self._answers(http, requests)]
        content = answers if call.is_batch and not is_pair else answers[0]
        return JSONResponse(content, headers={"X-Version": str(_version_of(call_of(http).rows))})

    async def _infer(self, http: HttpRequest) -> Response:
        """The Open Inference Protocol's call."""
        check_is_json(http)
        body = await read_call(http, INFER_CALL)
        ref = ref_of(http)
        call_of(http).ref = ref
        task = await run_sync(self._switcher.task, ref)
        wanted = wanted_outputs(body, task)
        requests = await run_sync(self._prepare, ref, texts_of(body, task))
        answers = await self._answers(http, requests)
        return JSONResponse(
            {
                "model_name": http.path_params["name"],
                "model_version": version_of(requests),
                "id": body.get("id", call_of(http).id),
                "outputs": outputs_of(answers, wanted),
            }
        )

    def _prepare(self, ref: str, inputs: list[Text]) -> list[Request]:
        """The requests of inputs with one ref or composition.

        Raises:
            BadRequestError: The composition has more refs than ``MAX_REFS``.
            PointsmanError: As for ``Switcher.prepare``.
        """
        count = sum(1 for _ in lookups(parse(ref)))
        if count > MAX_REFS:
            raise BadRequestError(413, f"the composition has {count:,} refs; {MAX_REFS} are allowed in a call", "model")
        return self._switcher.prepare(ref, inputs)

    async def _answers(self, http: HttpRequest, requests: list[Request]) -> list[Any]:
        """The answers, once they are there; a caller that hangs up gives its place in the queue back."""
        call = call_of(http)
        call.inputs, call.rows = len(requests), _rows_of(requests)
        waits: list[float] = []

        async def compute() -> list[Any]:
            await self._fetcher.fetch(requests)
            return await asyncio.wrap_future(self._batcher.submit(requests, begun=waits.append))

        answers = asyncio.ensure_future(compute())
        gone = asyncio.ensure_future(_disconnected(http))
        gone.add_done_callback(lambda task: None if task.cancelled() else answers.cancel())
        try:
            predictions = await answers
            self._figures.answered(call, requests, predictions, waited=sum(waits))
            return predictions
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


def _named_ref(http: HttpRequest) -> str:
    """The ref that a call to ``/predict`` names.

    Raises:
        BadRequestError: It names none, or two that differ.
    """
    named = {*http.query_params.getlist("model"), *http.headers.getlist("x-model")} - {""}
    if len(named) != 1:
        found = " and ".join(f"'{ref[:80]}'" for ref in sorted(named)) or "neither"
        raise BadRequestError(
            422, f"the query's 'model' or the header X-Model names the one ref that answers; found {found}", "model"
        )
    return named.pop()


def _envelope(kind: str) -> dict[str, Any]:
    """What every answer in vLLM's form begins with."""
    return {"id": f"{kind}-{uuid.uuid4().hex}", "object": "list", "created": int(time.time())}


def _rows_of(requests: list[Request]) -> dict[str, int]:
    """How many answers each version, or composition of versions, gives to requests."""
    rows: dict[str, int] = {}
    for route, count in Counter(route for request in requests for route in request.routes).items():
        version = str(route.composition)
        rows[version] = rows.get(version, 0) + count
    return rows


def _version_of(rows: Mapping[str, int]) -> str | list[str]:
    """What answers: the versions by number. Of several routes, as in a batch split, each once."""
    versions = list(rows)
    return versions[0] if len(versions) == 1 else versions
