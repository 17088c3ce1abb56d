"""For every method and composition, on random weights: the same numbers, bit for bit, and the base untouched."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pointsman.registry import Registry
from pointsman.sdk import Switcher, train
from pointsman.sdk.engines.slots import adapter_tensors
from pointsman.sdk.methods import METHODS
from pointsman.sdk.switching.memory.placement import InRack, Standalone

from helpers import TEXTS, MakeVersion, base_outputs, weights_hash

JOINED = ["stack(s1, s2)", "stack(l1, s1)", "stack(l1, l2)", "average(s1: 0.25, s2: 0.75)", "average(l1, l2)",
          "average(i1, i2)", "stack(l1, average(s1, s2))"]  # fmt: skip
"""Compositions that give one answer, over two versions each of three methods."""

FRESH = """
import sys, torch
from pointsman.registry import Registry
from pointsman.sdk import Switcher
torch.set_num_threads(1)
home, base, target, *texts = sys.argv[1:]
with Registry(home) as registry, Switcher(base, registry=registry) as switcher:
    refs = torch.load(target)
    torch.save({ref: switcher.logits(ref, texts) for ref in refs}, target)
"""


def make_joined(make_version: MakeVersion) -> None:
    for number, method in enumerate(("seq_bn", "lora", "ia3")):
        for seed in (1, 2):
            make_version(f"{method[0]}{seed}", method=method, seed=10 * number + seed)


def test_all_methods_are_there() -> None:
    assert len(METHODS) == 21


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_the_same_numbers_whatever_happens_beside_it(
    method: str, make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    """In a Switcher of its own; after others; in another slot; loaded again; and nothing of it is left behind."""
    for seed in range(4):
        make_version(f"m{seed}", method=method, seed=seed)
    make_version("other", method="lora" if method == "seq_bn" else "seq_bn", seed=9)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        before, hashed = base_outputs(switcher), weights_hash(switcher)
        alone = {"m0": switcher.logits("m0", TEXTS)}
        for ref in ("m1", "other"):  # from A to B, to A
            alone[ref] = switcher.logits(ref, TEXTS)
            assert torch.equal(switcher.logits("m0", TEXTS), alone["m0"])
        with switcher.active("m0"), switcher.active("m1"):
            switcher.predict(TEXTS)
        assert torch.equal(base_outputs(switcher), before)
        for ref in alone:
            switcher.unload(ref)
        assert torch.equal(base_outputs(switcher), before)
        assert weights_hash(switcher) == hashed
    with Switcher(str(tiny_base), registry=registry) as switcher:
        for ref in ("m3", "m2", "other", "m1", "m0"):
            switcher.load(ref)
        switcher.unload("m2")
        for ref, logits in alone.items():
            assert torch.equal(switcher.logits(ref, TEXTS), logits)
        for ref in ("m0", "m1", "m3"):
            switcher.unload(ref)
            switcher.load(ref)
        for ref, logits in alone.items():
            assert torch.equal(switcher.logits(ref, TEXTS), logits)
        assert torch.equal(base_outputs(switcher), before)
        assert weights_hash(switcher) == hashed
    logits = list(alone.values())
    assert not any(torch.allclose(one, other) for one in logits for other in logits if one is not other)


def test_every_composition_gives_the_same_numbers_whatever_happens_beside_it(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    make_joined(make_version)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        before, hashed = base_outputs(switcher), weights_hash(switcher)
        alone = {composition: switcher.logits(composition, TEXTS) for composition in JOINED}
        for composition, logits in reversed(alone.items()):
            assert torch.equal(switcher.logits(composition, TEXTS), logits)
        single = switcher.logits("s1", TEXTS)
        for composition, logits in alone.items():
            switcher.unload(composition)
            assert torch.equal(switcher.logits("s1", TEXTS), single)
            assert torch.equal(switcher.logits(composition, TEXTS), logits)
        for ref in switcher.loaded:
            switcher.unload(ref)
        assert torch.equal(base_outputs(switcher), before)
        assert weights_hash(switcher) == hashed
    with Switcher(str(tiny_base), registry=registry) as switcher:
        for ref in ("i2", "l2", "s2", "i1", "l1", "s1"):
            switcher.load(ref)
        for composition, logits in alone.items():
            assert torch.equal(switcher.logits(composition, TEXTS), logits)


def test_a_fresh_process_gives_the_same_numbers(
    make_version: MakeVersion, registry: Registry, tiny_base: Path, tmp_path: Path
) -> None:
    """All methods and compositions, in one process that loads them in another order."""
    make_joined(make_version)
    refs = [f"m{number}" for number in range(len(METHODS))]
    for ref, method in zip(refs, METHODS, strict=True):
        make_version(ref, method=method, seed=3)
    asked = [*refs, *JOINED]
    with Switcher(str(tiny_base), registry=registry) as switcher:
        expected = {ref: switcher.logits(ref, TEXTS) for ref in asked}
    target = tmp_path / "logits"
    torch.save(asked[::-1], target)
    subprocess.run([sys.executable, "-c", FRESH, registry.home, tiny_base, target, *TEXTS], check=True)
    found = torch.load(target)
    assert list(found) == asked[::-1]
    assert len(found) == 28
    for ref, logits in found.items():
        assert torch.equal(logits, expected[ref]), ref


def tensors_in_memory(switcher: Switcher) -> dict[str, torch.Tensor]:
    """Copies of what a Switcher holds of the one version that is loaded."""
    (loaded,) = switcher._adapters.loaded
    match loaded.place:
        case InRack(rack, slot):
            tensors = rack.read(slot)
        case Standalone(name):
            there = adapter_tensors(switcher._model, name)
            tensors = {key: tensor.detach().clone() for key, tensor in there.items()}
        case _:
            raise AssertionError(loaded.place)
    assert tensors
    of_head = [tensor for layer in loaded.head._layers for tensor in layer if tensor is not None]
    return tensors | {f"head.{number}": tensor.clone() for number, tensor in enumerate(of_head)}


def stored_files(registry: Registry) -> dict[Path, str]:
    """The sha256 of every object in a registry's store."""
    paths = (path for path in (registry.home / "objects").glob("*/*") if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.parametrize("method", ["seq_bn", "lora", "prefix_tuning", "loreft"])
def test_training_one_changes_nothing_of_another_that_is_loaded(
    method: str, make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    version = make_version("a", method=method)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        logits, hashed = switcher.logits("a", TEXTS), weights_hash(switcher)
        held, files = tensors_in_memory(switcher), stored_files(registry)
        assert len(files) == len(version.files) == 4
        train(
            "sst2", base=str(tiny_base), name="b", method=method, registry=registry, data="sample", epochs=1,
            max_train_rows=32, max_eval_rows=8, max_length=16, batch_size=8, learning_rate=0.01,
        )  # fmt: skip
        after = tensors_in_memory(switcher)
        assert after.keys() == held.keys()
        assert all(torch.equal(after[key], tensor) for key, tensor in held.items())
        assert stored_files(registry).items() >= files.items()
        assert registry.version("a") == version
        assert torch.equal(switcher.logits("a", TEXTS), logits)
        assert weights_hash(switcher) == hashed
        assert not torch.allclose(switcher.logits("b", TEXTS), logits, atol=1e-3)


@pytest.mark.parametrize("method", ["dora", "dvora"])
def test_a_rescaled_base_is_itself_again_in_the_middle_of_a_mixed_batch(
    method: str, make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    """The library's DoRA writes into the base when it is activated, and gives all rows the last adapter's norm."""
    for seed in range(2):
        make_version(f"d{seed}", method=method, seed=seed)
    make_version("plain", seed=5)
    rows = [(ref, text) for text in TEXTS for ref in ("d0", "plain", "d1")]
    with Switcher(str(tiny_base), registry=registry) as switcher:
        hashed = weights_hash(switcher)
        alone = {ref: switcher.logits(ref, TEXTS).softmax(1) for ref in ("d0", "plain", "d1")}
        for number, answer in enumerate(switcher.predict_mixed(rows)):
            assert answer.score == pytest.approx(alone[rows[number][0]][number // 3].max().item(), abs=1e-5)
        assert weights_hash(switcher) == hashed


def test_prompt_tuning_has_its_own_tokens_under_any_name(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    """The library leaves random ones where it is loaded under another name than it was saved by."""
    for seed in range(2):
        make_version("prompt", method="prompt_tuning", seed=seed)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        first = switcher.logits("prompt@1", TEXTS)
        assert not torch.allclose(switcher.logits("prompt@2", TEXTS), first)
        for _ in range(2):
            switcher.unload("prompt@1")
            assert torch.equal(switcher.logits("prompt@1", TEXTS), first)


def test_vera_runs_while_another_adapter_is_active(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    """The library looks the shared matrices up under the name that is active for all threads."""
    for seed, method in enumerate(("vera", "lora", "vera")):
        make_version(f"v{seed}", method=method, seed=seed)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        alone = switcher.logits("v0", TEXTS)
        with switcher.active("v1"):
            assert torch.equal(switcher.logits("v0", TEXTS), alone)
            with switcher.active("v2"):
                assert torch.equal(switcher.logits("v0", TEXTS), alone)
        switcher.unload("v2")
        assert torch.equal(switcher.logits("v0", TEXTS), alone)
        switcher.predict_mixed([(f"v{number % 3}", text) for number, text in enumerate(TEXTS)])
        assert torch.equal(switcher.logits("v0", TEXTS), alone)
