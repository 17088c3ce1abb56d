"""A fusion as the subject of a training: a trained fusion layer over frozen members."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from pointsman.registry import Base, Registry, Version

from ..core.members import with_local_members
from ..engines.fusion_layers import add_fusion, extract_fusion, fuse_block, insert_fusion, regularisation
from ..engines.slots import extract_head, fill_slot, slot_name
from ..formats.native import read_adapter
from ..methods.fusion import member_refs
from .fusion_members import find_members


class FusionSubject:
    """A fusion layer to train, over registered versions.

    Args:
        registry: The registry of the members.
        config: A fusion's full configuration.

    Raises:
        PointsmanError: As ``find_members``.

    Examples:
        >>> FusionSubject(registry, fuse_config(["sst2@1", "mrpc@1"])).parents
        [('member', 'sst2@1'), ('member', 'mrpc@1')]
    """

    def __init__(self, registry: Registry, config: Mapping[str, Any]) -> None:
        self._registry, self._config = registry, config
        self._members = find_members(registry, member_refs(config))
        self.base: Base | None = self._members[0].base
        self.parents: Sequence[tuple[str, str]] = [("member", member.ref) for member in self._members]

    def insert(self, model: Any, slot: str) -> Any:
        """Put the members into the model, frozen, and a fresh fusion layer over them under ``slot``, to be trained."""
        names = insert_members(model, self._registry, self._members)
        add_fusion(model, slot, names, self._config["fusion"])
        block = fuse_block(slot, names)
        model.train_adapter_fusion(block)
        return block

    def penalty(self, model: Any, slot: str) -> Callable[[], Tensor] | None:
        """The regularisation of the value matrices towards the identity."""
        return regularisation(model, slot)

    def files(self, model: Any, slot: str, *, name: str, base: str) -> dict[str, bytes]:
        """The files of the fusion layer and the head; the members keep their own."""
        fusion = extract_fusion(model, slot, name=name, base=base, members=member_refs(self._config))
        return {**fusion, **extract_head(model, slot, name=name, base=base)}


def insert_members(model: Any, registry: Registry, members: Sequence[Version]) -> list[str]:
    """Load versions into a model, without their heads, into the slots from 1 on.

    Returns:
        The slots in the order of the members.


    Raises:
        StoreError, WeightsError: Files are missing, damaged or do not fit.
    """
    slots = []
    for number, member in enumerate(members, start=1):
        files = registry.read_files(member)
        slots.append(slot_name(number))
        fill_slot(model, slots[-1], read_adapter(files))
    return slots


def insert_version(model: Any, registry: Registry, version: Version, slot: str) -> Any:
    """Load a registered fusion into a model, with its members and without its head.

    Args:
        model: An adapters model without adapters.
        registry: The registry of the version and its members.
        version: A version of the method ``fuse``.
        slot: The name that the fusion gets inside the model.

    Returns:
        The composition block that activates the fusion.

    Raises:
        NotFoundError: A member was removed.
        StoreError, WeightsError: Files are missing, damaged or do not fit.
    """
    config = with_local_members(version, registry).config
    names = insert_members(model, registry, [registry.version(ref) for ref in member_refs(config)])
    insert_fusion(model, slot, names, registry.read_files(version))
    return fuse_block(slot, names)
