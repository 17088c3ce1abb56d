"""What a version's files hold, in memory but outside the model."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch

from pointsman.registry import Registry, Version
from pointsman.registry.errors import WeightsError

from ...engines.heads import Head
from ...formats.native import ModuleState, read_adapter, read_head
from ...formats.native_fusion import read_fusion
from ...methods import ONLY_TRAINING
from ...methods.fusion import is_fusion
from ...tasks import Task


@dataclass(frozen=True, eq=False)
class AdapterFiles:
    """A version's tensors outside the model."""

    adapter: ModuleState
    """Or a fusion layer."""
    head: Head
    checked: bool
    """They have been in the model before, and are of the type that they had there."""

    @classmethod
    def read(cls, version: Version, registry: Registry, model: Any, *, dtype: torch.dtype) -> Self:
        """Read a version's files.

        Args:
            version: Which.
            registry: Where they are.
            model: The model that they are for; nothing is put into it.
            dtype: What the head's matrices are kept in.

        Raises:
            StoreError, WeightsError: A file is missing or damaged, or the head is not one of the version's task.
        """
        files = registry.read_files(version)
        head = Head(read_head(files), model, dtype=dtype)
        task = Task.from_dict(version.task)
        if head.outputs != task.num_labels:
            raise WeightsError(
                f"the head of {version.ref} has {head.outputs} outputs, and its task '{task.name}' asks for "
                f"{task.num_labels}"
            )
        stored = read_fusion(files) if is_fusion(version) else read_adapter(files)
        return cls(stored, head, checked=False)

    @cached_property
    def key(self) -> str:
        """What those have in common that may share a rack: their configuration, without what only training reads."""

        def lasting(part: dict[str, Any]) -> dict[str, Any]:
            return {field: value for field, value in part.items() if field not in ONLY_TRAINING}

        whole = json.loads(json.dumps(self.adapter.config), object_hook=lasting)  # of a union, each part
        return json.dumps(whole, sort_keys=True)

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.adapter.tensors.values()) + self.head.size
