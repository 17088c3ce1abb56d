"""Prediction on SST-2: a Switcher against TextClassificationPipeline, a sentence at a time as in the tutorial."""

import tempfile
import time
from pathlib import Path
from typing import Any

from pointsman.registry import Registry
from pointsman.sdk import Switcher, train
from pointsman.sdk.bases.find import find_base
from pointsman.sdk.data import load_task_data

ROUNDS = 3


def run(bench: str, data: str) -> dict[str, Any]:
    """Sentences a second of both, the median of three rounds in turn, and the share of equal labels."""
    from adapters import AutoAdapterModel
    from transformers import AutoTokenizer, TextClassificationPipeline
    from transformers import logging as library

    library.set_verbosity_error()
    precision = "bf16" if bench.endswith("bf16") else "fp32"
    texts = [row[0] for row in load_task_data("sst2", data).splits["validation"].texts()]
    with tempfile.TemporaryDirectory() as home, Registry(home) as registry:
        train("sst2", base="minilm", data=data, registry=registry, epochs=1, max_train_rows=2000, max_eval_rows=64)
        files = registry.export("sst2", Path(home) / "exported")
        model = AutoAdapterModel.from_pretrained(str(find_base("minilm").files.directory))
        model.set_active_adapters(model.load_adapter(str(files), use_safetensors=True))
        model.config.id2label = {0: "negative", 1: "positive"}
        pipeline = TextClassificationPipeline(
            model=model.eval(), tokenizer=AutoTokenizer.from_pretrained(str(find_base("minilm").files.directory))
        )
        with Switcher("minilm", registry=registry, precision=precision) as switcher:
            switcher.predict("sst2", texts[:64])
            pipeline(texts[0])
            ours, peer = [], []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                answers = switcher.predict("sst2", texts)
                ours.append(len(texts) / (time.perf_counter() - began))
                began = time.perf_counter()
                others = [pipeline(text)[0] for text in texts]
                peer.append(len(texts) / (time.perf_counter() - began))
    equal = sum(answer.label == other["label"] for answer, other in zip(answers, others, strict=True))
    speed, other_speed = sorted(ours)[1], sorted(peer)[1]
    return {
        "ours": speed,
        "peer": other_speed,
        "ratio": speed / other_speed,
        "unit": "sentences/s",
        "equal_labels": equal / len(texts),
        "data": "sst2" if data != "sample" else "sample",
    }
