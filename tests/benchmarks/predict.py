"""Prediction on SST-2: a Switcher against the tutorial's pipeline, ONNX Runtime and OpenVINO, all with one adapter.

``predict-…`` is the whole validation set in sentences a second, on two threads: the pipeline a sentence at a time as in
the tutorial, all others in batches of 64, sorted by length. ``latency-1…`` is one sentence a call, on one thread: the
best decile of 300 sentences. Sides take turns, pass by pass or sentence by sentence. ``equal_labels`` is the share of
labels that are those of a Switcher in float32, ``equal_labels_of_peer`` the peer's.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import runtimes
import torch
from switching import in_turn

from pointsman.registry import Registry
from pointsman.sdk import Switcher, train
from pointsman.sdk.bases.find import find_base
from pointsman.sdk.data import load_task_data
from pointsman.sdk.data.batches import in_row_order, sorted_batches
from pointsman.sdk.data.tokens import tokenise
from pointsman.sdk.switching.switcher import PRECISIONS

COMPARISONS = {
    "predict-sst2": ("fp32", ("pipeline",)),
    "predict-sst2-bf16": ("bf16", ("pipeline",)),
    "predict-onnx": ("fp32", ("onnxruntime", "openvino")),
    "predict-openvino-bf16": ("bf16", ("openvino-bf16",)),
    "predict-int8": ("int8", ("onnxruntime-int8",)),
    "latency-1": ("fp32", ("onnxruntime",)),
    "latency-1-tutorial": ("fp32", ("pipeline",)),
    "latency-1-bf16": ("bf16", ("openvino-bf16",)),
    "latency-1-int8": ("int8", ("onnxruntime-int8",)),
}
"""Of each bench, the Switcher's precision and the peers, of which the fastest counts."""
ROUNDS = 3
SENTENCES = 300
BATCH_ROWS = 64
LABELS = ("negative", "positive")

