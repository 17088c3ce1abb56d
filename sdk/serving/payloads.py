"""What callers of predictions send, checked field by field, and what they get."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..switching.execute.predictions import Prediction
from ..switching.execute.requests import Request, Text
from ..web.bodies import kind_of, known_only, required, required_text
from ..web.errors import BadRequestError

MAX_INPUTS: Final = 1024
"""Inputs in a call at most."""

MAX_LETTERS: Final = 1_000_000
"""Letters in an input at most; a base reads far fewer, and cuts the rest off."""


def classify_call(body: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The ref and the inputs of ``{"model": ref, "input": …}``: one text, or a list of texts or of pairs.

    Raises:
        BadRequestError: A field is missing, unknown or of another kind.
    """
    known_only(body, ("model", "input", "user"))
    return required_text(body, "model"), _inputs(body, "input")


@dataclass(frozen=True, kw_only=True)
class PredictCall:
    """A call in the form of Hugging Face's pipelines and of TEI."""

    inputs: list[Text]
    is_batch: bool
    """Whether ``inputs`` was a list, so that the answer is one, too."""
    top_k: int | None
    """The classes in an answer at most, the most probable first."""


def predict_call(body: Mapping[str, Any]) -> PredictCall:
    """``{"inputs": …, "parameters": {"top_k": n, "function_to_apply": "softmax"}}``.

    Raises:
        BadRequestError: A field is missing, unknown or of another kind.
    """
    known_only(body, ("inputs", "parameters"))
    parameters = {} if body.get("parameters") is None else body["parameters"]
    if not isinstance(parameters, dict):
        raise BadRequestError(422, f"'parameters' must be an object; found {kind_of(parameters)}", "parameters")
    known_only(parameters, ("top_k", "function_to_apply"), "parameters")
    applied = parameters.get("function_to_apply")
    if applied not in (None, "softmax"):
        raise BadRequestError(
            422,
            "'parameters.function_to_apply' is 'softmax' for classes, and scores are answered as they are; "
            f"found {applied if isinstance(applied, str) else kind_of(applied)}",
            "parameters.function_to_apply",
        )
    top_k = parameters.get("top_k")
    if top_k is not None and (not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1):
        raise BadRequestError(422, "'parameters.top_k' must be a whole number of at least 1", "parameters.top_k")
    inputs = _inputs(body, "inputs")
    return PredictCall(inputs=inputs, is_batch=isinstance(body["inputs"], list), top_k=top_k)


def classes_of(answer: Prediction, top_k: int | None) -> list[dict[str, Any]]:
    """The classes of an answer, the most probable first; of a regression its score."""
    if answer.probabilities is None:
        return [_prediction(answer)]
    ordered = sorted(answer.probabilities.items(), key=lambda item: -item[1])
    return [{"label": label, "score": score} for label, score in ordered[:top_k]]


def mixed_call(body: Mapping[str, Any]) -> list[tuple[str, Text]]:
    """The rows of ``{"rows": [{"model": ref, "input": text or pair}, …]}``.

    Raises:
        BadRequestError: A field is missing, unknown or of another kind.
    """
    known_only(body, ("rows", "user"))
    rows = required(body, "rows")
    if not isinstance(rows, list) or not rows:
        raise BadRequestError(422, f"'rows' must be a list of at least one row; found {kind_of(rows)}", "rows")
    if len(rows) > MAX_INPUTS:
        raise BadRequestError(413, f"'rows' has {len(rows)} items; {MAX_INPUTS} are allowed in a call", "rows")
    read = []
    for number, row in enumerate(rows):
        place = f"rows[{number}]"
        if not isinstance(row, dict):
            raise BadRequestError(422, f"'{place}' must be an object with model and input; found {kind_of(row)}", place)
        known_only(row, ("model", "input"), place)
        read.append((required_text(row, "model", place), _input(required(row, "input", place), f"{place}.input")))
    return read


def answer_of(index: int, request: Request, answer: Any) -> dict[str, Any]:
    """What a caller gets for an input: one prediction; of ``parallel`` one for each member, in ``parallel``."""
    if not request.is_parallel:
        return {"index": index, **_prediction(answer)}
    members = [
        {"version": str(route.composition), **_prediction(one)}
        for route, one in zip(request.routes, answer, strict=True)
    ]
    return {"index": index, "parallel": members}


def _prediction(answer: Prediction) -> dict[str, Any]:
    if answer.probabilities is None:
        # JSON has no number for them.
        return {"label": None, "score": answer.score if math.isfinite(answer.score) else None}
    probabilities = list(answer.probabilities.values())
    return {
        "label": answer.label,
        "score": answer.score,
        "probs": probabilities,
        "labels": list(answer.probabilities),
        "num_classes": len(probabilities),
    }


def _inputs(body: Mapping[str, Any], name: str) -> list[Text]:
    """One text, or a list of texts or of pairs."""
    inputs = required(body, name)
    items = [inputs] if isinstance(inputs, str) else inputs
    if not isinstance(items, list):
        raise BadRequestError(
            422, f"'{name}' must be a text, or a list of texts or pairs; found {kind_of(inputs)}", name
        )
    if len(items) > MAX_INPUTS:
        raise BadRequestError(413, f"'{name}' has {len(items)} items; {MAX_INPUTS} are allowed in a call", name)
    return [_input(item, f"{name}[{number}]") for number, item in enumerate(items)]


def _input(item: Any, place: str) -> Text:
    parts = [item] if isinstance(item, str) else item
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise BadRequestError(422, f"'{place}' must be a text or a pair of texts; found {kind_of(item)}", place)
    letters = sum(map(len, parts))
    if letters > MAX_LETTERS:
        raise BadRequestError(413, f"'{place}' has {letters:,} letters; {MAX_LETTERS:,} are allowed", place)
    return item if isinstance(item, str) else tuple(parts)
