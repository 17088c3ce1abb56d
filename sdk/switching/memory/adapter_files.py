"""A version's files, read and checked, in memory outside the model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch

from pointsman.registry import Registry, Version
from pointsman.registry.errors import SettingsError, WeightsError

from ...data.lengths import check_stored_length
from ...engines.heads import Head
from ...formats.native import ADAPTER_CONFIG, ModuleState, read_adapter, read_head
from ...formats.native_fusion import read_fusion
from ...methods import ONLY_TRAINING, parts_of
from ...methods.fusion import is_fusion
from ...methods.support import check_supported
from ...tasks import Task


@dataclass(frozen=True, eq=False)
class AdapterFiles:
    """The tensors and configuration of a version, and its head."""

    adapter: ModuleState
    """The adapter, or the fusion layer."""
    head: Head
    checked: bool
    """Whether the tensors were read back from the model: they fit, and are of the type that they had there."""

    @classmethod
    def read(cls, version: Version, registry: Registry, model: Any, *, dtype: torch.dtype) -> Self:
        """Read a version's files.

        Args:
            version: The version.
            registry: The registry that has its files.
            model: The model that they are for; it is not changed.
            dtype: The type of the head's matrices.

        Raises:
            StoreError, WeightsError: A file is missing or damaged, the head does not fit the version's task, or the
                files have another configuration than the version.
            SettingsError: The version's length does not fit the base.
        """
        check_stored_length(version.ref, version.max_length, model.config)
        files = registry.read_files(version)
        head = Head(read_head(files), model, dtype=dtype)
        task = Task.from_dict(version.task)
        if head.outputs != task.num_labels:
            raise WeightsError(
                f"the head of {version.ref} has {head.outputs} outputs, and its task '{task.name}' asks for "
                f"{task.num_labels}"
            )
        if is_fusion(version):
            return cls(read_fusion(files), head, checked=False)
        adapter = read_adapter(files)
        try:
            check_supported(model.config, adapter.config)
        except SettingsError as error:
            raise WeightsError(f"{ADAPTER_CONFIG} of {version.ref} does not fit this base: {error}") from error
        _check_same(version, adapter.config)
        return cls(adapter, head, checked=False)

    @cached_property
    def key(self) -> str:
        """The configuration as text, without fields that only training reads: versions of one key share a rack."""

        def without_training(part: dict[str, Any]) -> dict[str, Any]:
            return {field: value for field, value in part.items() if field not in ONLY_TRAINING}

        # The hook runs on every object of the JSON text, so on each part of a union.
        config = json.loads(json.dumps(self.adapter.config), object_hook=without_training)
        return json.dumps(config, sort_keys=True)

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.adapter.tensors.values()) + self.head.size


def _check_same(version: Version, stored: Mapping[str, Any]) -> None:
    """Refuse a version whose configuration is not that of its files: the rules read the one, the model the other.

    Raises:
        SettingsError: The version's configuration is no union where that of its files is one, or is none.
        WeightsError: A field differs that both have.
    """
    pairs = list(zip(parts_of(version.config), parts_of(stored), strict=False))
    if len(pairs) < max(len(parts_of(version.config)), len(parts_of(stored))):
        raise WeightsError(f"{ADAPTER_CONFIG} of {version.ref} has another number of parts than its configuration")
    for one, other in pairs:
        fields = (one.keys() & other.keys() | {"architecture"}) - ONLY_TRAINING
        if different := sorted(field for field in fields if one.get(field) != other.get(field)):
            raise WeightsError(
                f"{ADAPTER_CONFIG} of {version.ref} differs from the version's configuration in {', '.join(different)}"
            )
