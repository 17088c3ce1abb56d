"""What callers of predictions send, and what they get, in the forms of vLLM and of Hugging Face."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..switching.execute.predictions import Prediction
from ..switching.execute.requests import Request, Text
from ..tasks import Task
from ..web.errors import BadRequestError
from ..web.schemas import Schema, list_of, record

MAX_INPUTS: Final = 1024
"""Inputs in a call at most."""

MAX_LETTERS: Final = 1_000_000
"""Letters of a text at most; a base reads far fewer, and cuts the rest off."""

FUNCTIONS: Final = ("softmax", "sigmoid", "none")
"""What makes a score of a class's logit."""

TEXT: Final[Schema] = {"type": "string", "description": "a text"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
NUMBER: Final[Schema] = {"type": ["number", "null"], "description": "null where it is not finite"}

_REF: Final[Schema] = {"type": "string", "description": "a ref or composition as a text"}
_PART: Final[Schema] = {**TEXT, "maxLength": MAX_LETTERS}
_INPUT: Final[Schema] = {
    "title": "Input",
    "description": "a text or a pair of texts",
    "type": ["string", "array"],
    "maxLength": MAX_LETTERS,
    "minItems": 2,
    "maxItems": 2,
    "items": _PART,
}
_INPUTS: Final[Schema] = {
    "title": "Inputs",
    "description": "a text, or a list of texts or pairs",
    "type": ["string", "array"],
    "maxLength": MAX_LETTERS,
    "minItems": 1,
    "maxItems": MAX_INPUTS,
    "items": _INPUT,
}
_USER: Final[Schema] = {"type": ["string", "null"], "description": "a text; it is not read"}

CLASSIFY_CALL: Final = record({"model": _REF, "input": _INPUTS, "user": _USER}, title="ClassifyCall", optional=["user"])
MIXED_CALL: Final = record(
    {
        "rows": list_of(
            record({"model": _REF, "input": _INPUT}, description="an object with model and input"),
            description="a list of at least one row",
            minItems=1,
            maxItems=MAX_INPUTS,
        ),
        "user": _USER,
    },
    title="MixedCall",
    optional=["user"],
)
PREDICT_CALL: Final = record(
    {
        "inputs": _INPUTS,
        "parameters": {
            **record(
                {
                    "top_k": {
                        "type": ["integer", "null"],
                        "minimum": 1,
                        "description": "a whole number of at least 1, or null",
                    },
                    "function_to_apply": {
                        "type": ["string", "null"],
                        "enum": [*FUNCTIONS, None],
                        "description": f"{', '.join(FUNCTIONS)} or null",
                    },
                },
                description="an object or null",
                optional=["top_k", "function_to_apply"],
            ),
            "type": ["object", "null"],
        },
    },
    title="PredictCall",
    optional=["parameters"],
)

_PREDICTION: Final = {
    "label": {"type": ["string", "null"], "description": "the most probable class; null for a regression"},
    "score": {**NUMBER, "description": "that class's probability, or the value of a regression"},
    "probs": list_of(NUMBER, description="every class's probability"),
    "labels": list_of(TEXT, description="the classes, in the order of probs"),
    "num_classes": COUNT,
}
_OF_CLASSES: Final = ("probs", "labels", "num_classes")
_VERSION: Final[Schema] = {**TEXT, "description": "what answered, by number"}
_MEMBERS: Final = list_of(
    record({"version": _VERSION, **_PREDICTION}, title="MemberAnswer", optional=_OF_CLASSES),
    description="of parallel: an answer of each member, and no other field but index",
)
_NOT_PARALLEL: Final = (*_PREDICTION, "parallel")
_ENVELOPE: Final = {"id": TEXT, "object": {"type": "string", "enum": ["list"]}, "created": COUNT}
_USAGE: Final = record(
    {
        "prompt_tokens": {**COUNT, "description": "tokens that the base read, special ones included"},
        "total_tokens": COUNT,
        "completion_tokens": COUNT,
    },
    title="Usage",
)
_VERSIONS: Final[Schema] = {
    "type": ["string", "array"],
    "items": TEXT,
    "description": "what answered, by number; a list if different inputs were answered by different versions",
}

CLASSIFY_ANSWER: Final = record(
    {
        **_ENVELOPE,
        "model": TEXT,
        "version": _VERSIONS,
        "data": list_of(
            record({"index": COUNT, **_PREDICTION, "parallel": _MEMBERS}, title="Answer", optional=_NOT_PARALLEL)
        ),
        "usage": _USAGE,
    },
    title="ClassifyAnswer",
)
MIXED_ANSWER: Final = record(
    {
        **_ENVELOPE,
        "data": list_of(
            record(
                {"model": TEXT, "version": _VERSIONS, "index": COUNT, **_PREDICTION, "parallel": _MEMBERS},
                title="RowAnswer",
                optional=_NOT_PARALLEL,
            )
        ),
        "usage": _USAGE,
    },
    title="MixedAnswer",
)
_CLASSES: Final = list_of(
    record(
        {"label": {"type": ["string", "null"], "description": "null for a regression"}, "score": NUMBER}, title="Class"
    ),
    title="Classes",
    description="the classes of an input, those with the highest scores first",
)
PREDICT_ANSWER: Final[Schema] = {
    "anyOf": [_CLASSES, list_of(_CLASSES, description="those of each input, for a list of them")]
}


@dataclass(frozen=True, kw_only=True)
class PredictCall:
    """A call in the form of Hugging Face's pipelines and of TEI."""

    inputs: list[Text]
    is_batch: bool
    """Whether ``inputs`` was a list, so that the answer is one, too."""
    top_k: int | None
    """The classes in an answer at most, those with the highest scores."""
    function: str | None
    """One of ``FUNCTIONS``; None: softmax for classes, none for a regression."""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "PredictCall":
        """That of a body which fits ``PREDICT_CALL``."""
        parameters = body.get("parameters") or {}
        top_k = parameters.get("top_k")
        return cls(
            inputs=inputs_of(body["inputs"]),
            is_batch=isinstance(body["inputs"], list),
            top_k=None if top_k is None else int(top_k),
            function=parameters.get("function_to_apply"),
        )

    def check(self, task: Task) -> None:
        """Refuse a function for classes where there is none.

        Raises:
            BadRequestError: The task is a regression, and the function another than ``none``.
        """
        if not task.labels and self.function not in (None, "none"):
            raise BadRequestError(
                422,
                f"'parameters.function_to_apply' must be none for '{task.name}', which has no classes; "
                f"found '{self.function}'",
                "parameters.function_to_apply",
            )

    def classes(self, answer: Prediction) -> list[dict[str, Any]]:
        """The classes of an answer, those with the highest scores first; of a regression its value."""
        if answer.probabilities is None:
            return [{"label": None, "score": number(answer.score)}]
        match self.function:
            case "sigmoid":
                scores: Iterable[float] = map(_sigmoid, answer.logits)
            case "none":
                scores = answer.logits
            case _:
                scores = answer.probabilities.values()
        ordered = sorted(zip(answer.probabilities, scores, strict=True), key=lambda item: -item[1])
        return [{"label": label, "score": number(score)} for label, score in ordered[: self.top_k]]


def inputs_of(inputs: Any) -> list[Text]:
    """Inputs that fit the schemas: one, or a list of them."""
    return [input_of(item) for item in ([inputs] if isinstance(inputs, str) else inputs)]


def input_of(item: Any) -> Text:
    """An input that fits the schemas."""
    return item if isinstance(item, str) else tuple(item)


def number(value: float) -> float | None:
    """A number as JSON has it: none that is not finite."""
    return value if math.isfinite(value) else None


def answer_of(index: int, request: Request, answer: Any) -> dict[str, Any]:
    """What a caller gets for an input: one prediction; of ``parallel`` one for each member, in ``parallel``."""
    if not request.is_parallel:
        return {"index": index, **_prediction(answer)}
    members = [
        {"version": str(route.composition), **_prediction(one)}
        for route, one in zip(request.routes, answer, strict=True)
    ]
    return {"index": index, "parallel": members}


def usage_of(answers: Sequence[Any]) -> dict[str, int]:
    """The tokens that were read for answers; of ``parallel`` those of each member."""
    tokens = sum(one.tokens for answer in answers for one in ([answer] if isinstance(answer, Prediction) else answer))
    return {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}


def _prediction(answer: Prediction) -> dict[str, Any]:
    if answer.probabilities is None:
        return {"label": None, "score": number(answer.score)}
    return {
        "label": answer.label,
        "score": number(answer.score),
        "probs": [number(value) for value in answer.probabilities.values()],
        "labels": list(answer.probabilities),
        "num_classes": len(answer.probabilities),
    }


def _sigmoid(logit: float) -> float:
    """Without an overflow, however negative the logit is."""
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))
