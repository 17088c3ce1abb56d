"""Fusion layers inside a model: added with fresh or stored weights, extracted and removed.

A fusion layer has a slot name, as adapters do: ``Fuse(*members, name=slot)`` finds it under any names of its members.
In the files its tensors are named by their places in the base alone. Files are written by pointsman, since the writer
of adapters 1.3.0 also saves every other fusion whose name has the same prefix.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from adapters.composition import Fuse
from adapters.configuration.model_adapters_config import build_full_config
from adapters.methods.bottleneck import BottleneckLayer
from adapters.methods.modeling import BertFusion

from pointsman.registry.errors import WeightsError

from ..formats.native import ModuleState, check_tensors, config_file, tensor_file
from ..formats.native_fusion import FUSION_CONFIG, FUSION_WEIGHTS, read_fusion
from ..patches.configurations import forget_fusion, keep_fusion

REGULARISATION: Final = 0.01
"""The factor of the squared distance of value matrices from the identity, as in the code of the paper's authors."""


def fuse_block(slot: str, members: Sequence[str]) -> Fuse:
    """The composition block that activates a fusion.

    Args:
        slot: The fusion's name in the model.
        members: The members' names in the model, in order.
    """
    return Fuse(*members, name=slot)


def add_fusion(model: Any, slot: str, members: Sequence[str], config: Mapping[str, Any]) -> None:
    """Add a fusion layer with fresh weights at every place of its members. On any error the model is left unchanged.

    Args:
        model: An adapters model with the members in it.
        slot: The fusion's name inside the model.
        members: The members' names in the model, in order.
        config: The fusion layer's full configuration (see ``configure_fusion``).

    Raises:
        WeightsError: The members are not at the same places, or the slot is taken.
    """
    if slot in model.adapters_config.fusions:
        raise WeightsError(f"the slot '{slot}' already holds a fusion: remove it first")
    places = _places_of(model, members)
    try:
        built = keep_fusion(model, slot, members, config)
        # The library would read a dropout of 0 as "the base's".
        dropout = built.dropout_prob
        if dropout is None:
            dropout = getattr(model.config, "attention_probs_dropout_prob", 0.0)
        for layer in places.values():
            fusion = BertFusion(built, model.config.hidden_size, dropout)
            layer.adapter_fusion_layer[slot] = fusion.to(model.device).train(layer.training)
    except BaseException:
        remove_fusion(model, slot)
        raise


def insert_fusion(model: Any, slot: str, members: Sequence[str], files: Mapping[str, bytes]) -> None:
    """Add the fusion layer of ``files`` to a model, without its head: ``read_fusion``, then ``fill_fusion``."""
    fill_fusion(model, slot, members, read_fusion(files))


def fill_fusion(model: Any, slot: str, members: Sequence[str], state: ModuleState) -> None:
    """Add a fusion layer with these weights to a model, under ``slot``. On any error the model is left unchanged.

    Args:
        model: An adapters model with the members in it.
        slot: The fusion's name inside the model.
        members: The members' names in the model, in the order of the version's configuration.
        state: The configuration and tensors, as ``read_fusion`` gives them.

    Raises:
        WeightsError: The tensors are not exactly those of the configuration at the places where the members are, or
            these are not at the same places.
    """
    add_fusion(model, slot, members, state.config)
    target = fusion_tensors(model, slot)
    try:
        check_tensors(state.tensors, target, FUSION_WEIGHTS)
    except WeightsError:
        remove_fusion(model, slot)
        raise
    with torch.no_grad():
        for key, tensor in state.tensors.items():
            target[key].copy_(tensor)


def extract_fusion(model: Any, slot: str, *, name: str, base: str, members: Sequence[str]) -> dict[str, bytes]:
    """The files of the fusion layer in ``slot``, as bytes by file name.

    Args:
        model: An adapters model.
        slot: The fusion's name inside the model.
        name: Its name in the files.
        base: The base's name in the files; information only.
        members: The members' names in the files; information only.
    """
    config = build_full_config(
        model.adapters_config.fusion_config_map[slot],
        model.config,
        model_name=base,
        name=name,
        model_class=type(model).__name__,
        adapter_names=list(members),
    )
    return {
        FUSION_WEIGHTS: tensor_file(fusion_tensors(model, slot)),
        FUSION_CONFIG: config_file(config),
    }


def remove_fusion(model: Any, slot: str) -> None:
    """Remove a fusion layer from a model; its members stay."""
    for _, layer in _layers(model):
        layer.delete_fusion_layer(slot)
    forget_fusion(model, slot)


def fusion_tensors(model: Any, slot: str) -> dict[str, torch.Tensor]:
    """All tensors of the fusion in ``slot``, by their places in the base."""
    return {
        f"{place}.adapter_fusion_layer.{key}": tensor
        for place, layer in _layers(model)
        if slot in layer.adapter_fusion_layer
        for key, tensor in layer.adapter_fusion_layer[slot].state_dict(keep_vars=True).items()
    }


def regularisation(model: Any, slot: str) -> Callable[[], torch.Tensor] | None:
    """The loss of the value matrices, ``0.01 * sum (V - I)²`` over all places, as a function; None: no loss.

    Pfeiffer et al. 2021 (arXiv:2005.00247) begin with value matrices near the identity and regularise them with an L2
    norm, "to avoid introducing additional capacity"; in their code it is that of the distance from the identity.
    """
    config = model.adapters_config.fusion_config_map[slot]
    if not (config.regularization and config.value):
        return None
    values = [tensor for key, tensor in fusion_tensors(model, slot).items() if key.endswith(".value.weight")]
    target = torch.eye(len(values[0]), device=values[0].device)
    return lambda: REGULARISATION * torch.stack([(value - target).square().sum() for value in values]).sum()


def _layers(model: Any) -> Iterator[tuple[str, BottleneckLayer]]:
    """Every place for bottlenecks, by its path in the model."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, BottleneckLayer))


def _places_of(model: Any, members: Sequence[str]) -> dict[str, BottleneckLayer]:
    """The places of the members, by their path in the model."""
    places = {}
    for place, layer in _layers(model):
        present = [member for member in members if member in layer.adapters]
        if present and len(present) < len(members):
            raise WeightsError(f"only {len(present)} of the {len(members)} members of the fusion are at {place}")
        if present:
            places[place] = layer
    if not places:
        raise WeightsError(f"the model holds no member of the fusion: {', '.join(members) or 'it has no members'}")
    return places
