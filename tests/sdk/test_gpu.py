"""On a GPU: the numbers of the CPU, from training to mixed batches. All of it is skipped where there is none."""

import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from pointsman.registry import Registry, RunStatus
from pointsman.registry.errors import TrainingError
from pointsman.sdk import Progress, Switcher, evaluate, fuse, fusion_attention, merge, resume, train
from pointsman.sdk.methods import METHODS
from pointsman.sdk.tasks import GLUE

from helpers import PAIRS, TEXTS, MakeVersion, weights_hash

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU that CUDA can use")

OPTIONS: dict[str, Any] = {
    "data": "sample",
    "epochs": 2,
    "max_train_rows": 96,
    "max_eval_rows": 40,
    "max_length": 16,
    "batch_size": 8,
    "learning_rate": 0.01,
    "device": "cuda",
}
COMPOSITIONS = [
    "stack(a, b)",
    "stack(l, a)",
    "average(a: 0.25, b: 0.75)",
    "average(l, m)",
    "stack(l, average(a, b))",
]


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Float32 on both, summed in another order."""
    assert found.device.type == "cpu"
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-4)


@pytest.fixture
def adapters(make_version: MakeVersion) -> list[str]:
    methods = {"a": "seq_bn", "b": "seq_bn", "l": "lora", "m": "lora", "i": "ia3", "p": "prefix_tuning"}
    for seed, (name, method) in enumerate(methods.items()):
        make_version(name, method=method, seed=seed)
    make_version("mnli", GLUE["mnli"], seed=20)
    make_version("stsb", GLUE["stsb"], seed=21)
    return [*methods, "mnli", "stsb"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_answers_as_on_the_cpu(
    method: str, make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    for seed in range(2):
        make_version(f"m{seed}", method=method, seed=seed)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        expected = [switcher.logits(f"m{seed}", TEXTS) for seed in range(2)]
    with Switcher(str(tiny_base), registry=registry, device="cuda") as switcher:
        before = [switcher.logits(f"m{seed}", TEXTS) for seed in range(2)]
        for found, of_cpu in zip(before, expected, strict=True):
            close(found, of_cpu)
        assert torch.equal(switcher.logits("m0", TEXTS), before[0])
        switcher.unload("m0")
        assert torch.equal(switcher.logits("m0", TEXTS), before[0])
        answers = switcher.predict_mixed([(f"m{row % 2}", text) for row, text in enumerate(TEXTS)])
        for row, answer in enumerate(answers):
            assert answer.score == pytest.approx(float(expected[row % 2][row].softmax(0).max()), abs=1e-3)


def test_compositions_and_mixed_batches_answer_as_on_the_cpu(
    adapters: list[str], registry: Registry, tiny_base: Path
) -> None:
    rows: list[Any] = [(ref, text) for text in TEXTS for ref in [*adapters[:6], *COMPOSITIONS]]
    rows += [(ref, pair) for pair in PAIRS for ref in ("mnli", "stsb")]
    with Switcher(str(tiny_base), registry=registry) as switcher:
        expected = {ref: switcher.logits(ref, TEXTS) for ref in COMPOSITIONS}
        both = switcher.predict("parallel(a, p)", TEXTS)
        split = switcher.predict("batchsplit(a: 2, l: 3)", TEXTS)
        mixed = switcher.predict_mixed(rows)
        dropped = switcher.logits("a", TEXTS, drop_layers=1)
    with Switcher(str(tiny_base), registry=registry, device="cuda") as switcher:
        untouched = weights_hash_of_gpu(switcher)
        for ref, logits in expected.items():
            close(switcher.logits(ref, TEXTS), logits)
        close(switcher.logits("a", TEXTS, drop_layers=1), dropped)
        same(switcher.predict("parallel(a, p)", TEXTS), both)
        same(switcher.predict("batchsplit(a: 2, l: 3)", TEXTS), split)
        same(switcher.predict_mixed(rows), mixed)
        assert weights_hash_of_gpu(switcher) == untouched
        assert "on cuda" in str(switcher.status())


def weights_hash_of_gpu(switcher: Switcher) -> str:
    model = switcher._model
    model.to("cpu")
    try:
        return weights_hash(switcher)
    finally:
        model.to("cuda")


def same(found: Any, expected: Any) -> None:
    """Answers, or tuples of them, of the same labels and nearly the same scores."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        if isinstance(other, tuple):
            same(one, other)
        else:
            assert one.label == other.label
            assert one.score == pytest.approx(other.score, abs=2e-3)


