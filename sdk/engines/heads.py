"""Heads: the layers that turn an encoding into a task's outputs, outside the model.

In a mixed batch each head runs on its own rows. One product for all heads would first gather their matrices, which are
large compared to the few rows of each: on two cores no faster at 384 features, and four times slower at 768.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from adapters.methods.modeling import Activation_Function_Class
from torch import Tensor, nn

from pointsman.registry.errors import WeightsError

from ..core.arguments import is_whole, short_repr
from ..core.devices import autocast_to
from ..formats.native import HEAD_CONFIG, HEAD_WEIGHTS, ModuleState, check_tensors
from ..tasks import TargetScale

_CLASSIFICATION: Final = "classification"


class Head:
    """One version's head in memory: adapters' classification head, without its dropout and outside the model.

    Args:
        state: Its configuration and tensors.
        model: The model whose encodings it reads; it is not changed.
        dtype: The type of matrices in memory.

    Raises:
        WeightsError: The head is not a classification head on the first token, or its tensors are not those of its
            configuration.

    Examples:
        >>> head = Head(read_head(files), model, dtype=torch.float32)
        >>> head(torch.randn(3, 384)).shape
        torch.Size([3, 2])
    """

    def __init__(self, state: ModuleState, model: Any, *, dtype: torch.dtype) -> None:
        config, hidden = state.config, int(model.config.hidden_size)
        if config.get("head_type") != _CLASSIFICATION or config.get("use_pooler"):
            raise WeightsError(f"{HEAD_CONFIG} does not describe a classification head on the first token")
        self.outputs, layers = (_count(config, field) for field in ("num_labels", "layers"))
        name, bias = config.get("activation_function"), bool(config.get("bias", True))
        try:
            self._activation = Activation_Function_Class(name) if name else nn.Identity()
        except (TypeError, KeyError, AttributeError) as error:
            raise WeightsError(f"{HEAD_CONFIG}: activation_function is {short_repr(name)}, which is unknown") from error
        # Compared before anything is made of the number, which may be any.
        stored = sum(key.endswith(".weight") for key in state.tensors)
        if layers != stored:
            raise WeightsError(f"{HEAD_CONFIG}: layers is {layers}, and {HEAD_WEIGHTS} has {stored}")
        # The library's own module has a dropout before each linear layer, and the activation after it.
        places = [number * (3 if name else 2) + 1 for number in range(layers)]
        expected = {}
        for number, place in enumerate(places):
            last = number == layers - 1
            size = self.outputs if last else hidden
            expected[f"{place}.weight"] = torch.empty(size, hidden, device="meta")
            if bias or not last:
                expected[f"{place}.bias"] = torch.empty(size, device="meta")
        check_tensors(state.tensors, expected, HEAD_WEIGHTS)
        exact = f"{places[-1]}." if self._is_score else None
        tensors = {
            key: tensor.to(model.device, torch.float32 if exact and key.startswith(exact) else dtype)
            for key, tensor in state.tensors.items()
        }
        self._layers = [(tensors[f"{place}.weight"], tensors.get(f"{place}.bias")) for place in places]
        self.size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())

    def __call__(self, encodings: Tensor) -> Tensor:
        """``(rows, hidden)`` to ``(rows, outputs)`` in float32."""
        *inner, (weight, bias) = self._layers
        for inner_weight, inner_bias in inner:
            encodings = self._activation(nn.functional.linear(encodings, inner_weight, inner_bias))
        if self._is_score:
            with autocast_to(encodings.device, None):
                return nn.functional.linear(encodings.float(), weight, bias)
        return nn.functional.linear(encodings, weight, bias).float()

    @property
    def _is_score(self) -> bool:
        """Whether its last layer stays in float32: bf16 would round a score of 250,000 to thousands."""
        return self.outputs == 1


@torch.no_grad()
def restore_unit(model: Any, slot: str, scale: TargetScale) -> None:
    """Change a trained head so that it answers in the user's unit: its last layer takes the unit in.

    Args:
        model: An adapters model.
        slot: The head in it, which has learned standardised scores.
        scale: Their unit.
    """
    last = [layer for layer in model.heads[slot] if isinstance(layer, nn.Linear)][-1]
    last.weight.copy_(last.weight.double() * scale.deviation)
    last.bias.copy_(scale.restore(last.bias))


def _count(config: Mapping[str, Any], field: str) -> int:
    value: Any = config.get(field)
    if not is_whole(value) or not 1 <= value < 2**31:
        raise WeightsError(f"{HEAD_CONFIG}: {field} must be a whole number of at least 1; found {short_repr(value)}")
    return int(value)


WeightedHeads = Sequence[tuple[Head, float]]
"""The heads of one route, each with the weight of its outputs."""


def weighted_outputs(heads: WeightedHeads, encodings: Tensor) -> Tensor:
    """The weighted sum of the heads' outputs for ``(rows, hidden)``: ``(rows, outputs)``."""
    (head, weight), *others = heads
    result = head(encodings) if weight == 1 else head(encodings) * weight
    for head, weight in others:
        result = result + head(encodings) * weight
    return result
