"""Switching, loading and mixing on MiniLM: a Switcher against what other libraries offer for it.

Adapters have random weights and live in a registry of their own; inputs are 64 rows of about 24 tokens.
"""

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import lora_peers
import runtimes
import torch
from words import ROWS, TOKENS, texts

from pointsman.registry import Registry
from pointsman.sdk import Switcher
from pointsman.sdk.bases.find import find_base
from pointsman.sdk.bases.load import load_base
from pointsman.sdk.core.devices import has_fast_bf16
from pointsman.sdk.engines.slots import adapter_tensors, add_head, add_slot, extract_adapter, head_tensors, slot_name
from pointsman.sdk.methods import configure
from pointsman.sdk.tasks import GLUE

TASKS = 32
LOADED = 64
SEQ_BN: tuple[str, Mapping[str, Any]] = ("seq_bn", {})
LORA: tuple[str, Mapping[str, Any]] = ("lora", {})


def run(bench: str, data: str) -> dict[str, Any]:
    """The figure of one bench."""
    return BENCHES[bench]()


@contextmanager
def registered(count: int, *, methods: Sequence[tuple[str, Mapping[str, Any]]] = (SEQ_BN,)) -> Iterator[Registry]:
    """A registry with so many adapters, ``a0`` and on, of random weights, of these methods in turn."""
    loaded, task = load_base("minilm"), GLUE["sst2"]
    slots = [(slot_name(index), method, configure(method, fields)) for index, (method, fields) in enumerate(methods)]
    for slot, _, config in slots:
        add_slot(loaded.model, slot, config)
        add_head(loaded.model, slot, labels=task.labels)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as home, Registry(home) as registry:
        for number in range(count):
            slot, method, config = slots[number % len(slots)]
            with torch.no_grad():
                for tensors in (adapter_tensors(loaded.model, slot), head_tensors(loaded.model, slot)):
                    for tensor in tensors.values():
                        tensor.normal_(std=0.02)
            registry.add_version(
                f"a{number}",
                files=extract_adapter(loaded.model, slot, name=f"a{number}", base="minilm"),
                task=task.to_dict(),
                method=method,
                config=config,
                base=loaded.record,
                max_length=128,
                parameters=1,
            )
        yield registry


def plain(registry: Registry, count: int) -> Any:
    """A model of the adapters library with so many of them loaded."""
    from adapters import AutoAdapterModel
    from transformers import logging as library

    library.set_verbosity_error()
    model = AutoAdapterModel.from_pretrained(str(find_base("minilm").files.directory)).eval()
    for number in range(count):
        load_plain(model, registry, number)
    return model


def load_plain(model: Any, registry: Registry, number: int) -> float:
    """Load one as the library's users do, from exported files; the seconds of ``load_adapter`` alone."""
    directory = registry.home / "exported" / f"a{number}"
    if not directory.exists():
        registry.export(f"a{number}", directory)
    began = time.perf_counter()
    model.load_adapter(str(directory), use_safetensors=True)
    return time.perf_counter() - began


def seconds(call: Callable[[], Any], *, rounds: int) -> float:
    """The median of some rounds, after one that does not count."""
    call()
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return median(found)


def in_turn(*calls: Callable[[], Any], rounds: int) -> list[float]:
    """The medians of several calls that take turns, so that a slower minute is one for all."""
    for call in calls:
        call()
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, times in zip(calls, found, strict=True):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
    return [median(times) for times in found]


def switch() -> dict[str, Any]:
    """A switch between two loaded adapters, with 64 loaded; and ours with 1 and with 256."""
    with registered(256) as registry, Switcher("minilm", registry=registry) as switcher:
        ours = {}
        for count in (1, LOADED, 256):
            for number in range(count):
                switcher.load(f"a{number}")
            other = min(1, count - 1)

            def both(other: int = other) -> None:
                for _ in range(500):
                    switcher.activate("a0")
                    switcher.activate(f"a{other}")

            ours[count] = seconds(both, rounds=5) / 1000
        model = plain(registry, LOADED)

        def peer() -> None:
            for _ in range(5):
                model.set_active_adapters("a0")
                model.set_active_adapters("a1")

        theirs = seconds(peer, rounds=5) / 10
    return {
        "ours": ours[LOADED] * 1e6,
        "peer": theirs * 1e6,
        "ratio": theirs / ours[LOADED],
        "unit": "us",
        "ours_of_1": ours[1] * 1e6,
        "ours_of_256": ours[256] * 1e6,
    }


