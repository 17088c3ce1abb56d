"""What contract tests have in common: assumptions about a library that fail with its name and version."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import AutoAdapterModel

import pointsman.sdk.patches.modernbert
from pointsman.sdk.engines.slots import adapter_tensors, add_slot
from pointsman.sdk.methods import configure

assert pointsman.sdk.patches.modernbert  # so that plain adapters knows ModernBERT

Contract = Callable[[str, str], AbstractContextManager[None]]
PlainModel = Callable[..., Any]


@contextmanager
def _contract(library: str, assumption: str) -> Iterator[None]:
    """Whatever fails inside the block fails as a broken assumption of ours about that library."""
    try:
        yield
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".strip()
        pytest.fail(f"{library} {version(library)}: it is no longer so that {assumption} ({reason})", pytrace=True)


@pytest.fixture(scope="session")
def contract() -> Contract:
    """``with contract("adapters", "…"):`` around the checks of an assumption about a library."""
    return _contract


@pytest.fixture
def plain_model(bases: dict[str, Path]) -> PlainModel:
    """Loads the tiny base of an architecture as adapters alone does, without any patch."""

    def load(architecture: str = "bert", **options: Any) -> Any:
        torch.manual_seed(0)
        return AutoAdapterModel.from_pretrained(bases[architecture], **options).eval().requires_grad_(False)

    return load


@pytest.fixture
def add_adapter() -> Callable[..., None]:
    """Adds an adapter with random weights that are far from zero to a model."""

    def add(
        model: Any, slot: str, method: str = "seq_bn", *, seed: int = 0, fields: Mapping[str, Any] | None = None
    ) -> None:
        torch.manual_seed(seed)
        add_slot(model, slot, configure(method, fields))
        with torch.no_grad():
            for tensor in adapter_tensors(model, slot).values():
                tensor.add_(torch.randn_like(tensor) * 0.1)
        model.eval()

    return add
