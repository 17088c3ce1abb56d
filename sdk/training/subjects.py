"""What a training trains beside the head, and how it comes into a model and out of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from pointsman.registry import Base, Registry

from ..engines.slots import add_slot, extract_adapter
from ..methods.fusion import FUSE
from .fusion_subject import FusionSubject


class Subject(Protocol):
    """What a training trains beside the head."""

    base: Base | None
    """The only base it can be on; None: it can be on any."""
    parents: Sequence[tuple[str, str]]
    """``(role, ref)`` of the versions it is made from."""

    def insert(self, model: Any, slot: str) -> Any:
        """Put it into a model that has no adapters, under ``slot``, with fresh weights, and let nothing else train.

        Returns:
            What is active from now on: the slot, or a composition of the adapters library.
        """

    def penalty(self, model: Any, slot: str) -> Callable[[], Tensor] | None:
        """What its weights cost beside the loss of the rows, as they are when asked; None: nothing."""

    def files(self, model: Any, slot: str, *, name: str, base: str) -> dict[str, bytes]:
        """The files of the version, its head's among them, as content by file name."""


class AdapterSubject:
    """One adapter.

    Args:
        config: Its method's full configuration.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self.base: Base | None = None
        self.parents: Sequence[tuple[str, str]] = ()

    def insert(self, model: Any, slot: str) -> Any:
        """Add it to the model, to be trained."""
        add_slot(model, slot, self._config)
        model.train_adapter(slot)
        return slot

    def penalty(self, model: Any, slot: str) -> None:
        """Nothing."""

    def files(self, model: Any, slot: str, *, name: str, base: str) -> dict[str, bytes]:
        """The files of adapter and head."""
        return extract_adapter(model, slot, name=name, base=base)


def subject_of(method: str, config: Mapping[str, Any], registry: Registry) -> Subject:
    """The subject of a training.

    Args:
        method: An adapter method's name, or that of fusions.
        config: The full configuration.
        registry: Where what it is made from is.

    Raises:
        PointsmanError: A fusion whose members are not there, or cannot be fused.
    """
    return FusionSubject(registry, config) if method == FUSE else AdapterSubject(config)
