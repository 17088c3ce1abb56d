"""An average is the weighted sum of its members' outputs; without the patch it is divided once more."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from adapters import AdapterSetup
from adapters.composition import Average, Stack
from adapters.methods.adapter_layer_base import ComposableAdapterLayerBase
from adapters.methods.bottleneck import BottleneckLayer
from adapters.methods.lora import LoRALinear

from pointsman.sdk.patches import average

NAMES = ("slot000000", "slot000001")


@pytest.fixture
def with_adapters(plain_model: Any, add_adapter: Any) -> Callable[[str], Any]:
    def load(method: str) -> Any:
        model = plain_model()
        for seed, name in enumerate(NAMES):
            add_adapter(model, name, method, seed=seed)
        return model

    return load


def lora_layer(model: Any) -> LoRALinear:
    layers = [module for module in model.modules() if isinstance(module, LoRALinear) and NAMES[0] in module.loras]
    return layers[0]


def run(layer: Any, setup: Any, states: torch.Tensor) -> torch.Tensor:
    """One adapter layer's output with something active, outside a model."""
    with torch.inference_mode(), AdapterSetup(setup):
        output: torch.Tensor = layer(states)
    return output


def test_the_library_divides_the_weighted_mean_once_more(contract: Any, with_adapters: Any) -> None:
    with contract("adapters", "the weighted mean is divided once more: Average(a, a) is not a"):
        layer = lora_layer(with_adapters("lora"))
        states = torch.randn(2, 5, 128)
        base = torch.nn.functional.linear(states, layer.weight, layer.bias)
        update = run(layer, NAMES[0], states) - base
        averaged = run(layer, Average(NAMES[0], NAMES[0]), states) - base
        torch.testing.assert_close(averaged, update / 2)
    with contract("adapters", "layers look compose_average up by name, and call it with a setup, a state and a level"):
        assert layer.composition_to_func_map[Average] == "compose_average"
        parameters = inspect.signature(ComposableAdapterLayerBase.compose_average).parameters
        assert list(parameters) == ["self", "adapter_setup", "state", "lvl"]
    with contract("adapters", "a layer's mean divides the weighted sum by the number of states"):
        for kind in (LoRALinear, BottleneckLayer):
            assert "torch.mean(" in inspect.getsource(kind.mean)
            assert issubclass(kind, ComposableAdapterLayerBase)


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.25, 0.75], [1.0, -1.0], [2.0, 1.0]])
def test_an_average_is_the_weighted_sum(weights: list[float], with_adapters: Any) -> None:
    model = with_adapters("lora")
    average.install(model)
    layer, states = lora_layer(model), torch.randn(2, 5, 128)
    base = torch.nn.functional.linear(states, layer.weight, layer.bias)
    first, second = (run(layer, name, states) - base for name in NAMES)
    found = run(layer, Average(*NAMES, weights=weights, normalize_weights=False), states) - base
    torch.testing.assert_close(found, weights[0] * first + weights[1] * second, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ["seq_bn", "double_seq_bn", "par_bn", "lora", "ia3"])
def test_the_average_of_one_is_that_one_in_every_layer(method: str, with_adapters: Any) -> None:
    model = with_adapters(method)
    average.install(model)
    inputs = {"input_ids": torch.randint(5, 40, (2, 6)), "attention_mask": torch.ones(2, 6, dtype=torch.long)}

    def states(setup: Any) -> torch.Tensor:
        with torch.inference_mode(), AdapterSetup(setup):
            found: torch.Tensor = model.base_model(**inputs)[0]
        return found

    one = states(NAMES[0])
    assert not torch.allclose(one, states(NAMES[1]), atol=1e-3)
    torch.testing.assert_close(states(Average(*[NAMES[0]] * 2)), one, atol=1e-5, rtol=1e-5)
    if method != "par_bn":  # the library stacks none in parallel
        stacked = Average(Stack(NAMES[0]), Stack(NAMES[0]))
        torch.testing.assert_close(states(stacked), one, atol=1e-5, rtol=1e-5)


def test_a_layer_without_members_passes_the_state_on(contract: Any, plain_model: Any, add_adapter: Any) -> None:
    """The stack's first adapter is in both layers, the averaged ones in the upper layer only."""
    model, lower = plain_model(), "slot000002"
    for name in NAMES:
        add_adapter(model, name, fields={"leave_out": [0]})
    add_adapter(model, lower, seed=1)
    inputs = {"input_ids": torch.randint(5, 40, (2, 6)), "attention_mask": torch.ones(2, 6, dtype=torch.long)}
    with contract("adapters", "an average fails at a layer that no member has a part in"):  # noqa: SIM117
        with pytest.raises(KeyError, match="slot000000"), AdapterSetup(Stack(lower, Average(*NAMES))):
            model.base_model(**inputs)
    average.install(model)
    found = []
    for setup in (Stack(lower, Average(*NAMES)), Stack(lower, NAMES[0])):
        with torch.inference_mode(), AdapterSetup(setup):
            found.append(model.base_model(**inputs)[0])
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)
