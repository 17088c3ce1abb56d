"""Checkpoints of a training: everything needed to continue it bit for bit, as safetensors and JSON.

A checkpoint is a file of tensors (weights, moments, averages, the best weights so far, the states of torch's random
generators) and ``checkpoint.json``, which names that file with its sha256. The tensors are on the disk before the JSON
that names them, and older files are deleted after it, so after a crash at any moment the JSON names a complete
checkpoint.
"""

import errno
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import safetensors.torch
from torch import Tensor

from pointsman.registry.errors import Action, Advice, DiskFullError, StoreError
from pointsman.registry.storage.files import write_atomically

from .random_state import RandomState

_INDEX: Final = "checkpoint.json"
_FORMAT: Final = 2


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a training after a step."""

    step: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]
    """Counters and the best scores so far, as JSON."""
    random: RandomState
    """The states of the random generators after the step."""


class Checkpoints:
    """The checkpoint of one run, at most one.

    Args:
        directory: The run's own directory, named by its uid; made with the first checkpoint.
        step: The step of the checkpoint that the training continues from.

    Examples:
        >>> Checkpoints(registry.run_directory(run.uid)).load()
    """

    def __init__(self, directory: Path, *, step: int | None = None) -> None:
        self.directory = directory
        self.step = step
        """The step of the checkpoint that was written or read last."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the last checkpoint by this one.

        Raises:
            DiskFullError: No space is left; the last checkpoint is kept.
            StoreError: The checkpoint cannot be written.
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
                    f"no space is left for a checkpoint in {self.directory}; free some, and resume the run",
                    advice=Advice(Action.RESUME, {"run": self.directory.name}),
                ) from error
            raise StoreError(f"the checkpoint in {self.directory} cannot be written: {error.strerror}") from error
        for path in self.directory.glob("step-*.safetensors"):
            if path.name != name:
                path.unlink(missing_ok=True)
        self.step = checkpoint.step

    def load(self) -> Checkpoint | None:
        """The checkpoint; None if none was written.

        Raises:
            StoreError: The checkpoint is damaged, or of another release.
        """
        if not (self.directory / _INDEX).exists():
            return None
        try:
            index = json.loads((self.directory / _INDEX).read_bytes())
            content = (self.directory / index["tensors"]).read_bytes()
            if index["format"] != _FORMAT or hashlib.sha256(content).hexdigest() != index["sha256"]:
                raise self._unreadable("is damaged or of another release")
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
            raise self._unreadable(f"cannot be read ({error})") from error

    def last_step(self) -> int | None:
        """The step of the checkpoint, complete or damaged; None if none was written."""
        try:
            return int(json.loads((self.directory / _INDEX).read_bytes())["step"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remove(self) -> None:
        """Delete the checkpoint."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _unreadable(self, reason: str) -> StoreError:
        return StoreError(
            f"the checkpoint in {self.directory} {reason}; train again",
            advice=Advice(Action.TRAIN_LIKE, {"ref": f"run:{self.directory.name}"}),
        )