def load() -> dict[str, Any]:
    """Loading one more with 64 loaded: ours from the registry, every sha256 checked."""
    extra = 16
    with registered(LOADED + extra) as registry, Switcher("minilm", registry=registry) as switcher:
        for number in range(LOADED):
            switcher.load(f"a{number}")
        model = plain(registry, LOADED)
        ours, theirs = [], []
        for number in range(LOADED, LOADED + extra):
            registry.export(f"a{number}", registry.home / "exported" / f"a{number}")
            began = time.perf_counter()
            switcher.load(f"a{number}")
            ours.append(time.perf_counter() - began)
            switcher.unload(f"a{number}")
            theirs.append(load_plain(model, registry, number))
            model.delete_adapter(f"a{number}")
            model.delete_head(f"a{number}")
    return {
        "ours": median(ours) * 1e3,
        "peer": median(theirs) * 1e3,
        "ratio": median(theirs) / median(ours),
        "unit": "ms",
    }


def mixed() -> dict[str, Any]:
    """64 rows over 32 tasks in one call, beside the same rows of one task; 1 is as fast."""
    rows = texts()
    with registered(TASKS) as registry, Switcher("minilm", registry=registry) as switcher:
        asked = [(f"a{number % TASKS}", text) for number, text in enumerate(rows)]
        ours, one = in_turn(lambda: switcher.predict_mixed(asked), lambda: switcher.predict("a0", rows), rounds=15)
    return {"ours": ours * 1e3, "peer": one * 1e3, "ratio": one / ours, "unit": "ms"}


def mixed_ranks() -> dict[str, Any]:
    """64 rows over 32 LoRAs of four ranks and 8 bottlenecks in one call, beside the same rows of the faster kind."""
    rows = texts()
    methods = [*(("lora", {"r": rank}) for rank in (4, 8, 16, 32)), SEQ_BN]
    count = 8 * len(methods)
    with registered(count, methods=methods) as registry, Switcher("minilm", registry=registry) as switcher:
        asked = [(f"a{number % count}", text) for number, text in enumerate(rows)]
        ours, lora, bottleneck = in_turn(
            lambda: switcher.predict_mixed(asked),
            lambda: switcher.predict("a1", rows),
            lambda: switcher.predict("a4", rows),
            rounds=15,
        )
    one = min(lora, bottleneck)
    return {
        "ours": ours * 1e3,
        "peer": one * 1e3,
        "ratio": one / ours,
        "unit": "ms",
        "peer_lora": lora * 1e3,
        "peer_bottleneck": bottleneck * 1e3,
    }


def mixed_tutorial() -> dict[str, Any]:
    """The same rows task by task with ``set_active_adapters`` in float32; ours in bf16 where the processor has it."""
    from transformers import AutoTokenizer

    rows = texts()
    tokenizer = AutoTokenizer.from_pretrained(str(find_base("minilm").files.directory))
    precision = "bf16" if has_fast_bf16(torch.device("cpu")) else "fp32"
    with registered(LOADED) as registry, Switcher("minilm", registry=registry, precision=precision) as switcher:
        asked = [(f"a{number % TASKS}", text) for number, text in enumerate(rows)]
        for number in range(LOADED):
            switcher.load(f"a{number}")
        model = plain(registry, LOADED)

        def peer() -> None:
            for task in range(TASKS):
                model.set_active_adapters(f"a{task}")
                model.active_head = f"a{task}"
                with torch.no_grad():
                    model(**tokenizer(rows[task::TASKS], padding=True, return_tensors="pt"))

        ours, theirs = in_turn(lambda: switcher.predict_mixed(asked), peer, rounds=7)
    return {
        "ours": ROWS / ours,
        "peer": ROWS / theirs,
        "ratio": theirs / ours,
        "unit": "rows/s",
        "precision": precision,
    }


