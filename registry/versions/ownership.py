"""Whose object store it is: only the registry that owns a store adds to it and removes from it.

A store names its owner in a file (``storage.owner``), a database says which registry it is (the table ``identity``). A
store without an owner is taken by the first registry that writes to it, if it is empty, holds objects that this
registry's versions need, or lies in its home. So a database that was named by mistake, or an empty one in the place of
a lost one, deletes nothing. Reading is free.

A backup and its original are the same registry. Before files of new versions are stored, the database and then the
store get a new token (``database.generations``), so an older copy, which lacks the store's token, deletes nothing
either. The token is committed before the store has it: a crash in between, or before the version's rows are written,
locks nobody out.
"""

from dataclasses import replace
from datetime import UTC, datetime

import sqlalchemy as sa

from ..database import tables as t
from ..database.backends import Sqlite
from ..database.database import DATABASE_NAME, REVISIONS, Database
from ..database.generations import begin_generation, has_generation, newest_generation
from ..errors import Action, Advice, ForeignStoreError, NotARegistryError, StoreError
from ..storage.local import LocalStore
from ..storage.objects import Store
from ..storage.owner import StoreOwner

_SAMPLE = 20
"""Objects of the newest versions that are looked for in another's store."""


def check_store(database: Database, store: Store) -> StoreOwner:
    """Return the store's owner, which is this registry, or would be with the first write.

    Raises:
        ForeignStoreError: It belongs to another registry or to nobody knows whom, or the database is an older copy.
        StoreError: It cannot be read, or names its owner in a form that cannot be read.
    """
    return _present_owner(database, store) or _first_owner(database, store)


def _first_owner(database: Database, store: Store) -> StoreOwner:
    """The owner that this registry would be, or is by now.

    Raises:
        ForeignStoreError, StoreError: As ``check_store``.
    """
    try:
        return _claim(database, store)
    except ForeignStoreError:
        # A thread or process of this registry may have taken the store meanwhile, and the objects be those of its
        # first version. The owner is written before the first object, so it is there by now.
        owner = _present_owner(database, store)
        if owner is None:
            raise
        return owner


def _present_owner(database: Database, store: Store) -> StoreOwner | None:
    """The owner that the store names, which is this registry; None if it names nobody.

    Raises:
        ForeignStoreError: It is another registry, or another copy of this database has stored versions since.
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
    if owner.generation is not None:
        with database.reading() as connection:
            known = has_generation(connection, owner.generation)
        if not known:
            raise ForeignStoreError(
                f"the object store {store.label} holds versions that {database.label} does not know: that is an older "
                "copy of the registry's database, or one that another copy has gone on from; name the copy that has "
                "them (POINTSMAN_DATABASE_URL), or adopt the store to go on with this one",
                advice=Advice(Action.ADOPT_STORE),
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
        store.write_owner(_first_owner(database, store).content())
        owner = check_store(database, store)  # another registry may have been faster
    return owner


def extend_store(database: Database, store: Store) -> StoreOwner:
    """Take the store as ``own_store`` does, and begin a generation; the files of new versions are stored after that.

    Raises:
        ForeignStoreError, StoreError, DiskFullError: As ``own_store``.
        DatabaseError: The database cannot be written.
    """
    owner = own_store(database, store)
    newest: str | None = None
    with database.writing(lambda connection: newest is not None and has_generation(connection, newest)) as connection:
        newest = begin_generation(connection)
    while newest != owner.generation:
        owner = replace(owner, generation=newest)
        store.write_owner(owner.content(), replace=True)
        # Of several that write at once, the one that comes last may have begun first.
        with database.reading() as connection:
            newest = newest_generation(connection)
    return owner


def adopt_store(database: Database, store: Store) -> StoreOwner:
    """Make the store this copy of this registry's, whoever had it.

    Raises:
        ForeignStoreError: It belongs to another registry, and no version of this one needs any of its objects.
        StoreError, DiskFullError: It cannot be read or written.
    """
    owner = _claim(database, store, unknown_too=_named(store) in (None, database.identity))
    with database.writing() as connection:
        owner = replace(owner, generation=begin_generation(connection))
    store.write_owner(owner.content(), replace=True)
    return owner


def _named(store: Store) -> str | None:
    """The registry that a store names; None where it names nobody in a form that can be read."""
    content = store.read_owner()
    try:
        return None if content is None else StoreOwner.read(content, store.label).registry
    except StoreError:
        return None


def owner_of_copy(database: Database, store: Store, generation: str | None) -> StoreOwner:
    """Return the owner for a copy of a store that holds what the versions of a copy of the database need.

    Args:
        database: The database.
        store: Its store.
        generation: The newest one that the copy of the database has.
    """
    content = store.read_owner()
    if content is not None:
        owner = StoreOwner.read(content, store.label)
        if owner.registry == database.identity:
            return replace(owner, generation=generation)
    return StoreOwner(
        registry=database.identity, claimed=datetime.now(UTC), schema=REVISIONS[-1], generation=generation
    )


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


def _claim(database: Database, store: Store, *, unknown_too: bool = False) -> StoreOwner:
    """The owner that this registry would be.

    Args:
        database: The database.
        store: The store.
        unknown_too: Also of a store that holds only objects that no version of this registry needs.

    Raises:
        ForeignStoreError: It holds only such objects, and is not left over in the home of this database.
    """
    stored = _objects(store)
    with database.reading() as connection:
        needed = set(connection.scalars(sa.select(t.version_file.c.sha256).distinct())) if stored else set()
    if stored and not stored & needed and not unknown_too and not _is_left_over(database, store):
        raise ForeignStoreError(
            f"the object store {store.label} holds {len(stored):,} objects, and no version in {database.label} needs "
            "any of them: name the database that they belong to (POINTSMAN_DATABASE_URL), or another store "
            "(POINTSMAN_STORE)",
            # The versions may have been removed, and their files not yet.
            advice=None if needed or not _has_history(database) else Advice(Action.ADOPT_STORE),
        )
    return StoreOwner(
        registry=database.identity, claimed=datetime.now(UTC), schema=REVISIONS[-1], preexisting=bool(stored - needed)
    )


def _is_left_over(database: Database, store: Store) -> bool:
    """Whether a store is that of the database's own home, and the database may have had versions."""
    backend = database.backend
    return (
        isinstance(backend, Sqlite)
        and isinstance(store, LocalStore)
        and (backend.path.name, store.root) == (DATABASE_NAME, backend.path.parent / "objects")
        and _has_history(database)
    )


def _has_history(database: Database) -> bool:
    with database.reading() as connection:
        return connection.scalar(sa.select(t.event.c.id).limit(1)) is not None


def _objects(store: Store) -> set[str]:
    return {file.digest for file in store.files() if file.digest is not None}


def _finds_its_own(database: Database, store: Store) -> bool:
    with database.reading() as connection:
        newest = sa.select(t.version_file.c.sha256).order_by(t.version_file.c.version_id.desc()).limit(_SAMPLE)
        digests = connection.scalars(newest).all()
    return any(store.has(digest) for digest in digests)
