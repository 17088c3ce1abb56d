"""The modules of a rack compute for each row what the library's own modules compute for the weights in its slot."""

from typing import Any

import pytest
import torch
from adapters import AdapterSetup
from adapters.methods.lora import IA3, LoRA, LoRALinear
from torch import nn

from pointsman.sdk.patches.forward_context import ForwardContext, forward_context
from pointsman.sdk.patches.rack_modules import RackStorage, RackTensor, can_replace, replacement

SLOTS = ("slot000000", "slot000001")
RACK = "slot000002"


def own_modules(model: Any, slot: str) -> dict[str, nn.Module]:
    """An adapter's own modules with tensors, by path; the adapters' dropouts and activations have none."""
    return {
        path: module
        for path, module in model.named_modules()
        if slot in path.split(".") and any(True for _ in module.parameters(recurse=False))
    }


def test_a_linear_layer_calls_loras_as_it_does(contract: Any, plain_model: Any, add_adapter: Any) -> None:
    model = plain_model()
    add_adapter(model, SLOTS[0], "lora")
    layer = next(m for m in model.modules() if isinstance(m, LoRALinear) and SLOTS[0] in m.loras)
    calls: list[tuple[Any, ...]] = []
    states = torch.randn(2, 5, 128)

    class Probe(nn.Module):
        use_dora = use_gating = False

        def forward(self, *arguments: Any, **options: Any) -> Any:
            calls.append(("forward", arguments, options))
            return torch.ones(2, 5, 128), None

        def com(self, *arguments: Any, **options: Any) -> Any:
            calls.append(("com", arguments, options))
            return arguments[0] * 3

    layer.loras[SLOTS[0]] = Probe()
    with contract("adapters", "LoRALinear calls forward(hidden, layer_input) and com(weights, added, scaling=1.0)"):
        with torch.inference_mode(), AdapterSetup(SLOTS[0]):
            output = layer(states)
        (first, (hidden, layer_input), no_options), (second, (weights, added), options) = calls
        assert (first, hidden, no_options, second, options) == ("forward", None, {}, "com", {"scaling": 1.0})
        assert torch.equal(layer_input, states)
        torch.testing.assert_close(weights, nn.functional.linear(states, layer.weight, layer.bias))
        assert torch.equal(added, torch.ones(2, 5, 128))
        assert torch.equal(output, weights * 3)
    with contract("adapters", "LoRA and IA3 scale their output in forward, and keep tensors in lora_A and lora_B"):
        for kind, names in ((LoRA, {"lora_A", "lora_B"}), (IA3, {"lora_B"})):
            model = plain_model()
            add_adapter(model, SLOTS[0], kind.__name__.lower())
            modules = [module for module in own_modules(model, SLOTS[0]).values() if isinstance(module, kind)]
            assert len(modules) >= 4
            assert all({name for name, _ in module.named_parameters()} == names for module in modules)
            assert all(isinstance(module.scaling, float | int) for module in modules)


@pytest.mark.parametrize(
    ("method", "fields", "count"),
    [("seq_bn", {}, 4), ("seq_bn_inv", {}, 8), ("lora", {"alpha": 3}, 4), ("ia3", {"alpha": 2.5}, 6)],
)
def test_each_row_is_computed_with_the_weights_in_its_slot(
    method: str, fields: dict[str, Any], count: int, plain_model: Any, add_adapter: Any
) -> None:
    model = plain_model()
    for seed, slot in enumerate(SLOTS):
        add_adapter(model, slot, method, seed=seed, fields=fields)
    first, second = (own_modules(model, slot) for slot in SLOTS)
    assert len(first) == count
    for (path, module), other in zip(first.items(), second.values(), strict=True):
        assert can_replace(model, path, module)
        pairs = zip(module.named_parameters(recurse=False), other.parameters(recurse=False), strict=True)
        storage = RackStorage({name: torch.stack([one.detach(), two.detach()]) for (name, one), two in pairs})
        tensors = {name: RackTensor(storage, name) for name in storage.tensors}
        assert storage.slots == 2
        racked: Any = replacement(RACK, module, tensors)
        by_slot: list[Any] = [module, other]
        inside = module.in_features if isinstance(module, nn.Linear) else 128
        states = torch.randn(3, 5, inside)
        for slots in (0, 1, torch.tensor([1, 0, 1])):
            rows = [slots] * 3 if isinstance(slots, int) else slots.tolist()
            with torch.inference_mode(), forward_context(ForwardContext(slots={RACK: slots})):
                if isinstance(module, nn.Linear):
                    found = racked(states)
                    expected = torch.stack([by_slot[slot](state) for slot, state in zip(rows, states, strict=True)])
                else:
                    weights = torch.randn(3, 5, len(module.lora_B))
                    for hidden in (None, torch.randn(3, 5, len(module.lora_B)) if method == "ia3" else states):
                        added, gate = racked(hidden, states)
                        assert gate is None
                        own = [
                            by_slot[slot](None if hidden is None else hidden[row : row + 1], states[row : row + 1])[0]
                            for row, slot in enumerate(rows)
                        ]
                        torch.testing.assert_close(added.expand(3, *added.shape[1:]), torch.cat(own))
                        found = racked.com(weights, added, scaling=1.0)
                        expected = module.com(weights, torch.cat(own), scaling=1.0)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", ["dora", "vera", "compacter", "loreft", "prefix_tuning"])
def test_what_a_rack_cannot_hold_is_not_replaced(method: str, plain_model: Any, add_adapter: Any) -> None:
    model = plain_model()
    add_adapter(model, SLOTS[0], method)
    modules = own_modules(model, SLOTS[0])
    assert modules
    assert not all(can_replace(model, path, module) for path, module in modules.items())


def test_other_modules_are_refused_and_so_is_a_pass_without_slots() -> None:
    with pytest.raises(TypeError, match="a rack cannot hold a LayerNorm; it holds"):
        replacement(RACK, nn.LayerNorm(4), {})
    layer = nn.Linear(4, 4)
    storage = RackStorage({name: value[None] for name, value in layer.named_parameters()})
    racked = replacement(RACK, layer, {name: RackTensor(storage, name) for name in storage.tensors})
    with pytest.raises(LookupError, match=f"the rack '{RACK}' runs outside a forward context"):
        racked(torch.ones(1, 2, 4))
    with pytest.raises(KeyError, match=RACK), forward_context(ForwardContext()):
        racked(torch.ones(1, 2, 4))
