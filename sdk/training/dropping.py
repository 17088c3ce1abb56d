"""AdapterDrop in training (Rücklé et al. 2021, arXiv:2010.11918): for so many lower layers, or for any number of them.

The specialised form leaves the adapters of the lowest layers out for good. The robust form skips those of the lowest
``n``, another ``n`` for every batch, so that one version does at any number: ``predict(…, drop_layers=n)``.
"""

import re
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, Final

import torch
from torch import Tensor

from pointsman.registry.errors import SettingsError

from ..methods import parts_of
from ..switching.dropping import Pass, count_layers, drop_by_thread, passing

_SPAN: Final = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


def layers_to_drop(value: object) -> int | range:
    """What ``drop_layers`` says: so many layers for good, or as many as a range holds, another number each time.

    Raises:
        SettingsError: It is no number from 0, and no range as ``"0-5"``.
    """
    text = str(value)
    if span := _SPAN.fullmatch(text) if isinstance(value, str) else None:
        low, high = int(span[1]), int(span[2])
        if low <= high:
            return range(low, high + 1)
    elif isinstance(value, str | Integral) and not isinstance(value, bool) and re.fullmatch("[0-9]{1,9}", text):
        return int(text)
    raise SettingsError(f"drop_layers has to be a number of layers, as 3, or a range of it, as 0-5; found {value!r}")


def without_layers(config: Mapping[str, Any], drop_layers: int | str, base: Any) -> Mapping[str, Any]:
    """The configuration of what is trained: without the adapters of the lowest layers, where they are dropped for good.

    Args:
        config: A method's full configuration.
        drop_layers: What the settings say.
        base: The base's configuration, as transformers has it.

    Raises:
        SettingsError: The base has fewer layers; nothing of the method is in a layer; or other layers are left out.
    """
    dropped, layers = layers_to_drop(drop_layers), count_layers(base)
    if dropped == 0:
        return config
    parts = [part for part in parts_of(config) if _places(part) is not None]
    if not parts:
        raise SettingsError(
            f"drop_layers is {drop_layers}, and there are no adapters in layers that it could drop: leave it out"
        )
    if isinstance(dropped, range):
        if dropped[-1] > layers:
            raise SettingsError(f"drop_layers has to be within 0-{layers}, all layers of the base; found {drop_layers}")
        return config
    if dropped >= layers:
        raise SettingsError(f"drop_layers has to be under {layers}, the layers of the base; found {drop_layers}")
    if base.model_type == "albert" and base.num_hidden_groups < base.num_hidden_layers:
        raise SettingsError(
            f"the layers of this base share their adapters: train with a range of drop_layers, as 0-{dropped}, and "
            "predict with the number"
        )
    for part in parts:
        field = _places(part)
        if part[field] not in ([], "all"):
            raise SettingsError(
                f"drop_layers {dropped} leaves out the lowest layers, and {field}={part[field]} is set as well: "
                "give one of them"
            )
    left_out, others = list(range(dropped)), list(range(dropped, layers))
    changed = [
        {**part, field: left_out if field == "leave_out" else others} if (field := _places(part)) else part
        for part in parts_of(config)
    ]
    return {**config, "configs": changed} if config.get("architecture") == "union" else changed[0]


def at_random(
    forward: Callable[[Mapping[str, Tensor]], Tensor], model: Any, counts: range
) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """The forward pass of a training, each time without the adapters of another number of the lowest layers.

    Args:
        forward: A batch to outputs.
        model: The adapters model that it runs.
        counts: The numbers to draw from, all equally likely.
    """
    drop_by_thread(model)

    def dropping(batch: Mapping[str, Tensor]) -> Tensor:
        with passing(Pass(dropped=counts[int(torch.randint(len(counts), ()))])):
            return forward(batch)

    return dropping


def _places(part: Mapping[str, Any]) -> str | None:
    """The field that says in which layers a part is; None: it is in no layer."""
    return next((field for field in ("leave_out", "layers") if field in part), None)