def test_bf16_is_close(adapters: list[str], registry: Registry, tiny_base: Path) -> None:
    with Switcher(str(tiny_base), registry=registry) as switcher:
        expected = {ref: switcher.logits(ref, TEXTS) for ref in adapters[:6]}
    with Switcher(str(tiny_base), registry=registry, device="cuda", precision="bf16") as switcher:
        for ref, logits in expected.items():
            found = switcher.logits(ref, TEXTS)
            torch.testing.assert_close(found, logits, rtol=0.05, atol=0.15)
            assert not torch.equal(found, logits)


def test_threads_that_load_and_evict_cross_no_answers(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    names = [f"t{number}" for number in range(12)]
    for seed, name in enumerate(names):
        make_version(name, method=("seq_bn", "lora", "compacter")[seed % 3], seed=seed)
    failures: list[str] = []
    with Switcher(str(tiny_base), registry=registry, device="cuda", capacity=5) as switcher:
        expected = {name: switcher.logits(name, TEXTS) for name in names}

        def work(thread: int) -> None:
            for round_ in range(40):
                name = names[(thread * 5 + round_) % len(names)]
                found = switcher.logits(name, TEXTS)
                if not torch.allclose(found, expected[name], atol=1e-4):
                    failures.append(f"{thread}: {name}")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=300)
        assert not any(thread.is_alive() for thread in threads)
    assert failures == []


@pytest.mark.parametrize("method", ["seq_bn", "lora", "prefix_tuning", "compacter", "dora", "loreft", "unipelt"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_trained_on_it_scores_the_same_on_the_cpu(
    method: str, precision: str, registry: Registry, tiny_base: Path
) -> None:
    version = train("sst2", base=str(tiny_base), registry=registry, method=method, precision=precision, **OPTIONS)
    assert version.run is not None
    environment = registry.run(version.run).environment
    assert environment["device"].startswith("cuda")
    assert environment["processor"] == torch.cuda.get_device_name()
    with Switcher(str(tiny_base), registry=registry) as switcher:
        scores = evaluate(switcher, "sst2", data="sample", max_rows=40)
    assert scores["accuracy"] == pytest.approx(version.metrics["eval/accuracy"], abs=0.026)  # one row of forty
    losses = [point.value for point in registry.history("sst2", "train/loss")]
    assert len(losses) == 24
    assert all(map(math.isfinite, losses))


def test_an_interrupted_training_goes_on(registry: Registry, tiny_base: Path) -> None:
    options = {**OPTIONS, "checkpoint_every": 4, "precision": "fp32"}
    whole = train("sst2", name="whole", base=str(tiny_base), registry=registry, **options)

    def stop(progress: Progress) -> None:
        if progress.step >= 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("sst2", base=str(tiny_base), registry=registry, report=stop, **options)
    run, _ = registry.runs()
    assert run.status is RunStatus.INTERRUPTED
    version = resume(run.uid, registry=registry)
    assert version.metrics["eval/accuracy"] == pytest.approx(whole.metrics["eval/accuracy"], abs=0.026)
    assert whole.run is not None
    expected = [point.value for point in registry.history(f"run:{whole.run}", "train/loss")]
    found = [point.value for point in registry.history(f"run:{run.uid}", "train/loss")]
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_a_fusion_and_a_search_run_on_it(adapters: list[str], registry: Registry, tiny_base: Path) -> None:
    options = {**OPTIONS, "epochs": 1, "precision": "fp32"}
    version = fuse("f", ["a", "b"], "sst2", registry=registry, base=str(tiny_base), **options)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        expected = switcher.logits("f", TEXTS)
        assert evaluate(switcher, "f", data="sample", max_rows=40)["accuracy"] == pytest.approx(
            version.metrics["eval/accuracy"], abs=0.026
        )
    with Switcher(str(tiny_base), registry=registry, device="cuda") as switcher:
        close(switcher.logits("f", TEXTS), expected)
    on_cpu = fusion_attention("f", TEXTS, registry=registry, base=str(tiny_base))
    on_gpu = fusion_attention("f", TEXTS, registry=registry, base=str(tiny_base), device="cuda")
    torch.testing.assert_close(on_gpu.weights, on_cpu.weights, rtol=1e-3, atol=1e-4)
    merged = merge("g", ["a", "b"], registry=registry, base=str(tiny_base), search=True, data="sample", max_rows=40,
                   device="cuda")  # fmt: skip
    assert merged.parents


def test_memory_that_does_not_do_says_what_to_lower(registry: Registry, tiny_base: Path) -> None:
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**20) / total)
    try:
        with pytest.raises(TrainingError, match="lower batch_size"):
            train("sst2", base=str(tiny_base), registry=registry, **{**OPTIONS, "batch_size": 96})
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    train("sst2", base=str(tiny_base), registry=registry, **OPTIONS)
