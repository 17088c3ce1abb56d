"""Adapters with random weights on the tiny base, registered without training: what switching is tested with."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from pointsman.registry import Registry, Version
from pointsman.sdk.bases.load import LoadedBase, load_base, read_base
from pointsman.sdk.engines.slots import add_head, add_slot, extract_adapter, remove_slot, slot_name
from pointsman.sdk.methods import configure
from pointsman.sdk.tasks import GLUE, Task
from pointsman.sdk.training.resolved import ResolvedSettings, resolve
from pointsman.sdk.training.settings import TrainSettings

from architectures import ARCHITECTURES, make_base
from helpers import MakeVersion, scramble

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random weights whichever tests ran before."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny base of each architecture by its name, as directories."""
    parent = tmp_path_factory.mktemp("bases")
    return {name: make_base(parent / name, name) for name in ARCHITECTURES}


@pytest.fixture
def loaded(tiny_base: Path) -> LoadedBase:
    return load_base(str(tiny_base))


@pytest.fixture(scope="session")
def resolved(tiny_base: Path) -> Callable[..., ResolvedSettings]:
    """Resolves settings for a training on the tiny base and the CPU."""
    config, tokenizer = read_base(str(tiny_base))

    def resolve_for(
        settings: TrainSettings, *, task: str = "sst2", method: str = "seq_bn", rows: int = 10_000
    ) -> ResolvedSettings:
        return resolve(
            settings,
            task=task,
            method=method,
            rows=rows,
            config=config,
            tokenizer=tokenizer,
            device=torch.device("cpu"),
        )

    return resolve_for


@functools.cache
def loaded_once(base: Path) -> LoadedBase:
    """A base that is only used to make adapters on, and has none in between."""
    return load_base(str(base))


@pytest.fixture
def make_version(registry: Registry, tiny_base: Path) -> MakeVersion:
    """Registers an adapter whose weights are random and far from zero: none behaves like another, or like the base."""

    def make(
        name: str,
        task: Task = GLUE["sst2"],
        *,
        method: str = "seq_bn",
        seed: int = 0,
        base: Path = tiny_base,
        fields: Mapping[str, Any] | None = None,
    ) -> Version:
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

    return make