Side = Callable[[Sequence[str]], list[str]]
"""From sentences to their labels."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """An adapter for SST-2: in a registry, and as exported files."""

    registry: Registry
    files: Path
    directory: Path
    """For graphs."""


def run(bench: str, data: str) -> dict[str, Any]:
    """Sentences a second or milliseconds of both."""
    precision, peers = COMPARISONS[bench]
    is_latency = bench.startswith("latency")
    unit = "ms" if is_latency else "sentences/s"
    if precision not in PRECISIONS:
        note = f"a Switcher computes in {' or '.join(PRECISIONS)}, not in {precision}"
        return {"ours": None, "peer": None, "ratio": None, "unit": unit, "note": note}
    there = peers == ("pipeline",) or runtimes.make_importable()
    texts = [row[0] for row in load_task_data("sst2", data).splits["validation"].texts()]
    threads = 1 if is_latency else 2
    torch.set_num_threads(2)
    with trained(data) as adapter:
        torch.set_num_threads(threads)
        with Switcher("minilm", registry=adapter.registry) as exact:
            expected = switcher_side(exact)(texts)
        with Switcher("minilm", registry=adapter.registry, precision=precision) as switcher:
            sides = [switcher_side(switcher), *(PEERS[peer](adapter, threads) for peer in peers if there)]
            equal = [share_of_equal(side(texts), expected) for side in sides]
            found = latencies(sides, texts[:SENTENCES]) if is_latency else speeds(sides, texts)
    ours, *others = found
    kind = {"unit": unit, "equal_labels": equal[0], "data": "sst2" if data != "sample" else "sample"}
    if not there:
        return {"ours": ours, **runtimes.MISSING, **kind}
    peer = (min if is_latency else max)(others)
    return {
        "ours": ours,
        "peer": peer,
        "ratio": peer / ours if is_latency else ours / peer,
        **kind,
        "equal_labels_of_peer": equal[1 + others.index(peer)],
        **({f"peer_{name}": other for name, other in zip(peers, others, strict=True)} if len(peers) > 1 else {}),
    }


def speeds(sides: Sequence[Side], texts: Sequence[str]) -> list[float]:
    """Sentences a second of each side, the median of some rounds in turn."""
    return [
        len(texts) / taken for taken in in_turn(*((lambda side=side: side(texts)) for side in sides), rounds=ROUNDS)
    ]


def latencies(sides: Sequence[Side], texts: Sequence[str]) -> list[float]:
    """Milliseconds of each side: of a call of one sentence, the best decile; every length was seen before."""
    times: list[list[float]] = [[] for _ in sides]
    for is_counted in (False, True):
        for text in texts:
            for side, taken in zip(sides, times, strict=True):
                began = time.perf_counter()
                side([text])
                if is_counted:
                    taken.append(time.perf_counter() - began)
    return [sorted(taken)[len(taken) // 10] * 1000 for taken in times]


def share_of_equal(labels: Sequence[str], expected: Sequence[str]) -> float:
    """The share of labels that are as expected."""
    return sum(label == other for label, other in zip(labels, expected, strict=True)) / len(expected)


@contextmanager
def trained(data: str) -> Iterator[Trained]:
    """Train ``seq_bn`` on 2,000 rows, one epoch, in a home of its own."""
    with tempfile.TemporaryDirectory() as home, Registry(home) as registry:
        train("sst2", base="minilm", data=data, registry=registry, epochs=1, max_train_rows=2000, max_eval_rows=64)
        files = registry.export("sst2", Path(home) / "exported")
        yield Trained(registry=registry, files=files, directory=Path(home))


def switcher_side(switcher: Switcher) -> Side:
    """A Switcher."""
    return lambda texts: [str(answer.label) for answer in switcher.predict("sst2", texts)]


def pipeline_side(adapter: Trained, threads: int) -> Side:
    """The tutorial's pipeline, a sentence at a time, on torch's threads."""
    from adapters import AutoAdapterModel
    from transformers import TextClassificationPipeline
    from transformers import logging as library

    library.set_verbosity_error()
    model = AutoAdapterModel.from_pretrained(str(find_base("minilm").files.directory))
    model.set_active_adapters(model.load_adapter(str(adapter.files), use_safetensors=True))
    model.config.id2label = dict(enumerate(LABELS))
    pipeline = TextClassificationPipeline(model=model.eval(), tokenizer=tokenizer())
    return lambda texts: [pipeline(text)[0]["label"] for text in texts]


def runtime_side(make: Callable[[Path, int], runtimes.Logits]) -> Callable[[Trained, int], Side]:
    """A runtime, with our tokens in batches of similar length."""

    def build(adapter: Trained, threads: int) -> Side:
        graph = adapter.directory / "model.onnx"
        logits = make(graph if graph.exists() else runtimes.export(adapter.files, graph), threads)
        splits = tokenizer()

        def answer(texts: Sequence[str]) -> list[str]:
            rows = tokenise(splits, [(text,) for text in texts], max_length=128)
            batches = list(sorted_batches(rows.lengths, BATCH_ROWS))
            outputs = [torch.from_numpy(logits(rows.batch(batch.tolist()))) for batch in batches]
            return [LABELS[index] for index in in_row_order(outputs, batches).argmax(dim=1).tolist()]

        return answer

    return build


def tokenizer() -> Any:
    """The base's, one for each side: it stores what it was called with last."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(find_base("minilm").files.directory))


PEERS: dict[str, Callable[[Trained, int], Side]] = {
    "pipeline": pipeline_side,
    "onnxruntime": runtime_side(lambda graph, threads: runtimes.onnxruntime(graph, threads=threads)),
    "onnxruntime-int8": runtime_side(
        lambda graph, threads: runtimes.onnxruntime(
            runtimes.quantise(graph, graph.with_name("int8.onnx")), threads=threads
        )
    ),
    "openvino": runtime_side(lambda graph, threads: runtimes.openvino(graph, threads=threads, precision="f32")),
    "openvino-bf16": runtime_side(lambda graph, threads: runtimes.openvino(graph, threads=threads, precision="bf16")),
}
