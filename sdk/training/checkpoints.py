"""Checkpoints of a training: what it takes to go on as if nothing had happened, as safetensors and JSON.

A checkpoint is a file of tensors (weights, moments, averages, the best weights so far, the states of torch's random
generators) and ``checkpoint.json``, which names that file with its sha256. The tensors are on the disk before the JSON
that names them is, and older ones go after it: whatever the moment of a crash, the JSON names a whole checkpoint.
"""

import errno
import hashlib
import json
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from pointsman.registry.errors import DiskFullError, StoreError
from pointsman.registry.storage.files import write_atomically

_INDEX: Final = "checkpoint.json"
_FORMAT: Final = 2


@dataclass(frozen=True, kw_only=True)
class RandomState:
    """The states of the generators that a training, or a callback of the user's, may draw from."""

    tensors: Mapping[str, Tensor]
    """Torch's: ``random.cpu``, and ``random.cuda.N`` or ``random.mps`` where a GPU is in use."""
    numbers: Mapping[str, Any]
    """Python's and numpy's, as JSON."""

    @classmethod
    def now(cls) -> Self:
        """As they are."""
        tensors = {"random.cpu": torch.get_rng_state()}
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            tensors |= {f"random.cuda.{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
        if torch.backends.mps.is_available():
            tensors["random.mps"] = torch.mps.get_rng_state()
        kind, keys, *rest = np.random.get_state()
        numpy = [kind, np.asarray(keys).tolist(), *rest]
        return cls(tensors=tensors, numbers={"python": random.getstate(), "numpy": numpy})

    def restore(self) -> None:
        """Make them what they were."""
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


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a training after a step."""

    step: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]
    """Whatever else there is, as JSON."""
    random: RandomState
    """The states of the random generators then."""


class Checkpoints:
    """The checkpoint of one run: there is none or one.

    Args:
        directory: A directory of its own; made with the first checkpoint.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.step: int | None = None
        """The step of the one that was written or read last."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint in the place of the last one.

        Raises:
            DiskFullError: No space is left; the last one is kept.
            StoreError: It cannot be written.
        """
        content = safetensors.torch.save(
            {
                **{f"state.{name}": tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()},
                **checkpoint.random.tensors,
            }
        )
        name = f"step-{checkpoint.step:09d}.safetensors"
        index = {
            "format": _FORMAT,
            "step": checkpoint.step,
            "tensors": name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "state": checkpoint.state,
            "random": checkpoint.random.numbers,
        }
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            write_atomically(self.directory / name, [content])
            write_atomically(self.directory / _INDEX, [json.dumps(index).encode()])
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFullError(
                    f"no space is left for a checkpoint in {self.directory}: free some, and go on with "
                    f"registry train --resume {self.directory.name}"
                ) from error
            raise StoreError(f"the checkpoint in {self.directory} cannot be written: {error.strerror}") from error
        for path in self.directory.glob("step-*.safetensors"):
            if path.name != name:
                path.unlink(missing_ok=True)
        self.step = checkpoint.step

    def load(self) -> Checkpoint | None:
        """The checkpoint, or None where none was written.

        Raises:
            StoreError: It is damaged, or of another release.
        """
        if not (self.directory / _INDEX).exists():
            return None
        try:
            index = json.loads((self.directory / _INDEX).read_bytes())
            content = (self.directory / index["tensors"]).read_bytes()
            if index["format"] != _FORMAT or hashlib.sha256(content).hexdigest() != index["sha256"]:
                raise StoreError(f"the checkpoint in {self.directory} is damaged or of another release: train anew")
            tensors = safetensors.torch.load(content)
            self.step = index["step"]
            return Checkpoint(
                step=index["step"],
                tensors={
                    name.removeprefix("state."): tensor for name, tensor in tensors.items() if name.startswith("state.")
                },
                state=index["state"],
                random=RandomState(
                    tensors={name: tensor for name, tensor in tensors.items() if name.startswith("random.")},
                    numbers=index["random"],
                ),
            )
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise StoreError(f"the checkpoint in {self.directory} cannot be read ({error}): train anew") from error

    def last_step(self) -> int | None:
        """The step of the checkpoint that is there, whether or not it is whole; None: there is none."""
        try:
            return int(json.loads((self.directory / _INDEX).read_bytes())["step"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remove(self) -> None:
        """Take the checkpoint away."""
        shutil.rmtree(self.directory, ignore_errors=True)
