"""Fusion layers inside a model: added with fresh or stored weights, extracted and removed.

A fusion layer has a slot name of ours, as adapters do: whatever its members are called in a model,
``Fuse(*members, name=slot)`` finds it. In the files its tensors are named by their places in the base alone. Writing is
ours: the library's writer takes every fusion whose name has the same prefix.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from adapters import AdapterFusionConfig
from adapters.composition import Fuse
from adapters.configuration.model_adapters_config import build_full_config
from adapters.methods.bottleneck import BottleneckLayer
from adapters.methods.modeling import BertFusion

from pointsman.registry.errors import WeightsError

from ..formats.native import Stored, check_tensors, config_file, tensor_file
from ..formats.native_fusion import FUSION_CONFIG, FUSION_WEIGHTS, read_fusion

REGULARISATION: Final = 0.01
"""What the square of a value matrix's distance from the identity costs, as in the code of the paper's authors."""


def fuse_block(slot: str, members: Sequence[str]) -> Fuse:
    """What activates a fusion.

    Args:
        slot: Where the fusion is.
        members: The members' names in the model, in order.
    """
    return Fuse(*members, name=slot)


def add_fusion(model: Any, slot: str, members: Sequence[str], config: Mapping[str, Any]) -> None:
    """Add a fusion layer with fresh weights wherever the members are. On any error the model is as it was.

    Args:
        model: An adapters model with the members in it.
        slot: The name that the fusion gets inside the model.
        members: The members' names in the model, in order.
        config: The fusion layer's full configuration (see ``configure_fusion``).

    Raises:
        WeightsError: The members are not at the same places, or the slot is taken.
    """
    known = model.adapters_config
    if slot in known.fusions:
        raise WeightsError(f"the slot '{slot}' holds a fusion already: remove it first")
    places = _places_of(model, members)
    built = AdapterFusionConfig.from_dict(dict(config))
    # The library would take 0 for "the base's".
    dropout = built.dropout_prob
    if dropout is None:
        dropout = getattr(model.config, "attention_probs_dropout_prob", 0.0)
    try:
        # Under its own name: the library's hash of a configuration is the same for several.
        known.fusions[slot], known.fusion_config_map[slot] = slot, built
        known.fusion_name_map[slot] = list(members)
        for layer in places.values():
            fusion = BertFusion(built, model.config.hidden_size, dropout)
            layer.adapter_fusion_layer[slot] = fusion.to(model.device).train(layer.training)
    except BaseException:
        remove_fusion(model, slot)
        raise


def insert_fusion(model: Any, slot: str, members: Sequence[str], files: Mapping[str, bytes]) -> None:
    """Add the fusion layer of ``files`` to a model, without its head: ``fill_fusion`` of what ``read_fusion`` gives."""
    fill_fusion(model, slot, members, read_fusion(files))


def fill_fusion(model: Any, slot: str, members: Sequence[str], stored: Stored) -> None:
    """Add a fusion layer with these weights to a model, under ``slot``. On any error the model is as it was.

    Args:
        model: An adapters model with the members in it.
        slot: The name that the fusion gets inside the model.
        members: The members' names in the model, in the order of the version's configuration.
        stored: What ``read_fusion`` gave.

    Raises:
        WeightsError: The tensors are not exactly those of the configuration at the places where the members are, or
            these are not at the same places.
    """
    add_fusion(model, slot, members, stored.config)
    target = fusion_tensors(model, slot)
    try:
        check_tensors(stored.tensors, target, FUSION_WEIGHTS)
    except WeightsError:
        remove_fusion(model, slot)
        raise
    with torch.no_grad():
        for key, tensor in stored.tensors.items():
            target[key].copy_(tensor)


def extract_fusion(model: Any, slot: str, *, name: str, base: str, members: Sequence[str]) -> dict[str, bytes]:
    """The files of the fusion layer in ``slot``, as content by file name.

    Args:
        model: An adapters model.
        slot: Where the fusion is.
        name: What to call it in the files.
        base: What to call the base in them; information only.
        members: What to call the members in them; information only.
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
    """Take a fusion layer out of a model; its members stay."""
    for _, layer in _layers(model):
        layer.delete_fusion_layer(slot)
    known = model.adapters_config
    for kept in (known.fusions, known.fusion_config_map, known.fusion_name_map):
        kept.pop(slot, None)


def fusion_tensors(model: Any, slot: str) -> dict[str, torch.Tensor]:
    """All tensors of the fusion in ``slot``, by the places where they are."""
    return {
        f"{place}.adapter_fusion_layer.{key}": tensor
        for place, layer in _layers(model)
        if slot in layer.adapter_fusion_layer
        for key, tensor in layer.adapter_fusion_layer[slot].state_dict(keep_vars=True).items()
    }


def regularisation(model: Any, slot: str) -> Callable[[], torch.Tensor] | None:
    """What the value matrices cost, as they are when asked: ``0.01 * sum (V - I)²`` over all places; None: nothing.

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
    """Every place where bottlenecks can be, by its name in the model."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, BottleneckLayer))


def _places_of(model: Any, members: Sequence[str]) -> dict[str, BottleneckLayer]:
    """The places where the members are."""
    found = {}
    for place, layer in _layers(model):
        here = [member for member in members if member in layer.adapters]
        if here and len(here) < len(members):
            raise WeightsError(f"at {place} there are only {len(here)} of the {len(members)} members of a fusion")
        if here:
            found[place] = layer
    if not found:
        raise WeightsError(f"none of the members of a fusion is in the model: {', '.join(members) or 'there are none'}")
    return found
