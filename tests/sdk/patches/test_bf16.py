"""A base in bf16: given back exactly after training, and the same numbers as autocast where that casts each time."""

from typing import Any

import pytest
import torch
from adapters import AdapterSetup

from pointsman.sdk.bases.load import LoadedBase
from pointsman.sdk.patches.bf16 import HalvedBase

from architectures import ARCHITECTURES

SLOT = "slot000000"


def test_autocast_casts_frozen_weights_in_every_forward_pass(contract: Any) -> None:
    with contract("torch", "autocast keeps the bf16 form of a weight that needs a gradient, and of no frozen one"):
        for frozen in (False, True):
            layer = torch.nn.Linear(4, 4).requires_grad_(not frozen)
            with torch.autocast("cpu", torch.bfloat16), torch.profiler.profile() as profile:
                for _ in range(3):
                    layer(torch.ones(1, 4))
            casts = sum(event.count for event in profile.key_averages() if event.key == "aten::_to_copy")
            # The input each time; weight and bias each time or once.
            assert casts == (9 if frozen else 5)
    with contract("torch", "a parameter takes data of another type"):
        layer = torch.nn.Linear(4, 4)
        layer.weight.data = layer.weight.data.to(torch.bfloat16)
        assert layer.weight.dtype is torch.bfloat16


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_embeddings_give_one_tensor_in_float32(architecture: str, contract: Any, plain_model: Any) -> None:
    model = plain_model(architecture)
    seen: list[Any] = []
    with contract("transformers", f"the module base_model.embeddings of {architecture} gives one float32 tensor"):
        model.base_model.embeddings.register_forward_hook(lambda _, __, outputs: seen.append(outputs))
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            model.base_model(input_ids=torch.tensor([[5, 11, 12]]), attention_mask=torch.ones(1, 3, dtype=torch.long))
        assert [outputs.dtype for outputs in seen] == [torch.float32]


@pytest.mark.parametrize("architecture", ["bert", "distilbert", "deberta-v2"])
def test_a_halved_base_computes_what_autocast_does(architecture: str, plain_model: Any, add_adapter: Any) -> None:
    """To the last bit: a weight is cast once instead of each time."""
    found = []
    for halves in (False, True):
        model = plain_model(architecture)
        if halves:
            HalvedBase(model)
        add_adapter(model, SLOT)
        inputs = {"input_ids": torch.tensor([[5, 11, 12]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
        with torch.inference_mode(), AdapterSetup(SLOT), torch.autocast("cpu", torch.bfloat16):
            found.append(model.base_model(**inputs)[0])
    assert torch.equal(*found)


def test_bf16_training_gives_the_base_back_exactly(loaded: LoadedBase) -> None:
    model = loaded.model
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    halved = HalvedBase(model)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16, torch.float32}
    with halved.exact():
        assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert model.get_input_embeddings().weight.dtype is torch.float32
    assert model.base_model.encoder.layer[0].output.dense.weight.dtype is torch.bfloat16
    halved.restore()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
