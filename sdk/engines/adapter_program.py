"""What an adapter or composition adds to an encoder's layers, as one function for each place where it stands.

A plain bottleneck, LoRA or IA3 in a rack is written out. Everything else that stands at the same places, compositions
and adapters that fit into no rack, is computed by the adapters library's own module for that place.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from adapters import AdapterSetup
from adapters.context import ForwardContext as LibraryContext
from adapters.methods.lora import LoRAState
from adapters.methods.modeling import Adapter, ParallelAdapter
from torch import Tensor, nn
from torch.nn import functional

from ..core.devices import autocast_to
from ..methods import parts_of
from ..patches.forward_context import ForwardContext, SlotIndex, forward_context
from ..patches.rack_modules import RackIA3, RackLinear, RackLoRA, RackModule
from .encoder_layers import LayerModules

Slots = Mapping[str, SlotIndex]
"""The slot to read in each rack, by its name in the model: one for all rows, or one for each row."""

Norm = Callable[[Tensor], Tensor]

Bottleneck = Callable[[Slots, Tensor, Tensor, Norm], Tensor]
"""Slots, a block's output, its residual and the layer's normalisation to the layer's normalised states."""

Update = Callable[[Slots, Tensor, Tensor], Tensor]
"""Slots, a linear layer's inputs and its outputs to the updated outputs; may change the outputs in place."""

_FEW_TOKENS: Final = 64
"""Up to this many, the small products of a bottleneck in bf16 take longer than in float32."""

BOTTLENECKS: Final = ("attention_place", "output_place")
UPDATES: Final = ("query", "key", "value", "widen", "narrow")


def covers(config: Mapping[str, Any]) -> bool:
    """Whether adapters of a configuration stand only at places that an ``AdapterProgram`` computes.

    A prefix, prompt or ReFT stands elsewhere, DoRA changes a base's matrix, and a gate is read from the library's own
    forward pass.

    Args:
        config: A method's full configuration.
    """
    return all(
        part.get("architecture") in (None, "lora") and not part.get("use_dora") and not part.get("use_gating")
        for part in parts_of(config)
    )


class AdapterProgram:
    """One adapter or composition at every place of an encoder.

    Args:
        model: An adapters model.
        layers: Its layers.
        setup: The active adapters, a name in the model or a composition block of the adapters library.
        dtype: The type of the states.

    Examples:
        >>> program = AdapterProgram(model, layer_modules(model), "slot000000", dtype=torch.float32)
        >>> program.layers[0]["output_place"](slots, outputs, residual, norm)
    """

    def __init__(self, model: Any, layers: Sequence[LayerModules], setup: Any, *, dtype: torch.dtype) -> None:
        self._base = model.base_model
        self._device = model.device
        self._autocast = None if dtype is torch.float32 else dtype
        self._setup = AdapterSetup(setup).adapter_setup
        self._names = self._setup.flatten()
        single = next(iter(self._names)) if len(self._setup) == 1 and isinstance(self._setup[0], str) else None
        self.layers: list[dict[str, Any]] = []
        for number, layer in enumerate(layers, 1):
            places: dict[str, Any] = {}
            for field in BOTTLENECKS:
                module = getattr(layer, field)
                if self._names & set(module.adapters):
                    places[field] = _plain_bottleneck(single, module) or self._composed_bottleneck(module, number)
            for field in UPDATES:
                module = getattr(layer, field)
                if self._names & set(module.loras):
                    places[field] = _plain_update(single, module) or self._composed_update(module, number)
            self.layers.append(places)
        self.is_embedding = bool(self._names & set(self._base.invertible_adapters))
        """Whether it changes the embeddings."""

    def embed(self, slots: Slots, embedded: Tensor) -> Tensor:
        """The embeddings after an invertible adapter."""
        with self._active(slots, 0):
            states: Tensor = self._base.invertible_adapters_forward(embedded)
        return states.to(embedded.dtype)

    @contextmanager
    def _active(self, slots: Slots, layer: int) -> Iterator[None]:
        """The adapters library's modules compute this adapter or composition inside the block."""
        with (
            AdapterSetup(self._setup),
            _LibraryContext(self._base, self._names),
            forward_context(ForwardContext(slots=slots, layer=layer)),
            autocast_to(self._device, self._autocast),
        ):
            yield

    def _composed_bottleneck(self, module: Any, layer: int) -> Bottleneck:
        def run(slots: Slots, outputs: Tensor, residual: Tensor, norm: Norm) -> Tensor:
            with self._active(slots, layer):
                states: Tensor = module.bottleneck_layer_forward(outputs, residual, norm)
            return states.to(outputs.dtype)

        return run

    def _composed_update(self, module: Any, layer: int) -> Update:
        def run(slots: Slots, inputs: Tensor, outputs: Tensor) -> Tensor:
            with self._active(slots, layer):
                state = module.compose(self._setup, LoRAState(inputs, None, outputs, None))
                updated: Tensor = module.loras[state.last].com(state.layer_output, state.hidden_states, scaling=1.0)
            return updated

        return run


class _LibraryContext(LibraryContext):  # type: ignore[misc]
    """What the adapters library's modules read of a forward pass: the parameters that all layers share.

    The library makes it of a whole model's inputs.
    """

    def __init__(self, base: Any, names: Collection[str]) -> None:
        super().__init__(None)
        self.adapters_parallelized = False
        self.shared_parameters = {name: shared for name, shared in base.shared_parameters.items() if name in names}


