"""The Open Inference Protocol (version 2), which KServe, Triton and MLServer speak: tensors in, tensors out.

Texts are one input tensor of bytes, ``(rows,)``, or ``(rows, 2)`` for a task of pairs, flat or nested.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request as HttpRequest

from ..switching.execute.predictions import Prediction
from ..switching.execute.requests import Text
from ..tasks import Task
from ..web.bodies import known_only, required
from ..web.errors import BadRequestError

NAME: Final = "text"
"""The input tensor's name."""


def texts_of(body: Mapping[str, Any], task: Task) -> list[Text]:
    """The rows of an inference call.

    Args:
        body: ``{"inputs": [{"name": "text", "datatype": "BYTES", "shape": …, "data": …}]}``.
        task: What answers.

    Raises:
        BadRequestError: A field is missing or of another kind, or shape and data differ.
    """
    known_only(body, ("id", "inputs", "outputs", "parameters"))
    tensors = required(body, "inputs")
    if not isinstance(tensors, list) or len(tensors) != 1 or not isinstance(tensors[0], dict):
        raise BadRequestError(422, "'inputs' must be a list of one tensor, the texts", "inputs")
    (tensor,) = tensors
    known_only(tensor, ("name", "datatype", "shape", "data", "parameters"), "inputs[0]")
    if required(tensor, "datatype", "inputs[0]") != "BYTES":
        raise BadRequestError(422, "'inputs[0].datatype' must be BYTES", "inputs[0].datatype")
    data, shape = required(tensor, "data", "inputs[0]"), required(tensor, "shape", "inputs[0]")
    width = len(task.text)
    flat = _flat(data)
    expected = [len(flat) // width] if width == 1 else [len(flat) // width, width]
    if shape not in (expected, [len(flat), 1] if width == 1 else expected) or len(flat) % width:
        form = "(rows,)" if width == 1 else f"(rows, {width})"
        raise BadRequestError(
            422, f"'inputs[0].shape' must be that of the data, {form} for task '{task.name}'", "inputs[0].shape"
        )
    if width == 1:
        return list(flat)
    return [tuple(flat[start : start + width]) for start in range(0, len(flat), width)]


def outputs_of(answers: Sequence[Prediction]) -> list[dict[str, Any]]:
    """The output tensors: labels and their probabilities, or the scores of a regression."""
    rows = len(answers)
    if answers[0].probabilities is None:
        scores = [answer.score if math.isfinite(answer.score) else None for answer in answers]
        return [{"name": "score", "datatype": "FP32", "shape": [rows], "data": scores}]
    probabilities = [value for answer in answers for value in (answer.probabilities or {}).values()]
    return [
        {"name": "label", "datatype": "BYTES", "shape": [rows], "data": [answer.label for answer in answers]},
        {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": [rows, len(answers[0].probabilities)],
            "data": probabilities,
        },
    ]


def ref_of(http: HttpRequest) -> str:
    """The ref that a path of the Open Inference Protocol names."""
    name, number = http.path_params["name"], http.path_params.get("number")
    return name if number is None else f"{name}@{number}"


def metadata(name: str, versions: Sequence[int], task: Task) -> dict[str, Any]:
    """What a model takes and gives."""
    outputs = (
        [{"name": "score", "datatype": "FP32", "shape": [-1]}]
        if not task.labels
        else [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": [-1, len(task.labels)],
                "parameters": {"labels": list(task.labels)},
            },
        ]
    )
    width = len(task.text)
    return {
        "name": name,
        "versions": [str(number) for number in versions],
        "platform": "pointsman",
        "inputs": [{"name": NAME, "datatype": "BYTES", "shape": [-1] if width == 1 else [-1, width]}],
        "outputs": outputs,
    }


def _flat(data: Any) -> list[str]:
    rows = data if isinstance(data, list) else None
    if rows and all(isinstance(row, list) for row in rows):
        rows = [item for row in rows for item in row]
    if rows is None or not all(isinstance(item, str) for item in rows):
        raise BadRequestError(422, "'inputs[0].data' must be a list of texts, or of lists of texts", "inputs[0].data")
    return rows
