"""Adopt: make an object store this registry's own, after a backup was restored or files were moved."""

from dataclasses import dataclass

from ..database import events
from ..registry import Registry
from ..storage.owner import StoreOwner
from ..versions import ownership


@dataclass(frozen=True, kw_only=True)
class Adoption:
    """The result of ``adopt_store``."""

    store: str
    """The store's directory or URL."""
    registry: str
    """The id of this registry."""
    preexisting: bool
    """Whether the store holds objects that no version of this registry needs; garbage collection leaves them alone."""


def adopt_store(registry: Registry) -> Adoption:
    """Make the object store of a registry its own, whoever had it; who had it can add and remove nothing any more.

    Args:
        registry: The registry.

    Raises:
        ForeignStoreError: The store holds objects, and no version of the registry needs any of them.
        StoreError, DatabaseError: The store or the database cannot be read or written.

    Examples:
        >>> with Registry("restored", store="s3://team/adapters") as registry:
        ...     adopt_store(registry)
    """
    registry.database.check_writable()
    owner: StoreOwner = ownership.adopt_store(registry.database, registry.store)
    with registry.database.writing() as connection:
        events.record(connection, "adopt", registry.store.label[:200], {"registry": owner.registry})
    return Adoption(store=registry.store.label, registry=owner.registry, preexisting=owner.preexisting)