def _plain_bottleneck(name: str | None, place: Any) -> Bottleneck | None:
    """The one bottleneck at a place, if it is a rack's and has two linear layers only."""
    if name is None or type(place.adapters[name]) not in (Adapter, ParallelAdapter):
        return None
    adapter = place.adapters[name]
    down, up = adapter.adapter_down[0], adapter.adapter_up
    if not (isinstance(down, RackLinear) and isinstance(up, RackLinear) and isinstance(adapter.scaling, float)):
        return None
    if adapter.add_layer_norm_before or adapter.add_layer_norm_after:
        return None
    takes_sum = adapter.original_ln_before and adapter.residual_before_ln is True and adapter.original_ln_after
    kind = SumBottleneck if takes_sum and not isinstance(adapter, ParallelAdapter) else _PlainBottleneck
    return kind(name, adapter, down, up)


def _plain_update(name: str | None, module: Any) -> Update | None:
    """The one LoRA or IA3 at a linear layer, if it is a rack's."""
    if name is None or not isinstance(module.loras[name], RackLoRA | RackIA3):
        return None
    return _PlainUpdate(name, module.loras[name])


class _PlainBottleneck:
    """``adapters.methods.modeling.Adapter`` and ``ParallelAdapter``, between ``pre_forward`` and ``post_forward``."""

    def __init__(self, rack: str, adapter: Any, down: RackModule, up: RackModule) -> None:
        self._rack, self._down, self._up = rack, down, up
        self._activation: Callable[[Tensor], Tensor] = adapter.non_linearity.f
        self._scaling: float = adapter.scaling
        self._is_parallel = isinstance(adapter, ParallelAdapter)
        self._norm_before: bool = adapter.original_ln_before
        self._norm_after: bool = adapter.original_ln_after
        self._residual_before_norm: bool | str = adapter.residual_before_ln

    def __call__(self, slots: Slots, outputs: Tensor, residual: Tensor, norm: Norm) -> Tensor:
        slot = slots[self._rack]
        if self._is_parallel:
            states = self._bottleneck(residual, slot).add_(outputs)
            return norm(states.add_(residual)) if self._norm_after else states
        inputs = skipped = outputs
        if self._norm_before:
            summed = outputs + residual
            inputs = norm(summed)
            if self._residual_before_norm is not True:
                skipped = summed if self._residual_before_norm else inputs
        states = self._bottleneck(inputs, slot).add_(skipped)
        return norm(states.add_(residual)) if self._norm_after else states

    def _bottleneck(self, inputs: Tensor, slot: SlotIndex) -> Tensor:
        if isinstance(slot, int) and inputs.dtype is torch.bfloat16 and inputs.shape[:-1].numel() <= _FEW_TOKENS:
            return self._bottleneck(inputs.float(), slot).to(torch.bfloat16)
        states = _linear(self._up, self._activation(_linear(self._down, inputs, slot)), slot)
        return states if self._scaling == 1 else states.mul_(self._scaling)


class SumBottleneck(_PlainBottleneck):
    """The bottleneck of Pfeiffer et al. 2020 (arXiv:2005.00247), which needs a block's output and residual only added.

    They are added in the product before it.
    """

    def __call__(self, slots: Slots, outputs: Tensor, residual: Tensor, norm: Norm) -> Tensor:
        """The layer's normalised states."""
        return self.of_sum(slots, outputs + residual, norm)

    def of_sum(self, slots: Slots, summed: Tensor, norm: Norm) -> Tensor:
        """The layer's normalised states, from the sum of the block's output and its residual."""
        return norm(self._bottleneck(norm(summed), slots[self._rack]).add_(summed))


class _PlainUpdate:
    """``RackLoRA`` and ``RackIA3``, with the sum or product that ``LoRALinear`` makes of their outputs, in place."""

    def __init__(self, rack: str, module: RackLoRA | RackIA3) -> None:
        self._rack, self._module = rack, module
        self._scaling = module.scaling
        self._is_product = isinstance(module, RackIA3)

    def __call__(self, slots: Slots, inputs: Tensor, outputs: Tensor) -> Tensor:
        slot = slots[self._rack]
        up = self._module.read("lora_B", slot)
        if self._is_product:
            factors = up.view(1 if isinstance(slot, int) else len(up), 1, -1)
            return outputs.mul_(factors if self._scaling == 1 else factors * self._scaling)
        down = self._module.read("lora_A", slot)
        if isinstance(slot, int):
            return outputs.add_(functional.linear(functional.linear(inputs, down), up), alpha=self._scaling)
        narrow = torch.bmm(inputs, down.transpose(1, 2))
        return outputs.add_(torch.bmm(narrow, up.transpose(1, 2)), alpha=self._scaling)


def _linear(module: RackModule, inputs: Tensor, slot: SlotIndex) -> Tensor:
    weight, bias = module.read("weight", slot), module.read("bias", slot)
    if isinstance(slot, int):
        return functional.linear(inputs, weight.to(inputs.dtype), bias.to(inputs.dtype))
    return torch.baddbmm(bias.unsqueeze(1), inputs, weight.transpose(1, 2))


def layer_norm(module: nn.LayerNorm) -> Norm:
    """A normalisation layer as a function without the module's call."""
    shape, weight, bias, epsilon = module.normalized_shape, module.weight.detach(), module.bias.detach(), module.eps
    return lambda states: functional.layer_norm(states, shape, weight, bias, epsilon)
