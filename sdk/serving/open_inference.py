"""The Open Inference Protocol (version 2), which KServe, Triton and MLServer speak: tensors in, tensors out.

Texts are one input tensor of bytes, ``(rows,)``, or ``(rows, 2)`` for a task of pairs, flat or nested. Tensors are
JSON in both directions: the binary data extension is not among the server's ``extensions``.

Reference: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request as HttpRequest

from pointsman.registry import Ref

from ..switching.execute.predictions import Prediction
from ..switching.execute.requests import Request, Text
from ..tasks import Task
from ..web.errors import BadRequestError
from ..web.operations import parameter
from ..web.schemas import Schema, list_of, record
from .payloads import MAX_INPUTS, MAX_LETTERS, NUMBER, TEXT, number

NAME: Final = "text"
"""The input tensor's name."""

_PARAMETERS: Final[Schema] = {"type": "object", "description": "an object"}
_SIZES: Final = list_of(
    {"type": "integer", "minimum": 0, "description": "a whole number"}, description="a list of whole numbers"
)
_DATA: Final = list_of(
    {
        "type": ["string", "array"],
        "description": "a text or a list of texts",
        "maxLength": MAX_LETTERS,
        "maxItems": 2,
        "items": {**TEXT, "maxLength": MAX_LETTERS},
    },
    description="a list of texts, or of lists of texts",
    maxItems=2 * MAX_INPUTS,
)
INFER_CALL: Final = record(
    {
        "id": TEXT,
        "parameters": _PARAMETERS,
        "inputs": list_of(
            record(
                {
                    "name": {"type": "string", "enum": [NAME], "description": f"'{NAME}'"},
                    "shape": _SIZES,
                    "datatype": {"type": "string", "enum": ["BYTES"], "description": "BYTES"},
                    "parameters": _PARAMETERS,
                    "data": _DATA,
                },
                description="a tensor",
                optional=["parameters"],
            ),
            description="a list of one tensor, the texts",
            minItems=1,
            maxItems=1,
        ),
        "outputs": list_of(
            record(
                {"name": {"type": "string", "description": "the name of an output"}, "parameters": _PARAMETERS},
                description="an object with the name of an output",
                optional=["parameters"],
            ),
            description="a list of outputs",
            maxItems=100,
        ),
    },
    title="InferCall",
    optional=["id", "parameters", "outputs"],
)

_TENSOR: Final = record(
    {
        "name": TEXT,
        "shape": list_of({"type": "integer"}),
        "datatype": TEXT,
        "data": list_of({"type": ["string", *NUMBER["type"]]}),
    },
    title="Tensor",
)
_TENSOR_FORM: Final = record(
    {
        "name": TEXT,
        "datatype": TEXT,
        "shape": list_of({"type": "integer"}, description="-1: any size"),
        "parameters": record({"labels": list_of(TEXT, description="the classes, in the order of the probabilities")}),
    },
    title="TensorForm",
    optional=["parameters"],
)
INFER_ANSWER: Final = record(
    {
        "model_name": TEXT,
        "model_version": {
            **TEXT,
            "description": "the number of the version that answered; of a composition all of them",
        },
        "id": TEXT,
        "outputs": list_of(_TENSOR),
    },
    title="InferAnswer",
)
METADATA: Final = record(
    {
        "name": TEXT,
        "versions": list_of(TEXT),
        "platform": TEXT,
        "inputs": list_of(_TENSOR_FORM),
        "outputs": list_of(_TENSOR_FORM),
    },
    title="ModelMetadata",
)
MODEL_READY: Final = record({"name": TEXT, "ready": {"type": "boolean"}}, title="ModelReady")
SERVER_METADATA: Final = record({"name": TEXT, "version": TEXT, "extensions": list_of(TEXT)}, title="ServerMetadata")


MODEL_PARAMETERS: Final = (
    parameter("name", "path", "A ref or composition; with a version, an adapter's name.", example="sst2"),
    parameter("number", "path", "The number of a version, or an alias.", example="1"),
)


def check_is_json(http: HttpRequest) -> None:
    """Refuse a body of the binary data extension.

    Raises:
        BadRequestError: The call says that its body has binary tensors.
    """
    if "inference-header-content-length" in http.headers:
        raise BadRequestError(
            415, "this server has no binary data extension: send data as JSON, without Inference-Header-Content-Length"
        )


def texts_of(body: Mapping[str, Any], task: Task) -> list[Text]:
    """The rows of an inference call that fits ``INFER_CALL``.

    Args:
        body: ``{"inputs": [{"name": "text", "datatype": "BYTES", "shape": …, "data": …}]}``.
        task: What answers.

    Raises:
        BadRequestError: Shape and data differ, or are not what the task takes.
    """
    (tensor,) = body["inputs"]
    width = len(task.text)
    data = tensor["data"]
    if data and all(isinstance(row, list) for row in data):
        data = [text for row in data for text in row]
    rows = len(data) // width
    expected = [[rows], [rows, 1]] if width == 1 else [[rows, width]]
    if tensor["shape"] not in expected or rows * width != len(data) or not all(isinstance(text, str) for text in data):
        form = "(rows,)" if width == 1 else f"(rows, {width})"
        raise BadRequestError(
            422, f"'inputs[0].shape' must be that of the data, {form} for task '{task.name}'", "inputs[0].shape"
        )
    if rows > MAX_INPUTS:
        raise BadRequestError(413, f"'inputs[0]' has {rows:,} rows; {MAX_INPUTS:,} are allowed", "inputs[0].shape")
    if width == 1:
        return list(data)
    return [tuple(data[start : start + width]) for start in range(0, len(data), width)]


def wanted_outputs(body: Mapping[str, Any], task: Task) -> list[str]:
    """The names of the outputs that a call asks for, which are all if it names none.

    Raises:
        BadRequestError: There is no such output.
    """
    known = ["label", "probabilities"] if task.labels else ["score"]
    wanted = [output["name"] for output in body.get("outputs", [])]
    for place, name in enumerate(wanted):
        if name not in known:
            where = f"outputs[{place}].name"
            raise BadRequestError(422, f"'{where}' must be {' or '.join(known)}; found '{name[:80]}'", where)
    return [name for name in known if name in wanted or not wanted]


def outputs_of(answers: Sequence[Prediction], wanted: Sequence[str]) -> list[dict[str, Any]]:
    """The output tensors: labels and their probabilities, or the scores of a regression."""
    rows = len(answers)
    if answers[0].probabilities is None:
        scores = [number(answer.score) for answer in answers]
        return [{"name": "score", "datatype": "FP32", "shape": [rows], "data": scores}]
    probabilities = [number(value) for answer in answers for value in (answer.probabilities or {}).values()]
    tensors = [
        {"name": "label", "datatype": "BYTES", "shape": [rows], "data": [answer.label for answer in answers]},
        {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": [rows, len(answers[0].probabilities)],
            "data": probabilities,
        },
    ]
    return [tensor for tensor in tensors if tensor["name"] in wanted]


def version_of(requests: Sequence[Request]) -> str:
    """What answers: of one version its number; of compositions all of them."""
    compositions = dict.fromkeys(route.composition for request in requests for route in request.routes)
    names = [str(each.selector if isinstance(each, Ref) and len(compositions) == 1 else each) for each in compositions]
    return ", ".join(names)


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
        "versions": [str(version) for version in versions],
        "platform": "pointsman",
        "inputs": [{"name": NAME, "datatype": "BYTES", "shape": [-1] if width == 1 else [-1, width]}],
        "outputs": outputs,
    }