def mixed_lora() -> dict[str, Any]:
    """64 rows over 32 LoRAs beside PEFT's ``adapter_names``, the encoder alone there, heads too here."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel, AutoTokenizer

    rows = texts()
    tokenizer = AutoTokenizer.from_pretrained(str(find_base("minilm").files.directory))
    config = LoraConfig(r=8, lora_alpha=8, target_modules=["query", "value"], inference_mode=True)
    plain = AutoModel.from_pretrained(str(find_base("minilm").files.directory))
    model = get_peft_model(plain, config, adapter_name="a0")
    for number in range(1, TASKS):
        model.add_adapter(f"a{number}", config)
    model.eval()
    names = [f"a{number % TASKS}" for number in range(ROWS)]

    def peer() -> None:
        with torch.no_grad():
            model(**tokenizer(rows, padding=True, return_tensors="pt"), adapter_names=names)

    with registered(TASKS, methods=[LORA]) as registry, Switcher("minilm", registry=registry) as switcher:
        asked = list(zip(names, rows, strict=True))
        ours, theirs = in_turn(lambda: switcher.predict_mixed(asked), peer, rounds=9)
    return {"ours": ROWS / ours, "peer": ROWS / theirs, "ratio": theirs / ours, "unit": "rows/s"}


def mixed_peer(build: Callable[[Path, Mapping[str, Path]], lora_peers.Encode]) -> dict[str, Any]:
    """64 rows over 32 LoRAs beside a library made for it, encodings alone there, answers here, which must be equal."""
    if not runtimes.make_importable():
        return {"ours": None, **runtimes.MISSING, "unit": "rows/s"}
    torch.set_num_threads(2)
    rows, names = texts(), [f"a{number % TASKS}" for number in range(ROWS)]
    with registered(TASKS, methods=[LORA]) as registry, Switcher("minilm", registry=registry) as switcher:
        exported = {name: registry.export(name, registry.home / "exported" / name) for name in names[:TASKS]}
        encode = build(find_base("minilm").files.directory, exported)
        heads = {name: lora_peers.head(directory, name) for name, directory in exported.items()}
        asked = list(zip(names, rows, strict=True))
        for name, encoding, answer in zip(names, encode(rows, names), switcher.predict_mixed(asked), strict=True):
            expected = list((answer.probabilities or {}).values())
            torch.testing.assert_close(heads[name](encoding), torch.tensor(expected), atol=1e-6, rtol=0)
        ours, theirs = in_turn(lambda: switcher.predict_mixed(asked), lambda: encode(rows, names), rounds=9)
    return {"ours": ROWS / ours, "peer": ROWS / theirs, "ratio": theirs / ours, "unit": "rows/s"}


def memory() -> dict[str, Any]:
    """What the process grows by for each of 1,000 adapters, beside the bytes of its tensors."""
    count = 1000
    with registered(count + 8) as registry, Switcher("minilm", registry=registry) as switcher:
        for number in range(8):
            switcher.predict(f"a{number}", texts())
        gc.collect()
        before, held = resident(), switcher.status().size
        for number in range(8, count + 8):
            switcher.load(f"a{number}")
        gc.collect()
        ours = (resident() - before) / count
        tensors = (switcher.status().size - held) / count
    return {"ours": ours / 1e3, "peer": tensors / 1e3, "ratio": tensors / ours, "unit": "kB"}


def resident() -> int:
    """Bytes of this process in memory."""
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * 4096


BENCHES: dict[str, Callable[[], dict[str, Any]]] = {
    "switch-64": switch,
    "load-64": load,
    "mixed-32": mixed,
    "mixed-32-tutorial": mixed_tutorial,
    "mixed-ranks-32": mixed_ranks,
    "mixed-lora-peft": mixed_lora,
    "mixed-latefuse": partial(mixed_peer, partial(lora_peers.latefuse, rows=ROWS, tokens=TOKENS)),
    "mixed-polylora": partial(mixed_peer, lora_peers.polylora),
    "memory-1000": memory,
}
