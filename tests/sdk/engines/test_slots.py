"""Versions leave a model as files and come back exactly, or not at all."""

import json
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from adapters import AdapterSetup

from pointsman.registry import Registry
from pointsman.registry.errors import SettingsError, WeightsError
from pointsman.sdk import Switcher
from pointsman.sdk.bases.load import LoadedBase
from pointsman.sdk.engines.slots import (
    adapter_tensors,
    add_head,
    add_slot,
    extract_adapter,
    insert_adapter,
    remove_slot,
    slot_name,
)
from pointsman.sdk.formats.native import ADAPTER_CONFIG, ADAPTER_WEIGHTS, HEAD_CONFIG, HEAD_WEIGHTS
from pointsman.sdk.methods import configure
from pointsman.sdk.tasks import GLUE

from helpers import PAIRS, TEXTS, MakeVersion, PlainAdapters, scramble

SLOT = slot_name(0)


def test_pairs_and_scores_are_exported_too(
    make_version: MakeVersion, registry: Registry, tiny_base: Path, tmp_path: Path
) -> None:
    make_version("layer", GLUE["stsb"])  # a name that is part of the model's own names, too
    directory = registry.export("layer", tmp_path / "out")
    with Switcher(str(tiny_base), registry=registry) as switcher:
        ours = torch.cat([switcher.logits("layer", [pair]) for pair in PAIRS])
    assert ours.shape == (3, 1)
    torch.testing.assert_close(ours, PlainAdapters(tiny_base).logits(directory, PAIRS), rtol=1e-6, atol=1e-6)


def files_of(loaded: LoadedBase, method: str = "seq_bn", name: str = "keys") -> dict[str, bytes]:
    add_slot(loaded.model, SLOT, configure(method))
    add_head(loaded.model, SLOT, labels=("no", "yes"))
    scramble(loaded.model, SLOT)
    files = extract_adapter(loaded.model, SLOT, name=name, base="tiny")
    remove_slot(loaded.model, SLOT)
    return files


def test_files_name_the_adapter_and_nothing_of_the_machine(loaded: LoadedBase, tiny_base: Path) -> None:
    files = files_of(loaded, name="my-task")
    config = json.loads(files[ADAPTER_CONFIG])
    assert config["name"] == "my-task"
    assert config["config"] == configure("seq_bn")
    assert str(tiny_base).encode() not in b"".join(files.values())
    assert all(".my-task." in key for key in safetensors.torch.load(files[ADAPTER_WEIGHTS]))


def damaged(files: dict[str, bytes], kind: str) -> dict[str, bytes]:  # noqa: PLR0911
    name = ADAPTER_WEIGHTS
    tensors = safetensors.torch.load(files[name])
    first = min(tensors)
    match kind:
        case "truncated":
            return {**files, name: files[name][:-10]}
        case "header longer than the file":
            return {**files, name: (2**40).to_bytes(8, "little") + files[name][8:]}
        case "pickle":
            return {**files, name: pickle.dumps(tensors)}
        case "missing tensor":
            del tensors[first]
        case "unexpected tensor":
            tensors["bert.extra"] = torch.zeros(3)
        case "another shape":
            tensors[first] = torch.zeros(*tensors[first].shape, 2)
        case "another type":
            tensors[first] = tensors[first].double()
        case "missing file":
            return {key: value for key, value in files.items() if key != HEAD_CONFIG}
        case "configuration of another size":
            config = json.loads(files[ADAPTER_CONFIG])
            config["config"]["reduction_factor"] = 4
            return {**files, ADAPTER_CONFIG: json.dumps(config).encode()}
        case "configuration that is no JSON":
            return {**files, ADAPTER_CONFIG: b"{"}
        case "head of another size":
            head = safetensors.torch.load(files[HEAD_WEIGHTS])
            head["heads.keys.4.bias"] = torch.zeros(5)
            return {**files, HEAD_WEIGHTS: safetensors.torch.save(head)}
    return {**files, name: safetensors.torch.save(tensors)}


@pytest.mark.parametrize(
    "kind",
    [
        "truncated",
        "header longer than the file",
        "pickle",
        "missing tensor",
        "unexpected tensor",
        "another shape",
        "another type",
        "missing file",
        "configuration of another size",
        "configuration that is no JSON",
        "head of another size",
    ],
)
def test_whatever_does_not_fit_is_refused_and_leaves_no_trace(loaded: LoadedBase, kind: str) -> None:
    """The library's own loader logs most of these and goes on with random weights."""
    files = files_of(loaded)
    before = set(loaded.model.state_dict())
    with pytest.raises(WeightsError):
        insert_adapter(loaded.model, SLOT, damaged(files, kind))
    assert set(loaded.model.state_dict()) == before
    insert_adapter(loaded.model, SLOT, files)


def test_one_methods_weights_do_not_load_as_anothers(loaded: LoadedBase) -> None:
    lora, bottleneck = files_of(loaded, "lora"), files_of(loaded)
    mixed = {**bottleneck, ADAPTER_WEIGHTS: lora[ADAPTER_WEIGHTS]}
    with pytest.raises(WeightsError, match="missing"):
        insert_adapter(loaded.model, SLOT, mixed)


def test_slots_whose_numbers_share_a_beginning_stay_apart(loaded: LoadedBase) -> None:
    inputs = loaded.tokenizer(TEXTS, padding=True, return_tensors="pt")
    slots = [slot_name(index) for index in (1, 10, 100)]
    for slot in slots:
        insert_adapter(loaded.model, slot, files_of(loaded))

    def logits(slot: str) -> torch.Tensor:
        with torch.inference_mode(), AdapterSetup(slot):
            return loaded.model.eval()(**inputs, head=slot).logits

    before = logits(slots[2])
    assert not torch.equal(logits(slots[0]), before)
    remove_slot(loaded.model, slots[0])
    assert torch.equal(logits(slots[2]), before)


def test_a_configuration_that_fails_halfway_leaves_no_trace(loaded: LoadedBase) -> None:
    """The library has put two LoRAs into the layers by the time it finds that it cannot tell them apart."""
    before = set(loaded.model.state_dict())
    parts = [{**configure("lora"), "leave_out": [layer]} for layer in (0, 1)]
    with pytest.raises(SettingsError, match="cannot be built on a bert base"):
        add_slot(loaded.model, SLOT, {"architecture": "union", "configs": parts})
    assert set(loaded.model.state_dict()) == before
    assert len(loaded.model.adapters_config) == 0


def test_a_slot_that_is_used_again_has_the_shapes_of_its_new_configuration(loaded: LoadedBase) -> None:
    """Of VeRA's shared matrices, the library remembers the shapes that a name had first."""
    for rank in (8, 4):
        add_slot(loaded.model, SLOT, configure("vera", {"r": rank}))
        shapes = {key: tuple(tensor.shape) for key, tensor in adapter_tensors(loaded.model, SLOT).items()}
        assert shapes[f"bert.shared_parameters.{SLOT}.lora_A"] == (rank, 128)
        remove_slot(loaded.model, SLOT)
