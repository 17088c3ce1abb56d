"""The peer of the bench of whole processes: one session of ONNX Runtime for each adapter, and the library tokenizers.

python first_answer_onnx.py GRAPH TOKENIZER SESSIONS THREADS SENTENCE

It runs in the environment of the runtimes and imports nothing of ours.
"""

import json
import sys
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession, SessionOptions
from tokenizers import Tokenizer

graph, tokens, count, threads, sentence = sys.argv[1:]
options = SessionOptions()
options.intra_op_num_threads = int(threads)
options.inter_op_num_threads = 1
sessions = [InferenceSession(graph, options, providers=["CPUExecutionProvider"]) for _ in range(int(count))]
tokenizer = Tokenizer.from_file(tokens)
tokenizer.no_padding()
row = tokenizer.encode(sentence)
batch = {
    "input_ids": np.array([row.ids], dtype=np.int64),
    "attention_mask": np.array([row.attention_mask], dtype=np.int64),
    "token_type_ids": np.array([row.type_ids], dtype=np.int64),
}
labels = {("negative", "positive")[int(session.run(None, batch)[0].argmax())] for session in sessions}
pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
print(json.dumps({"label": labels.pop(), "resident": pages * 4096}), flush=True)
