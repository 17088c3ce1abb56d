"""Adapters with random weights on the tiny base, registered without training: what switching is tested with."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from pointsman.registry import Registry
from pointsman.sdk.bases.load import LoadedBase, load_base, read_base
from pointsman.sdk.training.resolved import ResolvedSettings, resolve
from pointsman.sdk.training.settings import TrainSettings

from architectures import ARCHITECTURES, make_base
from helpers import MakeVersion
from random_versions import add_random_version

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


@pytest.fixture
def make_version(registry: Registry, tiny_base: Path) -> MakeVersion:
    """Registers an adapter whose weights are random and far from zero: none behaves like another, or like the base."""
    return partial(add_random_version, registry, base=tiny_base)
