#!/bin/sh
# With ONNX Runtime's dynamic quantization, a row's outputs depend on the other rows of its batch.
#
# onnxruntime 1.31.1 with onnx 1.23.2 and Python 3.11: quantize_dynamic makes of a MatMul a product in int8 whose inputs
# are scaled by the least and greatest number of the whole tensor. A row beside one with numbers a hundred times as large
# keeps a few steps of its own: its outputs move by a multiple of the error that it has alone. Nothing says so; a server
# that puts requests into batches gives one request other answers from batch to batch. In float32 the row's outputs are the
# same in both batches.
#
# Fails if this changes. FINDINGS_VENV: an environment to reuse, which has these versions.
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
venv=${FINDINGS_VENV:-$directory/venv}
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet onnxruntime==1.31.1 onnx==1.23.2
fi

cat > "$directory/neighbours.py" <<'PYTHON'
import os
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, save
from onnxruntime.quantization import QuantType, quantize_dynamic

random = np.random.default_rng(0)
exact, quantised = (os.path.join(sys.argv[1], name) for name in ("exact.onnx", "int8.onnx"))
weight = numpy_helper.from_array(random.standard_normal((64, 32)).astype(np.float32), "weight")
graph = helper.make_graph(
    [helper.make_node("MatMul", ["rows", "weight"], ["outputs"])],
    "product",
    [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 64])],
    [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, ["n", 32])],
    [weight],
)
save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), exact)
quantize_dynamic(exact, quantised, weight_type=QuantType.QInt8)
row = random.standard_normal((1, 64)).astype(np.float32)
large = random.standard_normal((1, 64)).astype(np.float32) * 100
for path in (exact, quantised):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    right = row @ numpy_helper.to_array(weight)
    alone = session.run(None, {"rows": row})[0]
    beside = session.run(None, {"rows": np.concatenate([row, large])})[0][:1]
    errors = [float(np.abs(found - right).max() / np.abs(right).max()) for found in (alone, beside)]
    print(errors[0] < 0.05, "over 20 times as far off" if errors[1] > 20 * max(errors[0], 1e-3) else "as near")
PYTHON

seen=$("$venv/bin/python" "$directory/neighbours.py" "$directory" 2>/dev/null)
expected="True as near
True over 20 times as far off"
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "this has changed; it was:"
    echo "$expected"
    exit 1
fi
