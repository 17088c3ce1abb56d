"""AdapterDrop (Rücklé et al. 2021, arXiv:2010.11918): without the adapters of the lowest layers, and those once a text.

How many layers go without is said for each forward pass, and belongs to the thread; adapters' own ``skip_layers`` is
one for all threads. What is at the embeddings (invertible adapters, prompts) is in no layer, and stays.

Below the first adapter, a base makes the same of a text whatever its task is. It can run there on each text once, and
the hidden states are repeated where the adapter is, once for each row that asks something about the text.
"""

import inspect
from collections.abc import Iterator, Mapping
from functools import partial
from types import MethodType
from typing import Any, Final

from adapters import AdapterSetup, ModelAdaptersConfig
from adapters.methods.bottleneck import BottleneckLayer
from torch import Tensor, nn

from pointsman.registry.errors import SettingsError

from ..methods import parts_of
from .forward_context import SharedLayers, current_context

_SHARING: Final = frozenset(
    {"bert", "roberta", "distilbert", "albert", "electra", "deberta-v2", "xlm-roberta", "modernbert"}
)
"""The bases whose layers take nothing row by row but what is in ``_BY_ROW``."""

_BY_ROW: Final = frozenset({"hidden_states", "x", "attention_mask", "attn_mask", "sliding_window_mask"})
"""What layers call that which has the rows as its first dimension, or 1 where it is the same for all."""


class _Everywhere:
    """All layers: adapters only asks whether one is among them."""

    def __contains__(self, layer: int) -> bool:
        return True


class _DropByThread(ModelAdaptersConfig):  # type: ignore[misc]
    """A model's configuration whose skipped layers are those of the forward pass that the thread makes."""

    @property
    def skip_layers(self) -> _Everywhere | None:
        """What adapters reads in every adapter layer."""
        way = current_context()
        return _Everywhere() if way is not None and way.skips else None


def drop_by_thread(model: Any) -> None:
    """Let forward passes of this model follow ``passing``."""
    model.adapters_config.__class__ = _DropByThread
    for layer in _modules(model):
        names = tuple(inspect.signature(layer.forward).parameters)
        layer.register_forward_pre_hook(partial(_begin, names), with_kwargs=True, prepend=True)
    for module in _bottlenecks(model):
        module.bottleneck_layer_forward = MethodType(_adapt, module)


def count_layers(base: Any) -> int:
    """How many layers run in a forward pass on a base with this configuration: of ALBERT, a module may be several."""
    if base.model_type == "albert":
        return int(base.num_hidden_layers * base.inner_group_num)
    return int(base.num_hidden_layers)


def check_drop_layers(drop_layers: int, model: Any) -> None:
    """Refuse a number of layers that cannot be.

    Raises:
        SettingsError: It is none from 0 to the number of layers.
    """
    most = count_layers(model.config)
    if isinstance(drop_layers, bool) or not isinstance(drop_layers, int) or not 0 <= drop_layers <= most:
        raise SettingsError(f"drop_layers has to be a whole number from 0 to {most}, all layers; found {drop_layers!r}")


def shared_layers(model: Any, setup: Any, dropped: int) -> SharedLayers:
    """What does as the bare base does, and is known to be able to do it once a text.

    Args:
        model: An adapters model that ``drop_by_thread`` has prepared.
        setup: adapters' block of what is active.
        dropped: The adapters of so many layers are skipped.
    """
    if model.config.model_type not in _SHARING:
        return SharedLayers()
    names = AdapterSetup(setup).adapter_setup.flatten()
    parts = [part for name in names for part in parts_of(model.adapters_config.get(name).to_dict())]
    if any(part.get("inv_adapter") or "leave_out" not in part for part in parts):
        return SharedLayers()  # it is at the embeddings
    layers, here = count_layers(model.config), parts
    shared = dropped
    if layers == len(_modules(model)):  # what is left out goes by modules, and one may run in several layers
        while shared < layers and not (here := [part for part in parts if shared not in part["leave_out"]]):
            shared += 1
    if not shared:
        return SharedLayers()
    to_adapter = any(True for _ in _bottlenecks(model)) and all("output_adapter" in part for part in here)
    return SharedLayers(layers=shared, to_adapter=to_adapter)


def _begin(
    names: tuple[str, ...], layer: nn.Module, arguments: tuple[Any, ...], options: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Before a layer: count it, and where it runs on rows, give it its inputs row by row.

    The hidden states come by row from the layer before, unless this is the first; masks are the same for all layers.
    """
    way = current_context()
    if way is None:
        return None
    way.begun += 1
    if way.text_of is None or way.begun <= way.sharing.layers + way.sharing.to_adapter:
        return None

    def by_row(name: str, value: Any) -> Any:
        return way.by_row(value) if name in _BY_ROW and isinstance(value, Tensor) else value

    by_place = [by_row(name, value) for name, value in zip(names, arguments, strict=False)]
    return tuple(by_place), {name: by_row(name, value) for name, value in options.items()}


def _adapt(layer: Any, hidden_states: Tensor, residual_input: Tensor, layer_norm: nn.Module) -> Any:
    """A place for bottlenecks: if it is the first that has any, what runs on texts runs on rows from here on."""
    way = current_context()
    if way is not None and way.text_of is not None and way.begun > way.sharing.layers and layer.get_active_setup():
        hidden_states, residual_input = way.by_row(hidden_states), way.by_row(residual_input)
    return BottleneckLayer.bottleneck_layer_forward(layer, hidden_states, residual_input, layer_norm)


def _bottlenecks(model: Any) -> Iterator[Any]:
    """The places for bottlenecks that take the residual with what they adapt; to those that are hooks others add it."""
    modules = model.base_model.modules()
    return (module for module in modules if isinstance(module, BottleneckLayer) and not module.is_layer_hooked)


def _modules(model: Any) -> list[nn.Module]:
    return [layer for _, layer in model.base_model.iter_layers()]
