"""Layers skip adapters as the thread's forward context says; what runs once per text is known of every base.

The numbers of whole predictions are in tests/sdk/switching/test_dropping.py.
"""

import inspect
import threading
from typing import Any

import pytest
import torch
from adapters import AdapterSetup
from adapters.methods.adapter_layer_base import AdapterLayerBase
from adapters.methods.bottleneck import BottleneckLayer

from pointsman.sdk.patches import layer_drop
from pointsman.sdk.patches.forward_context import ForwardContext, forward_context

from architectures import ARCHITECTURES

SLOT = "slot000000"
ROWS, TOKENS = 7, 9


def inputs() -> dict[str, torch.Tensor]:
    mask = torch.ones(ROWS, TOKENS, dtype=torch.long)
    mask[1, 5:] = 0
    ids = torch.randint(5, 40, (ROWS, TOKENS), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids * mask, "attention_mask": mask}


def states(model: Any, setup: Any = SLOT, **context: Any) -> torch.Tensor:
    with torch.inference_mode(), AdapterSetup(setup), forward_context(ForwardContext(**context)):
        found: torch.Tensor = model.base_model(**inputs())[0]
    return found


def test_layers_ask_the_configuration_what_to_skip(contract: Any, plain_model: Any, add_adapter: Any) -> None:
    model = plain_model()
    add_adapter(model, SLOT)
    with contract("adapters", "every adapter layer asks adapters_config.skip_layers whether it contains its number"):
        assert "self.layer_idx in self.adapters_config.skip_layers" in inspect.getsource(
            AdapterLayerBase.get_active_setup
        )
        with torch.inference_mode(), AdapterSetup(SLOT):
            adapted = model.base_model(**inputs())[0]
            model.adapters_config.skip_layers = [0, 1]
            assert not torch.equal(model.base_model(**inputs())[0], adapted)
    with contract("adapters", "skip_layers is one for all threads"):
        seen: list[Any] = []
        thread = threading.Thread(target=lambda: seen.append(model.adapters_config.skip_layers))
        thread.start()
        thread.join()
        assert seen == [[0, 1]]
    with contract("adapters", "AdapterSetup is the thread's own and read by the layers"):
        assert "AdapterSetup.get_context()" in inspect.getsource(AdapterLayerBase.get_active_setup)
    with contract("adapters", "blocks call bottleneck_layer_forward with hidden states, residual and normalisation"):
        parameters = inspect.signature(BottleneckLayer.bottleneck_layer_forward).parameters
        assert list(parameters) == ["self", "hidden_states", "residual_input", "layer_norm"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_layers_take_by_row_is_known(architecture: str, contract: Any, plain_model: Any) -> None:
    model = plain_model(architecture)
    seen: dict[str, int] = {}

    def see(layer: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        named = [*zip(inspect.signature(layer.forward).parameters, arguments, strict=False), *options.items()]
        seen.update({name: len(value) for name, value in named if isinstance(value, torch.Tensor)})

    layers = [layer for _, layer in model.base_model.iter_layers()]
    for layer in layers:
        layer.register_forward_pre_hook(see, with_kwargs=True)
    with torch.inference_mode():
        model.base_model(**inputs())
    assert architecture in layer_drop._SHARING
    with contract("transformers", f"a layer of {architecture} takes nothing by row but hidden states and masks"):
        by_row = {name for name, length in seen.items() if length == ROWS}
        assert len(by_row) >= 2
        assert by_row <= layer_drop._BY_ROW
    with contract("adapters", f"iter_layers of {architecture} gives the modules of its layers"):
        assert layer_drop.count_layers(model.config) == 2
        assert len(layers) == (1 if architecture == "albert" else 2)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_without_the_adapters_of_all_layers_it_is_the_bare_base(
    architecture: str, plain_model: Any, add_adapter: Any
) -> None:
    model = plain_model(architecture)
    with torch.inference_mode():
        bare = model.base_model(**inputs())[0]
    add_adapter(model, SLOT)
    with torch.inference_mode(), AdapterSetup(SLOT):
        adapted = model.base_model(**inputs())[0]
    layer_drop.install(model)
    assert torch.equal(states(model), adapted)
    assert torch.equal(states(model, dropped=2), bare)
    lowest = states(model, dropped=1)
    assert not torch.allclose(lowest, bare, atol=1e-3)
    assert not torch.allclose(lowest, adapted, atol=1e-3)
    with torch.inference_mode(), AdapterSetup(SLOT):
        assert torch.equal(model.base_model(**inputs())[0], adapted)


def test_the_model_s_own_skipped_layers_count_beside_it(plain_model: Any, add_adapter: Any) -> None:
    """Training activates an adapter for the whole model, which sets them."""
    model = plain_model()
    add_adapter(model, SLOT)
    layer_drop.install(model)
    expected = states(model, dropped=1)
    model.set_active_adapters(SLOT, skip_layers=[0])
    assert model.adapters_config.skip_layers == [0]
    with torch.inference_mode():
        assert torch.equal(model.base_model(**inputs())[0], expected)
    model.set_active_adapters(SLOT)
    assert model.adapters_config.skip_layers is None


def test_layers_below_the_first_adapter_run_on_texts(plain_model: Any, add_adapter: Any) -> None:
    model = plain_model()
    add_adapter(model, SLOT)
    layer_drop.install(model)
    expected = states(model, dropped=1)
    sharing = layer_drop.shared_layers(model, SLOT, 1)
    assert sharing == layer_drop.SharedLayers(layers=1, to_adapter=True)
    text_of_row = torch.tensor([3, 0, 0, 6, 1])
    found = states(model, dropped=1, sharing=sharing, text_of_row=text_of_row, texts=8)
    assert torch.equal(found, expected)  # with eight texts, the seven rows are not texts
    found = states(model, dropped=1, sharing=sharing, text_of_row=text_of_row, texts=ROWS)
    torch.testing.assert_close(found, expected[text_of_row], atol=1e-6, rtol=1e-5)
