"""AdapterDrop per forward pass (Rücklé et al. 2021, arXiv:2010.11918), and lower layers that run once per text.

adapters 1.3.0 can skip the adapters of layers, but ``skip_layers`` is one list for the whole model, and so for all
threads. It runs every layer on every row, although below the first adapter a base computes the same for a text for
every task.

The patch reads the number of layers to skip from the forward context of the thread. Where the context names the text of
each row, the lower layers run once per text, and the hidden states are repeated at the first adapter, once per row.
Adapters at the embeddings (invertible adapters, prompts) are in no layer and always run.
"""

import inspect
from collections.abc import Collection, Iterator, Mapping
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
"""The bases whose layers take no input by row other than those in ``_BY_ROW``."""

_BY_ROW: Final = frozenset({"hidden_states", "x", "attention_mask", "attn_mask", "sliding_window_mask"})
"""The parameters of layers whose first dimension is the rows, or 1 if they are the same for all rows."""


class _EveryLayer:
    """All layers: adapters only tests whether a layer is contained."""

    def __contains__(self, layer: int) -> bool:
        return True


class _PerThreadConfig(ModelAdaptersConfig):  # type: ignore[misc]
    """A model's adapter configuration, with ``skip_layers`` from the forward context of the thread."""

    @property
    def skip_layers(self) -> "_EveryLayer | Collection[int] | None":
        """The layers to skip, read in every adapter layer; without a forward context, the model's own."""
        context = current_context()
        if context is not None and context.skips_adapters:
            return _EveryLayer()
        layers: Collection[int] | None = self.__dict__["skip_layers"]
        return layers

    @skip_layers.setter
    def skip_layers(self, layers: Collection[int] | None) -> None:
        self.__dict__["skip_layers"] = layers


def install(model: Any) -> None:
    """Let forward passes of this model follow ``dropped`` and ``sharing`` of their context."""
    if isinstance(model.adapters_config, _PerThreadConfig):
        return
    model.adapters_config.__class__ = _PerThreadConfig
    for layer in _layer_modules(model):
        names = tuple(inspect.signature(layer.forward).parameters)
        layer.register_forward_pre_hook(partial(_start_layer, names), with_kwargs=True, prepend=True)
    for module in _bottleneck_places(model):
        module.bottleneck_layer_forward = MethodType(_run_bottlenecks, module)


def count_layers(base: Any) -> int:
    """The number of layers in a forward pass on a base; ALBERT runs one module several times.

    Args:
        base: The base's configuration, as transformers has it.
    """
    if base.model_type == "albert":
        return int(base.num_hidden_layers * base.inner_group_num)
    return int(base.num_hidden_layers)


def check_drop_layers(drop_layers: int, model: Any) -> None:
    """Refuse a number of layers that the base does not have.

    Raises:
        SettingsError: It is not a whole number from 0 to the number of layers.
    """
    layers = count_layers(model.config)
    if isinstance(drop_layers, bool) or not isinstance(drop_layers, int) or not 0 <= drop_layers <= layers:
        raise SettingsError(
            f"drop_layers must be a whole number from 0 to {layers}, the base's layers; found {drop_layers!r}"
        )


def shared_layers(model: Any, setup: Any, dropped: int) -> SharedLayers:
    """The part of a forward pass that computes what the bare base does, and so can run once per text.

    Args:
        model: An adapters model with this patch.
        setup: The adapters library's block of active adapters.
        dropped: The number of lowest layers whose adapters are skipped.
    """
    if model.config.model_type not in _SHARING:
        return SharedLayers()
    names = AdapterSetup(setup).adapter_setup.flatten()
    parts = [part for name in names for part in parts_of(model.adapters_config.get(name).to_dict())]
    if any(part.get("inv_adapter") or "leave_out" not in part for part in parts):
        return SharedLayers()  # it is at the embeddings
    layers, parts_in_layer = count_layers(model.config), parts
    shared = dropped
    if layers == len(_layer_modules(model)):  # leave_out counts modules, and one module may be several layers
        while shared < layers:
            parts_in_layer = [part for part in parts if shared not in part["leave_out"]]
            if parts_in_layer:
                break
            shared += 1
    if not shared:
        return SharedLayers()
    has_places = any(True for _ in _bottleneck_places(model))
    only_bottlenecks = all("output_adapter" in part for part in parts_in_layer)
    return SharedLayers(layers=shared, to_adapter=has_places and only_bottlenecks)


def _start_layer(
    names: tuple[str, ...], layer: nn.Module, arguments: tuple[Any, ...], options: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Before a layer: count it, and if it runs on rows, repeat its inputs for each row.

    Hidden states are by row already if the layer below ran on rows; masks are the same objects for all layers.
    """
    context = current_context()
    if context is None:
        return None
    context.layer += 1
    if context.text_of_row is None or context.layer <= context.sharing.layers + context.sharing.to_adapter:
        return None

    def by_row(name: str, value: Any) -> Any:
        return context.by_row(value) if name in _BY_ROW and isinstance(value, Tensor) else value

    positional = [by_row(name, value) for name, value in zip(names, arguments, strict=False)]
    return tuple(positional), {name: by_row(name, value) for name, value in options.items()}


def _run_bottlenecks(layer: Any, hidden_states: Tensor, residual_input: Tensor, layer_norm: nn.Module) -> Any:
    """The forward pass at a place for bottlenecks: at the first that has any, texts become rows."""
    context = current_context()
    if (
        context is not None
        and context.text_of_row is not None
        and context.layer > context.sharing.layers
        and layer.get_active_setup()
    ):
        hidden_states, residual_input = context.by_row(hidden_states), context.by_row(residual_input)
    return BottleneckLayer.bottleneck_layer_forward(layer, hidden_states, residual_input, layer_norm)


def _bottleneck_places(model: Any) -> Iterator[Any]:
    """The places for bottlenecks that take the residual with the hidden states; for hooks, others add the residual."""
    modules = model.base_model.modules()
    return (module for module in modules if isinstance(module, BottleneckLayer) and not module.is_layer_hooked)


def _layer_modules(model: Any) -> list[nn.Module]:
    return [layer for _, layer in model.base_model.iter_layers()]
