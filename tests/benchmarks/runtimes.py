"""ONNX Runtime and OpenVINO, to which a trained adapter can be exported. `make peers` installs them.

The whole forward pass, adapter and head included, becomes one ONNX graph for any number of rows and tokens.
"""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pointsman.sdk.bases.find import find_base

VARIABLE = "POINTSMAN_RUNTIMES"
"""The environment variable that names the Python interpreter of the runtimes' environment."""
PYTHON = Path(__file__).resolve().parents[2] / ".venv-runtimes" / "bin" / "python"
MISSING = {
    "peer": None,
    "ratio": None,
    "note": "the peer's library is not installed: 'make peers' makes an environment with it, or set "
    f"{VARIABLE} to the Python interpreter of one",
}
"""What a figure says where there are no runtimes."""
INPUTS = ("input_ids", "attention_mask", "token_type_ids")

Logits = Callable[[Mapping[str, torch.Tensor]], np.ndarray[Any, Any]]
"""From the inputs of a batch to ``(rows, labels)``."""


def interpreter() -> Path | None:
    """The Python interpreter of the runtimes' environment, if there is one."""
    named = os.environ.get(VARIABLE)
    if named and not Path(named).is_file():
        raise RuntimeError(f"{VARIABLE} must name a Python interpreter; there is no {named}")
    python = Path(named) if named else PYTHON
    return python if python.is_file() else None


def make_importable() -> bool:
    """Let this process import the runtimes, behind everything of its own environment; False: they are not installed."""
    python = interpreter()
    if python is None:
        return False
    script = "import json, sys, sysconfig; print(json.dumps([sysconfig.get_path('platlib'), sys.version_info[:2]]))"
    printed = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout
    directory, version = json.loads(printed)
    if version != list(sys.version_info[:2]):
        raise RuntimeError(f"{python} is Python {version}, this is {list(sys.version_info[:2])}: make both with one")
    if directory not in sys.path:
        sys.path.append(directory)
    return True


def export(adapter: Path, path: Path) -> Path:
    """Write MiniLM with an adapter and its head, as ``Registry.export`` left them, as an ONNX graph."""
    from adapters import AutoAdapterModel
    from transformers import logging as library

    library.set_verbosity_error()
    model = AutoAdapterModel.from_pretrained(str(find_base("minilm").files.directory), attn_implementation="eager")
    model.set_active_adapters(model.load_adapter(str(adapter), use_safetensors=True))
    ids = torch.randint(5, 1000, (2, 9))
    with torch.no_grad(), warnings.catch_warnings():
        # Traced conditions of the library, which hold for any number of rows, and the exporter's age.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Forward(model.eval()).eval(),
            (ids, torch.ones_like(ids), torch.zeros_like(ids)),
            str(path),
            input_names=list(INPUTS),
            output_names=["logits"],
            dynamic_axes={**{name: {0: "rows", 1: "tokens"} for name in INPUTS}, "logits": {0: "rows"}},
            opset_version=17,
            dynamo=False,
        )
    return path


def quantise(graph: Path, path: Path) -> Path:
    """Write a graph with weights in int8, and activations that become int8 as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(graph, path, weight_type=QuantType.QInt8)
    return path


def onnxruntime(graph: Path, *, threads: int) -> Logits:
    """A session of ONNX Runtime."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {name: batch[name].numpy() for name in INPUTS})[0]


def openvino(graph: Path, *, threads: int, precision: str) -> Logits:
    """A model that OpenVINO compiled, for ``f32`` or ``bf16``."""
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    request = openvino.Core().compile_model(str(graph), "CPU", settings).create_infer_request()
    return lambda batch: request.infer({name: batch[name].numpy() for name in INPUTS})[0].copy()


class _Forward(torch.nn.Module):
    """A model as the exporter takes one: tensors in, one tensor out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(INPUTS, inputs, strict=True))).logits
