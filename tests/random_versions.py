"""Versions with random weights, registered without training."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pointsman.registry import Registry, Version
from pointsman.sdk.bases.load import LoadedBase, load_base
from pointsman.sdk.engines.slots import add_head, add_slot, extract_adapter, remove_slot, slot_name
from pointsman.sdk.methods import configure
from pointsman.sdk.tasks import GLUE, Task

from helpers import scramble


@functools.cache
def loaded_once(base: Path) -> LoadedBase:
    """A base that is only used to make adapters on, and has none in between."""
    return load_base(str(base))


def add_random_version(
    registry: Registry,
    name: str,
    task: Task = GLUE["sst2"],
    *,
    method: str = "seq_bn",
    seed: int = 0,
    base: Path,
    fields: Mapping[str, Any] | None = None,
) -> Version:
    """Register an adapter whose weights are far from zero: none behaves like another, or like the base."""
    loaded = loaded_once(base)
    torch.manual_seed(seed)
    config = configure(method, fields)
    slot = slot_name(0)
    add_slot(loaded.model, slot, config)
    add_head(loaded.model, slot, labels=task.labels)
    scramble(loaded.model, slot)
    files = extract_adapter(loaded.model, slot, name=name, base="tiny")
    remove_slot(loaded.model, slot)
    return registry.add_version(
        name,
        files=files,
        task=task.to_dict(),
        method=method,
        config=config,
        base=loaded.record,
        max_length=32,
        parameters=1,
    )
