"""The random generators of this process, which a training seeds and restores at its end."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RandomState:
    """The states of the generators that a training, or a user's callback, may draw from."""

    tensors: Mapping[str, Tensor]
    """Torch's: ``random.cpu``, and ``random.cuda.N`` or ``random.mps`` where a GPU is in use."""
    numbers: Mapping[str, Any]
    """Python's and numpy's, as JSON."""

    @classmethod
    def current(cls) -> Self:
        """Read the states as they are now."""
        tensors = {"random.cpu": torch.get_rng_state()}
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            tensors |= {f"random.cuda.{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
        if torch.backends.mps.is_available():
            tensors["random.mps"] = torch.mps.get_rng_state()
        kind, keys, *rest = np.random.get_state()
        numpy = [kind, np.asarray(keys).tolist(), *rest]
        return cls(tensors=tensors, numbers={"python": random.getstate(), "numpy": numpy})

    def restore(self) -> None:
        """Set the generators to these states."""
        torch.set_rng_state(self.tensors["random.cpu"])
        for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            if f"random.cuda.{index}" in self.tensors:
                torch.cuda.set_rng_state(self.tensors[f"random.cuda.{index}"], index)
        if "random.mps" in self.tensors and torch.backends.mps.is_available():
            torch.mps.set_rng_state(self.tensors["random.mps"])
        version, state, gauss = self.numbers["python"]
        random.setstate((version, tuple(state), gauss))
        kind, keys, *rest = self.numbers["numpy"]
        np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))


@contextmanager
def preserved_generators() -> Iterator[None]:
    """Give the caller's generators back after the block, as they were before it, also after an error.

    The generators are global to the process: two trainings in threads of one process draw from the same ones.
    """
    state = RandomState.current()
    try:
        yield
    finally:
        state.restore()


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed Python's, numpy's and torch's generators for a training on a device.

    ``torch.manual_seed`` would also seed a GPU that is not in use yet, and ``preserved_generators`` cannot undo that.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
