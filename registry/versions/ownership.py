"""Whose object store it is: only the registry that owns a store adds to it and removes from it.

A store names its owner in a file (``storage.owner``), a database says which registry it is (the table ``identity``). A
store without an owner is taken by the first registry that writes to it, if it is empty or holds objects that this
registry's versions need. So a database that was named by mistake, or an empty one in the place of a lost one, deletes
nothing. Reading is free.
"""

from datetime import UTC, datetime

import sqlalchemy as sa

from ..database import tables as t
from ..database.database import REVISIONS, Database
from ..errors import Action, Advice, ForeignStoreError, NotARegistryError
from ..storage.objects import Store
from ..storage.owner import StoreOwner

_SAMPLE = 20
"""Objects of the newest versions that are looked for in another's store."""


def check_store(database: Database, store: Store) -> StoreOwner:
    """Return the store's owner, which is this registry, or would be with the first write.

    Raises:
        ForeignStoreError: It belongs to another registry, or to nobody knows whom.
        StoreError: It cannot be read, or names its owner in a form that cannot be read.
    """
    return _present_owner(database, store) or _claim(database, store)


def _present_owner(database: Database, store: Store) -> StoreOwner | None:
    """The owner that the store names, which is this registry; None if it names nobody.

    Raises:
        ForeignStoreError: It is another registry.
        StoreError: It cannot be read, or names its owner in a form that cannot be read.
    """
    content = store.read_owner()
    if content is None:
        return None
    owner = StoreOwner.read(content, store.label)
    if owner.registry != database.identity:
        raise ForeignStoreError(
            f"the object store {store.label} belongs to another registry, {owner.registry[:12]}, since "
            f"{owner.claimed:%Y-%m-%d}; {database.label} is the registry {database.identity[:12]}: name the database "
            "of that registry (POINTSMAN_DATABASE_URL), or a store of this one's own (POINTSMAN_STORE)",
            # Whoever finds his own files there restored a backup or moved a home, and did not name a wrong place.
            advice=Advice(Action.ADOPT_STORE) if _finds_its_own(database, store) else None,
        )
    return owner


def own_store(database: Database, store: Store) -> StoreOwner:
    """Take the store if nobody has it, and return its owner, which is this registry.

    Raises:
        ForeignStoreError, StoreError: As ``check_store``.
        DiskFullError: No space is left.
    """
    owner = _present_owner(database, store)
    if owner is None:
        store.write_owner(_claim(database, store).content())
        owner = check_store(database, store)  # another registry may have been faster
    return owner


def adopt_store(database: Database, store: Store) -> StoreOwner:
    """Make the store this registry's, whoever had it.

    Raises:
        ForeignStoreError: It holds objects, and no version of this registry needs any of them.
        StoreError, DiskFullError: It cannot be read or written.
    """
    owner = _claim(database, store)
    store.write_owner(owner.content(), replace=True)
    return owner


def owner_of_copy(database: Database, store: Store) -> StoreOwner:
    """Return the owner for a copy of a store that holds what this registry's versions need, and nothing else."""
    content = store.read_owner()
    if content is not None:
        owner = StoreOwner.read(content, store.label)
        if owner.registry == database.identity:
            return owner
    return StoreOwner(registry=database.identity, claimed=datetime.now(UTC), schema=REVISIONS[-1])


def refuse_to_replace(store: Store, database: str) -> None:
    """Refuse to make a new database for a store that holds objects: they belong to one that is lost or was not named.

    Raises:
        NotARegistryError: It holds objects.
    """
    if found := len(_objects(store)):
        raise NotARegistryError(
            f"{database} is empty, but the object store {store.label} holds {found:,} objects of a registry: restore a "
            "backup of its database, name the database (POINTSMAN_DATABASE_URL), or name another home or store"
        )


def _claim(database: Database, store: Store) -> StoreOwner:
    """The owner that this registry would be.

    Raises:
        ForeignStoreError: The store holds objects, and no version of this registry needs any of them.
    """
    stored = _objects(store)
    with database.reading() as connection:
        needed = set(connection.scalars(sa.select(t.version_file.c.sha256).distinct())) if stored else set()
    if stored and not stored & needed:
        raise ForeignStoreError(
            f"the object store {store.label} holds {len(stored):,} objects, and no version in {database.label} needs "
            "any of them: name the database that they belong to (POINTSMAN_DATABASE_URL), or another store "
            "(POINTSMAN_STORE)"
        )
    return StoreOwner(
        registry=database.identity, claimed=datetime.now(UTC), schema=REVISIONS[-1], preexisting=bool(stored - needed)
    )


def _objects(store: Store) -> set[str]:
    return {file.digest for file in store.files() if file.digest is not None}


def _finds_its_own(database: Database, store: Store) -> bool:
    with database.reading() as connection:
        newest = sa.select(t.version_file.c.sha256).order_by(t.version_file.c.version_id.desc()).limit(_SAMPLE)
        digests = connection.scalars(newest).all()
    return any(store.has(digest) for digest in digests)
