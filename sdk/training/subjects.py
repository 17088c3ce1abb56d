"""The subject of a training: what it trains beside the head, and how that is put into a model and written to files."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from pointsman.registry import Base, Registry

from ..engines.slots import add_slot, extract_adapter
from ..methods.fusion import FUSE
from .fusion_subject import FusionSubject


class Subject(Protocol):
    """What a training trains beside the head: an adapter, or a fusion over others."""

    base: Base | None
    """The only base that it fits; None: it fits any."""
    parents: Sequence[tuple[str, str]]
    """``(role, ref)`` of the versions it is made from."""

    def insert(self, model: Any, slot: str) -> Any:
        """Put it into a model without adapters, under ``slot``, with new weights, and freeze everything else.

        Returns:
            The active setup: the slot, or a composition of the adapters library.
        """

    def penalty(self, model: Any, slot: str) -> Callable[[], Tensor] | None:
        """The regularisation of its current weights, a scalar added to the loss of each row; None: none."""

    def files(self, model: Any, slot: str, *, name: str, base: str) -> dict[str, bytes]:
        """The files of the version, with its head's, as bytes by file name."""


class AdapterSubject:
    """One adapter.

    Args:
        config: Its method's full configuration.

    Examples:
        >>> AdapterSubject(configure("seq_bn")).insert(model, "slot0")
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self.base: Base | None = None
        self.parents: Sequence[tuple[str, str]] = ()

    def insert(self, model: Any, slot: str) -> Any:
        """Add the adapter to the model, and train only it."""
        add_slot(model, slot, self._config)
        model.train_adapter(slot)
        return slot

    def penalty(self, model: Any, slot: str) -> None:
        """No regularisation."""

    def files(self, model: Any, slot: str, *, name: str, base: str) -> dict[str, bytes]:
        """The files of adapter and head."""
        return extract_adapter(model, slot, name=name, base=base)


def subject_of(method: str, config: Mapping[str, Any], registry: Registry) -> Subject:
    """The subject of a training.

    Args:
        method: The name of an adapter method, or ``fuse``.
        config: The full configuration.
        registry: The registry of a fusion's members.

    Raises:
        PointsmanError: A fusion whose members are unknown, or cannot be fused.
    """
    return FusionSubject(registry, config) if method == FUSE else AdapterSubject(config)
